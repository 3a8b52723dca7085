"""Measures by hand, against scikit-learn, and chance by every order there is; with bad input: k of
0, gains below 0 and not finite, scores that are no numbers."""

from __future__ import annotations

from itertools import permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from kindred.evaluation.metrics import (
    chance_hit_at_k,
    chance_ndcg_at_k,
    chance_precision_at_k,
    chance_reciprocal_rank,
    hit_at_k,
    ndcg_at_k,
    precision_at_k,
    ranking,
    reciprocal_rank,
)


def test_by_hand() -> None:
    gains = [0, 1, 0, 1, 0, 0]
    assert [hit_at_k(gains, k=k) for k in (1, 2, 9)] == [0, 1, 1]
    assert [precision_at_k(gains, k=k) for k in (1, 2, 4, 8)] == [0, 0.5, 0.5, 0.25]
    assert reciprocal_rank(gains) == 0.5
    ideal = 1 + 1 / log2(3)
    assert ndcg_at_k(gains, k=3) == pytest.approx((1 / log2(3)) / ideal)
    assert ndcg_at_k(gains, k=10) == pytest.approx((1 / log2(3) + 1 / log2(5)) / ideal)
    assert ndcg_at_k(gains, k=1) == 0


def test_graded_gain_is_linear() -> None:
    got = 3 + 2 / log2(3) + 1 / log2(5)
    assert ndcg_at_k([3, 2, 0, 1], k=4) == pytest.approx(got / (3 + 2 / log2(3) + 1 / 2))


def test_perfect_and_worst() -> None:
    best, worst = [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]
    assert ndcg_at_k(best, k=3) == reciprocal_rank(best) == hit_at_k(best, k=1) == 1
    assert precision_at_k(best, k=4) == 0.5  # its ceiling, min(R, k) / k
    assert ndcg_at_k(worst, k=3) == hit_at_k(worst, k=3) == 0
    assert reciprocal_rank(worst) == 0.25


def test_a_query_without_an_answer_is_not_a_number() -> None:
    none = [0, 0, 0]
    values = [hit_at_k(none, k=1), precision_at_k(none, k=1), reciprocal_rank(none)]
    values += [ndcg_at_k(none, k=1), chance_hit_at_k(3, 0, k=1), chance_precision_at_k(3, 0, k=1)]
    values += [chance_reciprocal_rank(3, 0), chance_ndcg_at_k(3, 0, k=1)]
    assert np.isnan(values).all()


def test_ties_order_by_id() -> None:
    ids = ["c", "a", "b", "d"]
    assert [ids[place] for place in ranking([0.5, 0.5, 0.9, 0.5], ids)] == ["b", "a", "c", "d"]
    assert ranking(np.zeros(3), np.array([2, 0, 1])).tolist() == [1, 2, 0]


def test_a_constant_scorer_gains_nothing_by_its_ties() -> None:
    """A published bug: with ties broken for the better, it has an MRR of 1."""
    ids = [f"{number:02d}" for number in range(10)]
    order = ranking(np.zeros(10), ids)
    assert reciprocal_rank(np.array([0] * 9 + [1])[order]) == pytest.approx(0.1)


def test_every_digit_of_a_score_counts() -> None:
    close = np.array([0.1, np.nextafter(0.1, 1)])  # one number in float32
    assert ranking(close, ["a", "b"]).tolist() == [1, 0]


def test_bad_input() -> None:
    for gains in ([-1, 0], [np.nan], [np.inf], [[1, 0]]):
        with pytest.raises(ValueError, match="gains must be"):
            reciprocal_rank(gains)
    with pytest.raises(ValueError, match="k must be at least 1"):
        hit_at_k([1], k=0)
    with pytest.raises(ValueError, match="not a number"):
        ranking([0.1, np.nan], ["a", "b"])
    with pytest.raises(ValueError, match="2 ids need"):
        ranking([0.1], ["a", "b"])
    for n, relevant, k in ((0, 0, 1), (3, 4, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="no order of"):
            chance_hit_at_k(n, relevant, k=k)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 50))
def test_agrees_with_scikit_learn_where_nothing_is_tied(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gains, scores = rng.integers(0, 4, n), rng.permutation(n) / n
    gains[rng.integers(n)] = 1
    order = ranking(scores, np.arange(n))
    theirs = ndcg_score(gains[None], scores[None], k=k)
    assert ndcg_at_k(gains[order], k=k) == pytest.approx(theirs, abs=1e-12)
    one = np.zeros(n, int)
    one[rng.integers(n)] = 1  # with one relevant track, average precision is the reciprocal rank
    theirs = label_ranking_average_precision_score(one[None], scores[None])
    assert reciprocal_rank(one[order]) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("relevant", [1, 2, 4, 6])
@pytest.mark.parametrize("k", [1, 3, 6, 8])
def test_chance_is_the_mean_over_every_order(relevant: int, k: int) -> None:
    gains = [1] * relevant + [0] * (6 - relevant)
    orders = list(permutations(gains))
    pairs = [
        (chance_hit_at_k(6, relevant, k=k), [hit_at_k(order, k=k) for order in orders]),
        (chance_precision_at_k(6, relevant, k=k), [precision_at_k(o, k=k) for o in orders]),
        (chance_reciprocal_rank(6, relevant), [reciprocal_rank(order) for order in orders]),
        (chance_ndcg_at_k(6, relevant, k=k), [ndcg_at_k(order, k=k) for order in orders]),
    ]
    for chance, values in pairs:
        assert chance == pytest.approx(np.mean(values), abs=1e-12)


def test_chance_in_a_large_gallery() -> None:
    harmonic = (1 / np.arange(1, 100_001)).sum()
    assert chance_reciprocal_rank(100_000, 1) == pytest.approx(harmonic / 100_000)
    assert chance_hit_at_k(100_000, 1, k=10) == pytest.approx(1e-4)
    assert chance_reciprocal_rank(100_000, 100_000) == 1
