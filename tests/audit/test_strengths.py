"""Win rates and strengths: by hand, against independent libraries, and from known truth.

Bad input tried: nothing answered, all "equal", all cannot tell, systems that nothing connects, a
system that always wins, one listener, candidates of several systems.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from kindred.audit.analysis import intervals
from kindred.audit.analysis.strengths import POINTS, fit, strengths
from kindred.audit.study import Item
from tests.audit.judged import Sitting, gathered, make_item, make_study

PAIRS = list(combinations(range(3), 2))


def chances(theta: list[float], beta: float, tie: float, much: float) -> np.ndarray:
    """The model's shares of each point, by pair and by who is shown first, written out."""
    found = np.zeros((3, 2, 5))
    for at, (i, j) in enumerate(PAIRS):
        for first, side in ((0, -1), (1, 1)):
            for place, point in enumerate(POINTS):
                level = {0: tie, 1: 0.0, 2: much}[abs(point)]
                found[at, first, place] = np.exp(
                    point * (theta[j] - theta[i] + side * beta) / 2 + level
                )
    return found / found.sum(axis=2, keepdims=True)


def test_known_parameters_are_found_again() -> None:
    truth = [0.8, 0.1, -0.9]
    counts = 1e7 * chances(truth, 0.3, -0.4, -1.1)[None]
    (found,) = fit(counts, PAIRS, 3)
    assert found == pytest.approx([*truth, 0.3, -0.4, -1.1], abs=1e-5)


def test_it_is_davidsons_model_where_nobody_says_much() -> None:
    # Davidson 1970: wins, ties and losses are as pi_i : nu sqrt(pi_i pi_j) : pi_j
    pi, nu = np.array([3.0, 1.0, 0.5]), 0.7
    counts = np.zeros((1, 3, 2, 5))
    for at, (i, j) in enumerate(PAIRS):
        shares = np.array([pi[i], nu * np.sqrt(pi[i] * pi[j]), pi[j]])
        counts[0, at, :, 1:4] = 1e7 * shares / shares.sum()
    (found,) = fit(counts, PAIRS, 3)
    assert found[:3] == pytest.approx(np.log(pi) - np.log(pi).mean(), abs=1e-4)
    assert found[4] == pytest.approx(np.log(nu), abs=1e-4)


