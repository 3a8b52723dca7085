"""Hubs, and the rescalings against fitting them anew for every query on its gallery alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm, skew

from kindred.errors import QueryError
from kindred.evaluation import ranks
from kindred.evaluation.hubness import Csls, MutualProximity, hubness
from kindred.evaluation.retrieval import evaluate_retrieval
from tests.evaluation.worlds import labels, unit


def vectors(n: int = 30, *, seed: int = 0) -> np.ndarray:
    rows = unit(np.random.default_rng(seed).standard_normal((n, 6)) + 0.3)
    rows[n - 2] = rows[3]
    return rows


@pytest.mark.parametrize("neighbours", [1, 4, 10, 100])
def test_csls_is_fitted_on_each_querys_gallery(
    neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "BLOCK", 200)
    rows = vectors()
    cosine = rows.astype(np.float64) @ rows.astype(np.float64).T
    ranker = Csls(rows, neighbours=neighbours)
    got = ranker.scores(0, 30)
    for query in range(30):
        gallery = [x for x in range(30) if x != query]
        for x in gallery:
            others = sorted((cosine[x, y] for y in gallery if y != x), reverse=True)
            expected = 2 * cosine[query, x] - np.mean(others[: ranker.neighbours])
            assert got[query, x] == pytest.approx(expected, abs=1e-12)
    assert ranker.neighbours == min(neighbours, 28)


def test_mutual_proximity_is_fitted_on_each_querys_gallery() -> None:
    rows = vectors()
    cosine = rows.astype(np.float64) @ rows.astype(np.float64).T
    got = MutualProximity(rows).scores(0, 30)
    for query in range(30):
        gallery = [x for x in range(30) if x != query]
        own = cosine[query, gallery]
        for x in gallery:
            theirs = cosine[x, [y for y in gallery if y != x]]
            chances = [
                norm.cdf(cosine[query, x], loc=each.mean(), scale=each.std())
                for each in (own, theirs)
            ]
            assert got[query, x] == pytest.approx(np.log(chances).sum(), abs=1e-9)


@pytest.mark.parametrize("kind", [Csls, MutualProximity])
def test_equal_vectors_still_tie(kind: type) -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((300, 64)))
    copies = rng.permutation(300)[:40]
    rows[copies] = rows[copies[0]]
    scores = kind(rows).scores(0, 300)
    outside = np.setdiff1d(np.arange(300), copies)
    assert (scores[np.ix_(outside, copies)] == scores[outside][:, copies[:1]]).all()


@pytest.mark.parametrize("kind", [Csls, MutualProximity])
def test_vectors_all_alike_order_by_row(kind: type) -> None:
    order = kind(unit(np.ones((9, 4)))).order(0, 9)
    assert (order == np.arange(9)).all()


@pytest.mark.parametrize("kind", [Csls, MutualProximity])
def test_two_tracks_are_too_few(kind: type) -> None:
    with pytest.raises(QueryError, match="2 tracks"):
        kind(unit(np.eye(2)))
    assert kind(unit(np.eye(3))).order(0, 1).shape == (1, 3)


@pytest.mark.parametrize("scoring", ["csls", "mutual_proximity"])
def test_rescaling_tames_a_hub(scoring: str) -> None:
    """Tracks nearer to the middle than others are near to all: hubs, which both make fewer of."""
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((400, 100)) + 0.4 * rng.random((400, 1)))
    names = labels([f"c{number % 20}" for number in range(400)])
    reports = [
        evaluate_retrieval(rows, names.ids, names, scoring=each, draws=10)
        for each in ("cosine", scoring)
    ]
    plain, tamed = (report.hubness for report in reports if report is not None)
    assert tamed.skewness < 0.5 * plain.skewness
    assert tamed.largest < plain.largest
    assert tamed.anti_hubs < plain.anti_hubs


def test_counting() -> None:
    top = np.array([[1, 2], [2, 0], [1, -1], [1, 2]])
    found = hubness(top, ["a", "b", "c", "d"], np.array([0, 0, 1, -1]))
    assert (found.k, found.largest, found.anti_hubs) == (2, 3, 0.25)
    assert found.skewness == pytest.approx(skew([1, 3, 3, 0]))
    # d has no label, so it does not say whether b and c were wrong.
    assert found.hubs == [("b", 3, 0.5), ("c", 3, 1.0), ("a", 1, 0.0)]
    assert json.loads(json.dumps(found.to_dict()))["hubs"][0] == {
        "track_id": "b", "occurrences": 3, "wrong": 0.5,
    }  # fmt: skip


def test_nobody_stands_out() -> None:
    ring = hubness(np.array([[1], [2], [0]]), "abc", np.array([-1, -1, -1]))
    assert (ring.skewness, ring.largest, ring.anti_hubs) == (0, 1, 0)
    assert ring.hubs[0] == ("a", 1, None)
    nothing = hubness(np.full((3, 1), -1), "abc", np.array([0, 0, 0]))
    assert (nothing.skewness, nothing.largest, nothing.anti_hubs, nothing.hubs) == (0, 0, 1, [])
