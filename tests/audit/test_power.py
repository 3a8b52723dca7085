"""How many judgements a study needs, against published numbers and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from kindred.audit import power
from kindred.audit.study import Design, Exclusions
from kindred.errors import AuditError


def design(**values: object) -> Design:
    return Design(**{"title": "t", "systems": ("one", "other"), **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preference", "judgements"), [(0.60, 169), (0.65, 76), (0.70, 42), (0.75, 28)]
)
def test_judgements_needed_are_the_known_ones(preference: float, judgements: int) -> None:
    assert power.judgements_needed(preference) == judgements


@pytest.mark.parametrize("two_sided", [False, True])
def test_the_power_is_that_of_scipys_exact_test(two_sided: bool) -> None:
    alternative = "two-sided" if two_sided else "greater"
    for count in (1, 4, 5, 27, 28, 60):
        for preference in (0.6, 0.8, 1.0):
            chances = np.array(
                [
                    binomtest(wins, count, 0.5, alternative=alternative).pvalue <= 0.05
                    for wins in range(count + 1)
                ]
            )
            weights = binom.pmf(np.arange(count + 1), count, preference)
            found = power.power_of_binomial(count, preference, two_sided=two_sided)
            assert float(found) == pytest.approx(float(weights @ chances), abs=1e-12)


def test_the_power_never_falls_below_what_was_asked_from_there_on() -> None:
    for preference in (0.55, 0.6, 0.7, 0.9):
        needed = power.judgements_needed(preference)
        counts = np.arange(1, 4 * needed)
        enough = power.power_of_binomial(counts, preference) >= 0.8
        assert enough[counts >= needed].all()
        assert not enough[counts == needed - 1].any()
    # The power is saw-toothed: fewer judgements may do by chance.
    assert power.power_of_binomial(158, 0.6) >= 0.8 > power.power_of_binomial(168, 0.6)


def test_more_is_needed_for_more_power_a_smaller_alpha_and_two_sides() -> None:
    least = power.judgements_needed(0.65)
    assert power.judgements_needed(0.65, power=0.9) > least
    assert power.judgements_needed(0.65, alpha=0.01) > least
    assert power.judgements_needed(0.65, two_sided=True) > least


@pytest.mark.parametrize("preference", [0.5, 0.3, 1.01, float("nan"), 0.5001])
def test_a_preference_that_cannot_be_found_is_refused(preference: float) -> None:
    with pytest.raises(AuditError, match="preference"):
        power.judgements_needed(preference)


@pytest.mark.parametrize(
    "values", [{"power": 0.0}, {"power": 1.0}, {"alpha": 0.0}, {"power": 0.04}]
)
def test_power_and_alpha_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(AuditError, match=r"between 0 and 1|by chance"):
        power.judgements_needed(0.7, **values)


def test_answers_of_one_listener_are_worth_less() -> None:
    assert power.design_effect(20, 0.1) == pytest.approx(2.9)
    assert power.design_effect(1, 0.5) == 1
    with pytest.raises(AuditError):
        power.design_effect(20, 1.5)
    with pytest.raises(AuditError):
        power.design_effect(0, 0.1)


def test_listeners_needed_multiply_by_the_design_effect_and_by_the_pairs() -> None:
    assert power.listeners_needed(design(), 0.6) == 25  # 169 * 2.9 / 20 = 24.5
    assert power.listeners_needed(design(), 0.6, rho=0) == 9
    three = design(systems=("a", "b", "c"), trials=30)
    # 10 trials a pair: 169 * 1.9 * 3 / 30 = 32.1
    assert power.listeners_needed(three, 0.6) == 33


def test_a_study_of_the_listeners_needed_has_the_power() -> None:
    for preference in (0.6, 0.65, 0.7):
        for systems in (("a", "b"), ("a", "b", "c")):
            plan = design(systems=systems)
            listeners = power.listeners_needed(plan, preference)
            enough = design(systems=systems, listeners=listeners)
            assert power.power_of(enough, preference) >= 0.8
            smallest = power.smallest_preference(enough)
            assert smallest is not None
            assert smallest <= preference


def test_a_study_too_small_finds_nothing() -> None:
    small = design(trials=2, listeners=2, overlap=1)
    assert power.smallest_preference(small) is None
    assert any("cannot find" in sentence for sentence in power.summary(small))


def test_the_power_of_independent_answers_is_that_of_a_simulation() -> None:
    plan = design(trials=7, listeners=6)
    rng = np.random.default_rng(0)
    wins = rng.binomial(42, 0.7, size=4_000)
    found = [binomtest(int(count), 42, 0.5, alternative="greater").pvalue <= 0.05 for count in wins]
    assert power.power_of(plan, 0.7, rho=0) == pytest.approx(np.mean(found), abs=0.025)


def test_who_answers_at_random_passes_five_of_six_catches_in_a_ninth_of_cases() -> None:
    assert power.catch_pass_rate(design()) == pytest.approx(7 / 64)
    assert power.catch_pass_rate(design(form="odd")) == pytest.approx(13 / 729)
    assert power.catch_pass_rate(design(form="graded"), candidates=2) == pytest.approx(7 / 64)
    assert power.catch_pass_rate(design(catches=0)) == 1
    lenient = design(exclusions=Exclusions(min_catches=0))
    assert power.catch_pass_rate(lenient) == pytest.approx(1)


def test_each_item_is_heard_by_as_many_as_asked_and_they_are_enough_for_a_sitting() -> None:
    assert power.items_wanted(design()) == 66  # 67 of 200 answers would leave one with two
    assert power.items_wanted(design(overlap=10)) == 20


def test_the_summary_has_the_numbers() -> None:
    told = " ".join(power.summary(design()))
    for part in ("200 judgements of 66 items", "worth 68", "0.66 or more", "0.60 needs 25", "11%"):
        assert part in told
    assert "each of 3 pairs" in " ".join(power.summary(design(systems=("a", "b", "c"))))
    graded = " ".join(power.summary(design(form="graded")))
    assert "preference" not in graded
    assert "less than 1% of the time" in graded
    assert "Without catch trials" in " ".join(power.summary(design(catches=0)))
