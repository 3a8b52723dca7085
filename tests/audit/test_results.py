"""All results of a study, and what is refused.

Bad input tried: no judgements, one listener, one item, all equal, all cannot tell, nobody kept, an
item that is not in the study, another study, a changed design, an order that is none, an answer of
another form, too few draws.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kindred.audit.analysis.results import Results, results
from kindred.audit.judgement import Judgement
from kindred.audit.plan import plan_sitting
from kindred.audit.simulate import Truth, answers, make_world
from kindred.audit.study import Design, Form, Study
from kindred.errors import AuditError
from tests.audit.judged import Sitting, make_item, make_study

TRUTH = Truth({"x": 0.8, "y": -0.8})


def simulated(form: Form, *, listeners: int = 6) -> tuple[Study, list[Judgement]]:
    design = Design("T", form=form, systems=("x", "y"), listeners=listeners, trials=12, overlap=3)
    world = make_world(design, TRUTH, items=4 * listeners, seed=0)
    plans = [plan_sitting(world.study, bytes([at]), {}) for at in range(listeners)]
    return world.study, answers(world, plans, kinds=["fast"], seed=1)


def found_in(study: Study, judgements: list[Judgement], **values: Any) -> Results:
    found = results(study, judgements, draws=100, **values)
    assert found is not None
    return found


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_every_form_is_analysed_and_fits_into_json(form: Form) -> None:
    study, judgements = simulated(form)
    said: list[tuple[int, int, str]] = []
    found = found_in(study, judgements, progress=lambda *words: said.append(words))
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (again["schema"], again["form"], again["design_hash"]) == (1, form, study.design_hash)
    assert [(done, of) for done, of, _ in said] == [(at, 5) for at in range(6)]
    fast, *honest = found.listeners
    assert "came less than 0.3 s after" in fast.reasons[-1]
    assert not any(person.excluded for person in honest)
    assert (found.judgements, found.kept) == (6 * 24, 5 * 12)
    assert sum(stratum.items for stratum in found.progress) == 24
    assert sum(stratum.judgements for stratum in found.progress) == 60
    assert found.disagreements.system == "x"
    assert found.alpha.value is not None
    parts = (bool(found.strengths), bool(found.grades), bool(found.odd), bool(found.agreement))
    assert parts == (form == "ab", form == "graded", form == "odd", form != "odd")


def test_the_order_of_rows_and_the_run_change_nothing() -> None:
    study, judgements = simulated("ab")
    assert found_in(study, judgements) == found_in(study, judgements[::-1])
    assert found_in(study, judgements, seed=1).strengths != found_in(study, judgements).strengths


def test_only_the_last_revision_counts_and_repeats_and_catches_do_not() -> None:
    items = [make_item(f"i{at}", {"x": (1, 0.9)}, {"y": (1, 0.8)}) for at in range(2)]
    catch = make_item("c", {}, {}, kind="catch", expected=0)
    study = make_study(*items, catch)
    sitting = Sitting(study, "one").gives("i0", 2).gives("i1", 1)
    sitting.gives("c", -2, kind="catch").gives("i0", 2, kind="repeat")
    changed = replace(sitting.judgements[0], judgement_id="new", revision=1, answer={"point": -1})
    found = found_in(study, [*sitting.judgements, changed])
    assert found.strengths is not None
    (pair,) = found.strengths.pairs
    assert (pair.wins, pair.losses, found.kept, found.judgements) == (1, 1, 2, 4)
    assert found.listeners[0].shift == 3.0


def test_enough_counts_listeners_not_answers() -> None:
    items = [make_item(f"i{at}", {"x": (1, 0.9)}, {"y": (1, 0.8)}) for at in range(2)]
    study = make_study(*items)  # overlap 3
    sittings = [Sitting(study, name).gives("i0", 1) for name in ("one", "two", "three")]
    sittings[0].gives("i1", None).gives("i1", 1, sitting_id="another").gives("i1", 1)
    (stratum,) = found_in(study, [one for each in sittings for one in each.judgements]).progress
    assert (stratum.name, stratum.items, stratum.judgements, stratum.enough) == ("Bach", 2, 6, 1)


def test_disagreements_are_items_with_how_far_they_go() -> None:
    items = [make_item(f"i{at}", {"x": (1, 0.9)}, {"y": (1, 0.8)}) for at in range(5)]
    study = make_study(*items)
    one, two = Sitting(study, "one"), Sitting(study, "two")
    for at, (mine, theirs) in enumerate([(-2, -2), (2, 1), (-2, 2), (-1, -2)]):
        one.gives(f"i{at}", mine)
        two.gives(f"i{at}", theirs)
    one.gives("i4", 2)  # heard by one alone
    found = found_in(study, one.judgements + two.judgements).disagreements
    # x is the best; i1 has means -1.5 and 1.5, i2 has 0 and 0, i0 and i3 are with it
    assert [(item.item_id, item.size, item.answers) for item in found.against] == [("i1", 3.0, 2)]
    assert [(item.item_id, item.size) for item in found.split] == [
        ("i2", 2.0),
        ("i1", 0.5),
        ("i3", 0.5),
    ]


def test_nothing_answered_is_told_and_nothing_made_up() -> None:
    study, _ = simulated("ab")
    found = found_in(study, [])
    assert found.warnings[0] == "Nobody has answered yet."
    assert (found.listeners, found.alpha.value, found.disagreements.system) == ((), None, None)
    assert found.strengths is not None
    assert found.strengths.strengths == {}
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_who_looks_while_it_is_open_is_told_to_wait() -> None:
    study, judgements = simulated("ab")
    assert study.state == "open"
    planned = replace(study.design, listeners=6)
    for listeners, told in ((6, False), (7, True)):
        now = replace(study, design=replace(planned, listeners=listeners))
        given = [replace(item, design_hash=now.design_hash) for item in judgements]
        assert (
            any("6 of the 7 listeners planned" in one for one in found_in(now, given).warnings)
            == told
        )
        ended = replace(now, state="closed")
        assert not any("planned" in one for one in found_in(ended, given).warnings)


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_one_listener_on_one_item(form: Form) -> None:
    item = make_item("i", {"x": (1, 0.9)}, {"y": (1, 0.8)}, {"x": (2, 0.1)}, form=form)
    if form == "ab":
        item = make_item("i", {"x": (1, 0.9)}, {"y": (1, 0.8)})
    answer: Any = {"ab": 1, "graded": [0, 1, 2], "odd": 1}[form]
    study = make_study(item, form=form)
    found = found_in(study, Sitting(study, "one").gives("i", answer).judgements)
    assert "1 listener count: that is too few" in " ".join(found.warnings)
    assert "1 of the listeners who count has not met a catch trial yet." in found.warnings
    assert '"low": null' in json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_nobody_can_tell(form: Form) -> None:
    study, judgements = simulated(form)
    found = found_in(study, [replace(one, answer=None) for one in judgements])
    assert found.warnings[0].startswith("Every listener fails a rule")  # catches too
    real = [replace(one, answer=None) for one in judgements[24:] if one.kind == "real"]
    assert "No listener could tell in any trial." in found_in(study, real).warnings


def test_all_equal() -> None:
    study, judgements = simulated("ab")
    real = [one for one in judgements[24:] if one.kind == "real"]
    found = found_in(study, [replace(one, answer={"point": 0}) for one in real])
    assert found.alpha.value is None
    assert found.strengths is not None
    assert found.strengths.pairs[0].rate.value == 0.5
    assert found.disagreements.split == ()


def test_it_stops_when_told_to() -> None:
    study, judgements = simulated("ab")
    assert results(study, judgements, cancelled=lambda: True) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"item_id": "nowhere"}, "names the item nowhere, which study study does not have"),
        ({"study_id": "another"}, "was given in another study, or before its design"),
        ({"design_hash": "0" * 64}, "Give the judgements of one study together with the study"),
        ({"order": (0, 0)}, "has the order \\(0, 0\\), but its item has 2 candidates"),
        ({"answer": {"odd": 1}}, "is no answer to a trial of the form ab"),
        ({"answer": {"point": 3}}, "is no answer to a trial of the form ab"),
    ],
)
def test_what_does_not_belong_is_refused_in_words(changed: dict[str, Any], words: str) -> None:
    study = make_study(make_item("i", {"x": (1, 0.9)}, {"y": (1, 0.8)}))
    (judgement,) = Sitting(study, "one").gives("i", 1).judgements
    with pytest.raises(AuditError, match=words):
        results(study, [replace(judgement, **changed)], draws=100)


def test_too_few_draws_are_refused() -> None:
    study, judgements = simulated("ab")
    with pytest.raises(AuditError, match="at least 100 draws, got 10"):
        results(study, judgements, draws=10)
