"""Results in words: what may be claimed and what may not, with and without numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kindred.audit.analysis.disagreements import Disagreements
from kindred.audit.analysis.grades import SystemGrades, SystemOdd
from kindred.audit.analysis.intervals import Estimate
from kindred.audit.analysis.results import Results, results
from kindred.audit.analysis.strengths import Pair, Strengths
from kindred.audit.analysis.summary import headline, lines, said
from kindred.audit.plan import plan_sitting
from kindred.audit.simulate import Truth, answers, make_world
from kindred.audit.study import Design

NOTHING = Estimate(None)
EMPTY = Results(
    study_id="study", design_hash="", form="ab", aspect="overall", seed=0, draws=100, judgements=0,
    kept=0, progress=(), listeners=(), alpha=NOTHING, strengths=None, grades=(), odd=(),
    agreement=None, disagreements=Disagreements((), (), None), warnings=(),
)  # fmt: skip


def pair(value: float | None, *around: float | None, **values: Any) -> Pair:
    low, high = around or (None, None)
    return Pair(**({
        "system": "x", "other": "y", "wins": 1, "ties": 0, "losses": 1,
        "rate": Estimate(value, low, high, 10), "p_holm": 0.01,
    } | values))  # fmt: skip


def of(*pairs: Pair) -> Results:
    return replace(EMPTY, strengths=Strengths(pairs, {}, None))


def graded(name: str, broad: float | None) -> SystemGrades:
    return SystemGrades(name, Estimate(broad, 0.0, 2.0), NOTHING, NOTHING, NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (NOTHING, "not known"),
        (Estimate(0.0), "0.00"),
        (Estimate(0.5, 0.0, 1.0), "0.50 [0.00, 1.00]"),
        (Estimate(-0.126, None, 1.0), "-0.13"),
    ],
)
def test_a_number_in_words(estimate: Estimate, text: str) -> None:
    assert said(estimate) == text


def test_digits() -> None:
    assert said(Estimate(61.4, 48.2, 73.0), 0) == "61 [48, 73]"


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([pair(0.7, 0.6, 0.8)], "Listeners prefer x to y in 0.70 [0.60, 0.80] of judgements."),
        # The other way round the interval turns over too.
        ([pair(0.2, 0.1, 0.45)], "Listeners prefer y to x in 0.80 [0.55, 0.90] of judgements."),
        ([pair(0.7, 0.4, 0.9)], "No preference can be told yet: x against y 0.70 [0.40, 0.90]."),
        ([pair(0.5, 0.5, 0.5)], "No preference can be told yet: x against y 0.50 [0.50, 0.50]."),
        ([pair(1.0)], "No preference can be told yet: x against y 1.00."),
        ([pair(0.0)], "No preference can be told yet: y against x 1.00."),
        ([pair(0.7, 0.6, 0.8, p_holm=None)], "Listeners prefer x to y in 0.70 [0.60, 0.80] of"),
        # Sure by itself, but one of many pairs.
        (
            [pair(0.7, 0.51, 0.8, p_holm=0.2)],
            "No preference can be told yet: x against y 0.70 [0.51, 0.80], p 0.20 among all pairs.",
        ),
        # What is sure comes before what is larger.
        (
            [pair(0.9, 0.3, 1.0), pair(0.4, 0.35, 0.45, other="z")],
            "Listeners prefer z to x in 0.60 [0.55, 0.65] of judgements.",
        ),
        (
            [pair(0.6, 0.55, 0.65), pair(0.1, 0.05, 0.2, other="z")],
            "Listeners prefer z to x in 0.90 [0.80, 0.95] of judgements.",
        ),
        ([], "Nothing can be said yet."),
    ],
)
def test_preferences(pairs: list[Pair], text: str) -> None:
    assert headline(of(*pairs)).startswith(text)


def test_grades_the_highest_first() -> None:
    found = replace(EMPTY, grades=(graded("x", 0.5), graded("y", 1.25), graded("z", None)))
    assert headline(found) == "Mean grades, 0 to 2: y 1.25 [0.00, 2.00], x 0.50 [0.00, 2.00]."


def test_odd_ones_the_most_chosen_first() -> None:
    odd = (SystemOdd("x", Estimate(0.0, 0.0, 0.8)), SystemOdd("y", Estimate(0.5)))
    assert headline(replace(EMPTY, odd=odd)).endswith("(chance 0.33): y 0.50, x 0.00 [0.00, 0.80].")


@pytest.mark.parametrize(
    "found",
    [
        EMPTY,
        of(),
        replace(EMPTY, grades=(graded("x", None),)),
        replace(EMPTY, odd=(SystemOdd("x", NOTHING),)),
    ],
)
def test_nothing_is_claimed_of_nothing(found: Results) -> None:
    assert headline(found) == "Nothing can be said yet."


def simulated(form: Any, *, spammers: int = 0) -> Results:
    """A study of ten listeners in which y is much better than x."""
    design = Design("T", form=form, systems=("x", "y"), trials=15, listeners=10)
    world = make_world(design, Truth({"x": -1.0, "y": 1.0}), items=50, seed=1)
    plans = [plan_sitting(world.study, bytes([number]), {}) for number in range(10)]
    kinds: Any = ["first"] * spammers
    found = results(world.study, answers(world, plans, kinds=kinds, seed=2), draws=100)
    assert found is not None
    return found


def test_lines_of_preferences() -> None:
    found = simulated("ab", spammers=1)
    text = lines(found)
    assert text[0].startswith("Listeners prefer y to x in 0.")
    assert f"{found.kept} of {found.judgements} answers count, of 9 of 10 listeners" in text[1]
    assert any(line.startswith("x : y") for line in text)
    assert any(line.startswith("Ceiling") for line in text)
    [left_out] = [line for line in text if line.startswith("Left out: listener: ")]
    assert "catch" in left_out


@pytest.mark.parametrize(
    ("form", "start", "head"),
    [
        ("graded", "Mean grades, 0 to 2: y 1.", "system  broad 0-2"),
        ("odd", "How often people choose a system's odd one", "system  its odd one chosen"),
    ],
)
def test_lines_of_other_forms(form: str, start: str, head: str) -> None:
    text = lines(simulated(form))
    assert text[0].startswith(start)
    at = next(number for number, line in enumerate(text) if line.startswith(head))
    assert [line.split()[0] for line in text[at + 1 : at + 3]] == ["x", "y"]
    assert not any(line.endswith(" ") for line in text)


def test_lines_of_a_study_nobody_has_answered() -> None:
    design = Design("T", systems=("x", "y"))
    world = make_world(design, Truth({"x": 0.0, "y": 0.0}), items=50, seed=1)
    found = results(world.study, [], draws=100)
    assert found is not None
    assert lines(found) == [
        "Nothing can be said yet.",
        "0 of 0 answers count, of 0 of 0 listeners; Krippendorff's alpha not known.",
        "Nobody has answered yet.",
        "No comparison of two systems has been answered yet.",
    ]