def without_ties(seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Counts of wins alone, and each as a pair (winner, loser)."""
    rng = np.random.default_rng(seed)
    counts, won = np.zeros((1, 3, 2, 5)), []
    for at, (i, j) in enumerate(PAIRS):
        for point, winner, loser in ((1, i, j), (3, j, i)):
            number = int(rng.integers(3, 30))
            counts[0, at, :, point] = number  # as often shown first as second: no bias
            won += [(winner, loser)] * 2 * number
    return counts, won


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_bradley_terry_as_choix_fits_it(seed: int) -> None:
    import choix

    counts, won = without_ties(seed)
    ours = fit(counts, PAIRS, 3, ridge=1e-6)[0, :3]
    theirs = choix.opt_pairwise(3, won)
    assert ours == pytest.approx(theirs - theirs.mean(), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_no_general_optimiser_finds_a_better_fit(seed: int) -> None:
    from scipy.optimize import minimize

    counts = np.random.default_rng(seed).integers(0, 20, (3, 2, 5)).astype(float)

    def loss(values: np.ndarray) -> float:
        *theta, beta, tie, much = values
        likelihood = (counts * np.log(chances(theta, beta, tie, much))).sum()
        return float(0.25 * (values**2).sum() - likelihood)

    theirs = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-4}).x
    assert fit(counts[None], PAIRS, 3, ridge=0.5)[0] == pytest.approx(theirs, abs=1e-4)


def test_many_tables_are_fitted_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 9, (20, 3, 2, 5)).astype(float)
    together = fit(counts, PAIRS, 3)
    alone = np.vstack([fit(table[None], PAIRS, 3) for table in counts])
    assert together == pytest.approx(alone, abs=1e-8)
    assert together[:, :3].sum(axis=1) == pytest.approx(0, abs=1e-8)


def two(name: str, one: str = "x", other: str = "y", query: str = "") -> Item:
    return make_item(name, {one: (1, 0.9)}, {other: (1, 0.8)}, query=query)


def test_wins_ties_and_losses_by_hand_whatever_side_was_shown() -> None:
    study = make_study(*(two(f"i{at}") for at in range(4)))
    one = Sitting(study, "one").gives("i0", -2).gives("i1", 1, order=(1, 0)).gives("i2", 0)
    other = Sitting(study, "two").gives("i0", 1).gives("i3", None).gives("i2", -1)
    (pair,) = strengths(gathered(study, one, other), draws=200, seed=0).pairs
    assert (pair.wins, pair.ties, pair.losses, pair.rate.n) == (3, 1, 1, 5)
    assert pair.rate.value == pytest.approx(3.5 / 5)


def test_a_candidate_of_two_systems_stands_for_both() -> None:
    item = make_item("i", {"x": (1, 0.9), "z": (1, 0.9)}, {"y": (1, 0.8), "z": (2, 0.1)})
    study = make_study(item, systems=("x", "y", "z"))
    sittings = [Sitting(study, name).gives("i", -1) for name in ("one", "two")]
    found = strengths(gathered(study, *sittings), draws=100, seed=0)
    assert [(pair.system, pair.other, pair.wins) for pair in found.pairs] == [("x", "y", 2)]
    assert "connect {x, y} and {z}" in found.warnings[0]


def test_nothing_answered_gives_words() -> None:
    study = make_study(two("i"))
    for answers in (gathered(study), gathered(study, Sitting(study, "one").gives("i", None))):
        found = strengths(answers, draws=100, seed=0)
        assert (found.pairs, found.strengths) == ((), {})
        assert found.warnings == ("No comparison of two systems has been answered yet.",)


def test_systems_that_nothing_connects_get_no_strengths() -> None:
    items = [two("i0", "x", "y"), two("i1", "z", "w")]
    study = make_study(*items, systems=("x", "y", "z", "w"))
    sittings = [Sitting(study, name).gives("i0", 1).gives("i1", -1) for name in ("one", "two")]
    found = strengths(gathered(study, *sittings), draws=100, seed=0)
    assert (found.strengths, found.first) == ({}, None)
    assert "connect {x, y} and {z, w}, so there are no strengths" in found.warnings[0]
    assert [(pair.rate.value, pair.difference, pair.p) for pair in found.pairs] == [
        (0.0, None, None),
        (1.0, None, None),
    ]


def test_a_system_that_always_wins_stays_finite_and_is_told_of() -> None:
    study = make_study(*(two(f"i{at}") for at in range(6)))
    sittings = [Sitting(study, name) for name in ("one", "two", "three")]
    for sitting in sittings:
        for at in range(6):
            sitting.gives(f"i{at}", -1 if at % 2 else -2)
    found = strengths(gathered(study, *sittings), draws=100, seed=0)
    assert found.strengths["x"].value is not None
    assert 0.5 < found.strengths["x"].value < 10
    assert "rests on the prior" in found.warnings[0]
    (pair,) = found.pairs
    # at the bound: the exact binomial interval of 3 listeners out of 3, (1 - .95) / 2 a side
    assert (pair.rate.value, pair.rate.high) == (1.0, 1.0)
    assert pair.rate.low == pytest.approx(0.025 ** (1 / 3))


def test_all_equal_is_no_difference_and_no_certainty() -> None:
    study = make_study(*(two(f"i{at}") for at in range(6)))
    sittings = [Sitting(study, name) for name in ("one", "two", "three")]
    for sitting in sittings:
        for at in range(6):
            sitting.gives(f"i{at}", 0)
    (pair,) = strengths(gathered(study, *sittings), draws=100, seed=0).pairs
    assert (pair.rate.value, pair.rate.low, pair.rate.high) == (0.5, None, None)
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(0, abs=1e-9)
    assert pair.p is None or pair.p > 0.5


def test_one_listener_has_no_interval() -> None:
    study = make_study(*(two(f"i{at}") for at in range(6)))
    sitting = Sitting(study, "one")
    for at in range(6):
        sitting.gives(f"i{at}", at % 3 - 1)
    found = strengths(gathered(study, sitting), draws=100, seed=0)
    assert (found.strengths["x"].low, found.strengths["x"].high) == (None, None)
    assert found.pairs[0].rate.value == pytest.approx(0.5)
    assert (found.pairs[0].p, found.pairs[0].p_holm) == (None, None)


def test_holm_by_hand() -> None:
    assert intervals.holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0]


def test_variances_of_listeners_queries_and_answers_add_up() -> None:
    """Crossed effects of known size: the error of a mean is what it is by construction."""
    rng = np.random.default_rng(0)
    m, q = 40, 50
    listeners, queries = np.repeat(np.arange(m), q), np.tile(np.arange(q), m)
    for of_listener, of_query, noise in ((1.0, 0, 0.5), (0, 1.0, 0.5), (0, 0, 1.0), (1, 1, 1)):
        errors = []
        for _ in range(8):
            values = of_listener * rng.standard_normal(m)[listeners]
            values = values + of_query * rng.standard_normal(q)[queries]
            values = values + noise * rng.standard_normal(m * q)
            found = intervals.spread(
                intervals.means(values[:, None]),
                listeners,
                queries,
                np.arange(m * q),
                draws=400,
                seed=0,
            )
            errors.append(found.errors[0] ** 2)
        true = of_listener**2 / m + of_query**2 / q + noise**2 / (m * q)
        assert np.mean(errors) == pytest.approx(true, rel=0.3)


def test_the_same_seed_gives_the_same_interval() -> None:
    study = make_study(*(two(f"i{at}") for at in range(6)))
    sittings = [Sitting(study, name) for name in ("one", "two", "three")]
    for shift, sitting in enumerate(sittings):
        for at in range(6):
            sitting.gives(f"i{at}", (at + shift) % 3 - 1)
    answers = gathered(study, *sittings)
    one, same, other = (strengths(answers, draws=100, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
