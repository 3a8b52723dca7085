"""Neighbours: those of a full comparison, in one order, stoppable, and errors that name the row."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.maps import neighbours as module
from kindred.maps.neighbours import find_neighbours, nearest


def made(n, dims=32, clusters=12, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(clusters, dims))
    labels = rng.integers(0, clusters, n)
    vectors = centres[labels] + 0.25 * rng.normal(size=(n, dims))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def truth(vectors, k):
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k], scores


def test_neighbours_are_those_of_a_full_comparison():
    vectors, _ = made(1200)
    found = find_neighbours(vectors, 15)
    rows, scores = truth(vectors, 15)
    assert found.index == "exact"
    assert found.indices.dtype == np.int32
    assert (found.indices == rows).mean() > 0.999  # float32 may swap what is as near
    np.testing.assert_allclose(
        found.similarities, np.take_along_axis(scores, rows, 1), rtol=0, atol=1e-6
    )
    assert (np.diff(found.similarities) <= 0).all()


def test_equal_vectors_tie_and_order_by_row():
    vectors, _ = made(40)
    vectors = np.repeat(vectors, 4, axis=0)
    found = find_neighbours(vectors, 3)
    groups = np.arange(160).reshape(40, 4)
    expected = [[other for other in groups[row // 4] if other != row] for row in range(160)]
    assert found.indices.tolist() == expected


def test_cells_find_nearly_all(monkeypatch):
    monkeypatch.setattr(module, "EXACT_BELOW", 4_000)
    vectors, _ = made(4_000, clusters=60)
    found = find_neighbours(vectors, 15)
    rows, _ = truth(vectors, 15)
    kept = np.mean(
        [len(np.intersect1d(*pair)) / 15 for pair in zip(found.indices, rows, strict=True)]
    )
    assert found.index == "ivf"
    assert kept >= 0.99
    assert (found.indices != np.arange(4_000)[:, None]).all()


def test_cells_that_hold_too_few_are_made_up_for(monkeypatch):
    monkeypatch.setattr(module, "EXACT_BELOW", 1_000)
    monkeypatch.setattr(module, "PROBES", 1)
    vectors, _ = made(1_000)
    found = find_neighbours(vectors, 90)
    assert found.indices.min() >= 0
    assert np.isfinite(found.similarities).all()
    assert all(len(set(row)) == 90 for row in found.indices.tolist())


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_small_libraries_have_as_many_neighbours_as_there_are(n):
    found = find_neighbours(made(n)[0], 15)
    assert found.indices.shape == (n, max(n - 1, 0))


def test_any_number_of_threads_gives_the_same(monkeypatch):
    monkeypatch.setattr(module, "EXACT_BELOW", 2_000)
    for n in (1_900, 2_100):
        vectors, _ = made(n)
        several = find_neighbours(vectors, 20)
        with monkeypatch.context() as alone:
            alone.setattr(module, "workers", lambda: 1)
            one = find_neighbours(vectors, 20)
        np.testing.assert_array_equal(one.indices, several.indices)
        np.testing.assert_array_equal(one.similarities, several.similarities)


def test_it_stops_and_reports():
    vectors, _ = made(2_000)
    seen = []
    assert find_neighbours(vectors, 5, cancelled=lambda: True) is None
    assert find_neighbours(vectors, 5, progress=lambda *told: seen.append(told)) is not None
    assert seen[-1] == (2_000, 2_000, "finding neighbours")
    assert [told[0] for told in seen] == sorted(told[0] for told in seen)


def test_nearest_finds_a_vector_itself_first():
    vectors, _ = made(300)
    rows, similarities = nearest(vectors[[7, 123]], vectors, 4)
    assert rows[:, 0].tolist() == [7, 123]
    assert rows.shape == similarities.shape == (2, 4)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda v: v[3].fill(np.nan), "Row 3 .*not a finite"),
        (lambda v: v[4].__setitem__(0, np.inf), "Row 4 .*not a finite"),
        (lambda v: v[5].fill(0), "Row 5 .*length 0, not 1"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(spoil, words):
    vectors, _ = made(10)
    spoil(vectors)
    with pytest.raises(QueryError, match=words):
        find_neighbours(vectors, 3)


@pytest.mark.parametrize("shape", [(10,), (2, 3, 4), (3, 0)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(QueryError, match="table"):
        find_neighbours(np.ones(shape, np.float32), 3)


def test_no_neighbour_is_too_few():
    with pytest.raises(QueryError, match="at least one"):
        find_neighbours(made(10)[0], 0)
