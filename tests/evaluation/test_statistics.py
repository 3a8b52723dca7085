"""Intervals and tests against their definitions worked out one draw at a time, and their promises
kept on made-up data: a 95% interval holds the truth in about 95%, a p is below .05 in about 5%."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kindred.evaluation import statistics
from kindred.evaluation.statistics import bootstrap, holm, interval, means, sign_flips


def untidy(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with gaps of their own in each column, works over two classes, a class not counted."""
    rng = np.random.default_rng(seed)
    values = rng.random((90, 4))
    values[rng.random((90, 4)) < 0.2] = np.nan
    values[:3] = np.nan
    return values, rng.integers(12, size=90), rng.integers(-1, 5, size=90)


def by_definition(values: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    micro = np.nanmean(values, axis=0)
    per_class = []
    for name in sorted({*classes.tolist()} - {-1}):
        of_class = values[classes == name]
        per_class.append(
            [column[~np.isnan(column)].mean() if not np.isnan(column).all() else np.nan
             for column in of_class.T]
        )  # fmt: skip
    return micro, np.nanmean(per_class, axis=0)


def test_means_by_definition() -> None:
    values, _, classes = untidy()
    micro, macro = means(values, classes)
    expected = by_definition(values, classes)
    np.testing.assert_allclose(micro, expected[0], atol=1e-14)
    np.testing.assert_allclose(macro, expected[1], atol=1e-14)


@pytest.mark.parametrize("cells", [1, 100, 10**6])
def test_each_draw_is_the_mean_of_whole_works(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CELLS", cells)
    values, clusters, classes = untidy()
    micro, macro = bootstrap(values, clusters, classes, draws=40, seed=3)
    rng, count = np.random.default_rng(3), len(np.unique(clusters))
    for draw in range(40):
        rows = np.concatenate(
            [np.flatnonzero(clusters == work) for work in rng.integers(count, size=count)]
        )
        expected = by_definition(values[rows], classes[rows])
        np.testing.assert_allclose(micro[draw], expected[0], atol=1e-13)
        np.testing.assert_allclose(macro[draw], expected[1], atol=1e-13)


def test_draws_follow_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters, classes = untidy()
    one = bootstrap(values, clusters, classes, draws=50)
    monkeypatch.setattr(statistics, "CELLS", 30)
    for first, second in zip(one, bootstrap(values, clusters, classes, draws=50), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-13)
    other, _ = bootstrap(values, clusters, classes, draws=50, seed=1)
    assert not np.allclose(one[0], other)


def test_nothing_asked_is_not_a_number() -> None:
    nothing = np.full((4, 2), np.nan)
    micro, macro = bootstrap(nothing, np.arange(4), np.zeros(4, int), draws=5)
    assert np.isnan(micro).all()
    assert np.isnan(macro).all()
    assert interval(micro) == [None, None]
    _, macro = bootstrap(np.ones((4, 1)), np.arange(4), np.full(4, -1), draws=5)
    assert np.isnan(macro).all()


def test_equal_queries_of_one_work_are_one_piece_of_evidence() -> None:
    """Ten copies of every query in its work do not narrow the interval; as works they do."""
    values = np.random.default_rng(0).random((30, 1))
    zeros = np.zeros(300, int)

    def width(clusters: np.ndarray) -> float:
        micro, _ = bootstrap(np.repeat(values, 10, axis=0), clusters, zeros, draws=2_000)
        ends = interval(micro)[0]
        assert ends is not None
        return ends[1] - ends[0]

    alone = interval(bootstrap(values, np.arange(30), zeros[:30], draws=2_000)[0])[0]
    assert alone is not None
    assert width(np.repeat(np.arange(30), 10)) == pytest.approx(alone[1] - alone[0], rel=1e-9)
    assert width(np.arange(300)) < 0.4 * (alone[1] - alone[0])


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(40), 4)
    held = 0
    for trial in range(300):
        values = (rng.normal(size=40)[clusters] + rng.normal(size=160))[:, None]
        micro, _ = bootstrap(values, clusters, np.zeros(160, int), draws=500, seed=trial)
        ends = interval(micro)[0]
        assert ends is not None
        held += ends[0] <= 0 <= ends[1]
    assert 0.90 <= held / 300 <= 0.98


def test_sign_flips_by_every_flip() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 1, 1, 2, 3])
    gaps = rng.normal(0.3, 1, size=(len(clusters), 3))
    of_work = np.array([gaps[clusters == work].mean(axis=0) for work in range(9)])
    expected = []
    for column in of_work.T:
        flipped = [abs(np.dot(signs, column)) for signs in product([1, -1], repeat=9)]
        expected.append(np.mean([value >= abs(column.sum()) - 1e-12 for value in flipped]))
    assert sign_flips(gaps, clusters).tolist() == pytest.approx(expected, abs=1e-12)


def test_sampled_flips_are_near_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = np.random.default_rng(1).normal(0.4, 1, size=(12, 2))
    exact = sign_flips(gaps, np.arange(12))
    monkeypatch.setattr(statistics, "_ALL_FLIPS", 0)
    sampled = sign_flips(gaps, np.arange(12), draws=20_000)
    np.testing.assert_allclose(sampled, exact, atol=0.015)
    monkeypatch.setattr(statistics, "CELLS", 1)
    np.testing.assert_array_equal(sign_flips(gaps, np.arange(12), draws=20_000), sampled)


def test_no_difference_and_a_clear_one() -> None:
    works = np.arange(40)
    assert sign_flips(np.zeros((40, 1)), works).tolist() == [1]
    clear = sign_flips(np.ones((40, 1)), works, draws=999)
    assert clear.tolist() == [1 / 1000]  # never 0: what was found counts among the flips
    assert sign_flips(np.ones((1, 1)), works[:1]).tolist() == [1]  # one work proves nothing


def test_p_is_small_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(20), 3)
    gaps = rng.normal(size=(20, 400))[clusters] + rng.normal(size=(60, 400))
    p = sign_flips(gaps, clusters, draws=999)
    assert 0.02 <= (p < 0.05).mean() <= 0.09


def test_holm_by_hand() -> None:
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])
    np.testing.assert_array_equal(holm(np.array([0.02, np.nan])), [0.02, np.nan])
    assert holm(np.array([])).tolist() == []
