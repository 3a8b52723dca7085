"""A sitting's plan: even, mixed, and without a pattern that gives something away."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.audit.plan import REPEAT_GAP, Trial, check_pool, lead, plan_sitting
from kindred.audit.study import FORMS, Clip, Study
from kindred.errors import AuditError
from tests.audit.studies import make_item, make_study

SEEDS = st.binary(min_size=1, max_size=16)


@st.composite
def studies(draw: Any) -> Study:
    form = draw(st.sampled_from(list(FORMS)))
    trials = draw(st.integers(6, 24))
    return make_study(
        form=form,
        real=draw(st.integers(trials, 40)),
        catches=draw(st.integers(0, 8)),
        practice=draw(st.integers(0, 3)),
        trials=trials,
        repeats=draw(st.integers(0, trials)),
    )


def _even(study: Study, trials: list[Trial]) -> bool:
    items = {item.item_id: item for item in study.items}
    places = Counter(trial.order.index(lead(study, items[trial.item_id])) for trial in trials)
    counts = [places[place] for place in range(FORMS[study.design.form][1])]
    return max(counts) - min(counts) <= 1


@given(study=studies(), seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_every_plan_keeps_the_rules(study: Study, seed: bytes) -> None:
    plan = plan_sitting(study, seed, {})
    design = study.design
    kinds = {kind: [trial for trial in plan if trial.kind == kind] for kind in _KINDS}
    assert [trial.position for trial in plan] == list(
        range(-len(kinds["practice"]), len(plan) - len(kinds["practice"]))
    )
    assert all(trial.kind == "practice" for trial in plan if trial.position < 0)
    assert len(kinds["real"]) == design.trials
    assert len(kinds["repeat"]) == design.repeats
    assert len(kinds["catch"]) == min(design.catches, len(study.of_kind("catch")))
    items = {item.item_id: item for item in study.items}
    for trial in plan:
        assert sorted(trial.order) == list(range(len(items[trial.item_id].candidates)))
    for kind in ("real", "catch", "repeat"):
        assert len({trial.item_id for trial in kinds[kind]}) == len(kinds[kind])
        assert _even(study, kinds[kind])

    at = {trial.position: trial for trial in plan}
    assert all(trial.position >= 2 for trial in kinds["catch"])
    for repeat in kinds["repeat"]:
        assert repeat.repeats is not None
        original = at[repeat.repeats]
        assert (original.item_id, original.kind) == (repeat.item_id, "real")
        assert repeat.order == original.order[::-1]
        assert repeat.position - original.position >= REPEAT_GAP


_KINDS = ("real", "catch", "repeat", "practice")


@given(seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_catches_are_spread_one_in_each_stretch(seed: bytes) -> None:
    study = make_study(trials=20, repeats=4)
    places = [trial.position for trial in plan_sitting(study, seed, {}) if trial.kind == "catch"]
    edges = [2 + 28 * number // 6 for number in range(7)]
    assert all(
        low <= place < high for place, (low, high) in zip(places, pairwise(edges), strict=True)
    )


@given(queries=st.integers(4, 12), seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_a_query_never_comes_twice_in_a_row_where_it_can_be_had(queries: int, seed: bytes) -> None:
    study = make_study(trials=12, repeats=4, catches=4, practice=0)
    items = tuple(
        replace(item, reference=Clip(f"query-{number % queries}", 0.0, 10.0))
        if item.kind == "real"
        else item
        for number, item in enumerate(study.items)
    )
    plan = plan_sitting(replace(study, items=items), seed, {})
    asked = {item.item_id: item.reference for item in items}
    assert all(asked[one.item_id] != asked[two.item_id] for one, two in pairwise(plan))


def test_one_query_alone_still_makes_a_plan() -> None:
    study = make_study(trials=4, repeats=4, real=4, catches=1)
    items = tuple(replace(item, reference=Clip("only", 0.0, 10.0)) for item in study.items)
    assert len(plan_sitting(replace(study, items=items), b"seed", {})) == 2 + 9


@given(counts=st.lists(st.integers(0, 3), min_size=24, max_size=24), seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_the_least_heard_come_first_into_a_sitting(counts: list[int], seed: bytes) -> None:
    study = make_study(real=24, trials=10, repeats=0)
    known = {f"real-{at}": count for at, count in enumerate(counts)}
    chosen = [trial.item_id for trial in plan_sitting(study, seed, known) if trial.kind == "real"]
    left = [item_id for item_id in known if item_id not in chosen]
    assert max(known[item_id] for item_id in chosen) <= min(known[item_id] for item_id in left)


def test_overlap_evens_out_over_sittings_and_strata_take_turns() -> None:
    study = make_study(real=24, trials=10, repeats=2)
    counts: Counter[str] = Counter()
    strata = {item.item_id: item.stratum for item in study.items}
    for number in range(12):
        plan = plan_sitting(study, bytes([number]), counts)
        heard = [trial.item_id for trial in plan if trial.kind != "repeat"]
        counts.update(heard)
        if number == 0:
            drawn = Counter(strata[trial.item_id] for trial in plan if trial.kind == "real")
            assert max(drawn.values()) - min(drawn.values()) <= 1
    real = [counts[item.item_id] for item in study.of_kind("real")]
    assert sum(real) == 120
    assert set(real) == {5}


def test_leads_are_even_within_each_pair_of_systems() -> None:
    study = make_study(real=12, trials=12, repeats=0)
    third = tuple(
        replace(
            item,
            candidates=(
                item.candidates[0],
                replace(item.candidates[1], systems={"third": item.candidates[1].systems["mert"]}),
            ),
        )
        if item.kind == "real" and at % 2
        else item
        for at, item in enumerate(study.items)
    )
    mixed = replace(study, items=third)
    names = {item.item_id: sorted(item.candidates[1].systems)[0] for item in third}
    for number in range(10):
        plan = plan_sitting(mixed, bytes([number]), {})
        for name in ("mert", "third"):
            orders = [t.order for t in plan if t.kind == "real" and names[t.item_id] == name]
            assert orders.count((0, 1)) == orders.count((1, 0)) == 3


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    study = make_study()
    assert plan_sitting(study, b"1", {}) == plan_sitting(study, b"1", {})
    assert plan_sitting(study, b"1", {}) != plan_sitting(study, b"2", {})


def test_the_largest_design_is_planned() -> None:
    study = make_study(real=200, trials=200, catches=60, repeats=60, practice=10)
    assert len(plan_sitting(study, b"seed", {})) == 200 + 60 + 60 + 10


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([make_item("two", "real")], "22 real trials"),
        ([make_item("real-1", "real")], "two items have one id"),
        ([make_item("odd", "real", form="odd")], "has 3 candidates"),
        ([make_item("catch", "catch")], "a catch without an expected answer"),
        ([make_item("far", "real", expected=2)], "expects candidate 2"),
        ([make_item("fake", "sham")], "no known kind"),
        ([replace(make_item("bare", "real"), reference=None)], "has no reference"),
        ([replace(make_item("early", "real"), reference=Clip("t", -1.0, 10.0))], "before its"),
        ([replace(make_item("none", "real"), reference=Clip("t", 0.0, 0.0))], "without length"),
        ([replace(make_item("nan", "real"), reference=Clip("t", float("nan"), 1.0))], "without"),
    ],
)
def test_a_pool_that_cannot_be_planned_from_is_refused_in_words(items: Any, words: str) -> None:
    study = make_study(real=20)
    design = replace(study.design, trials=22 if "22" in words else 20)
    with pytest.raises(AuditError, match=words):
        check_pool(replace(study, design=design, items=(*study.items, *items)))
