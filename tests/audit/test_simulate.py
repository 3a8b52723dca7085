"""Simulated listeners do what they are said to do."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.audit.analysis.kept import Kept
from kindred.audit.analysis.reliability import listeners
from kindred.audit.analysis.strengths import fit, strengths
from kindred.audit.judgement import check_answer, counting, preference
from kindred.audit.plan import Trial, plan_sitting
from kindred.audit.simulate import GAP, Kind, Truth, World, answers, frequencies, make_world
from kindred.audit.study import Design, Form, Study

TRUTH = Truth({"x": 0.5, "y": -0.3, "z": -0.2})


def world(form: Form = "ab", *, items: int = 60, truth: Truth = TRUTH, **design: int) -> World:
    made = Design("T", form=form, systems=("x", "y", "z"), **design)  # type: ignore[arg-type]
    return make_world(made, truth, items=items, seed=0)


def everything(study: Study, sittings: int) -> list[tuple[Trial, ...]]:
    return [plan_sitting(study, bytes([at]), {}) for at in range(sittings)]


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_answers_are_those_of_the_form_and_follow_the_seed(form: Form) -> None:
    made = world(form)
    plans = everything(made.study, 5)
    kinds: list[Kind] = ["honest", "random", "middle", "first", "fast"]
    found = answers(made, plans, kinds=kinds, seed=3)
    sizes = {item.item_id: len(item.candidates) for item in made.study.items}
    for one in found:
        check_answer(form, one.answer, sizes[one.item_id])
    assert len(found) == 5 * (made.study.design.length + made.study.design.practice)
    assert found == answers(made, plans, kinds=kinds, seed=3)
    assert found != answers(made, plans, kinds=kinds, seed=4)


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_honest_listeners_pass_and_spammers_do_not(form: Form) -> None:
    made = world(form, listeners=8)
    kinds: list[Kind] = ["middle", "first", "fast"]
    found = answers(made, everything(made.study, 8), kinds=kinds, seed=0)
    people = listeners(made.study, counting(found))
    assert [person.excluded for person in people] == [True] * 3 + [False] * 5
    assert people[2].hasty == 1.0


def test_answers_are_as_frequent_as_in_the_population() -> None:
    truth = Truth({"x": 0.5, "y": -0.3}, lapse=0.1, first=0.4, taste=0.0, side=0.0)
    design = Design("T", systems=("x", "y"), trials=200, catches=0, repeats=0, practice=0)
    made = make_world(design, truth, items=8_000, seed=0)
    plans = [
        [Trial(at, f"real-{part + at:05d}", "real", (at % 2, 1 - at % 2)) for at in range(200)]
        for part in range(0, 8_000, 200)
    ]
    found = answers(made, plans, seed=1)
    for first in (0, 1):
        points = [preference(one) for one in found if one.order[0] == first]
        shares = np.bincount(np.array(points, int) + 2, minlength=5) / len(points)
        expected = frequencies(truth, "x", "y", first=first)
        assert expected.sum() == pytest.approx(1)
        # four standard errors of a share of one half
        assert shares == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(points)))


def test_strengths_come_out_in_the_order_that_is_true() -> None:
    made = world(items=120, listeners=18)
    found = answers(made, everything(made.study, 18), seed=0)
    items = {item.item_id: item for item in made.study.items}
    real = tuple(one for one in counting(found) if one.kind == "real")
    by_system = strengths(Kept(made.study, items, real), draws=100, seed=0).strengths
    theta = population()
    for at, name in enumerate("xyz"):
        assert by_system[name].value == pytest.approx(theta[at], abs=0.45)


def population() -> np.ndarray:
    """The strengths that endless listeners and queries would give."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    shares = [
        [frequencies(TRUTH, "xyz"[i], "xyz"[j], first=first) for first in (0, 1)] for i, j in pairs
    ]
    return fit(1e6 * np.array(shares)[None], pairs, 3)[0]


def test_a_population_without_differences_has_equal_strengths() -> None:
    even = Truth({"x": 0.0, "y": 0.0}, first=0.0)
    shares = frequencies(even, "x", "y", first=0)
    assert shares == pytest.approx(shares[::-1])


def test_each_system_is_compared_as_often_and_catches_are_easy() -> None:
    made = world(items=60)
    pairs = [
        tuple(name for candidate in item.candidates for name in candidate.systems)
        for item in made.study.of_kind("real")
    ]
    assert {pair: pairs.count(pair) for pair in pairs} == {
        ("x", "y"): 20,
        ("x", "z"): 20,
        ("y", "z"): 20,
    }
    for item in made.study.of_kind("catch"):
        close = made.closeness[item.item_id]
        assert close.argmax() == item.expected
        assert close.max() == GAP
