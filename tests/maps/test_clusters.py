"""Clusters of a space: planted ones are found, and every library has some."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.maps import clusters
from kindred.maps.clusters import cluster, default_count


def planted(sizes: list[int], *, seed: int = 0, spread: float = 0.2) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = np.linalg.qr(random.standard_normal((16, len(sizes))))[0].T
    rows = centres[truth] + spread / 4 * random.standard_normal((len(truth), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("seed", range(4))
def test_planted_clusters_are_found_and_numbered_by_size(seed: int) -> None:
    vectors, truth = planted([20, 80, 50, 35], seed=seed)
    found = cluster(vectors, count=4, seed=seed)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.array([3, 0, 1, 2])[truth])


def test_of_equally_large_clusters_that_of_the_first_track_comes_first() -> None:
    vectors, truth = planted([30, 30, 30])
    found = cluster(vectors, count=3)
    seen = list(dict.fromkeys(found.tolist()))
    assert seen == [0, 1, 2]
    assert len({*zip(found, truth, strict=True)}) == 3


def test_the_same_question_has_the_same_answer() -> None:
    vectors = np.random.default_rng(0).standard_normal((900, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_array_equal(cluster(vectors, seed=3), cluster(vectors, seed=3))
    assert (cluster(vectors, seed=3) != cluster(vectors, seed=4)).any()


def test_a_large_library_is_fitted_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SAMPLE", 100)
    vectors, truth = planted([400, 200, 100])
    np.testing.assert_array_equal(cluster(vectors, count=3), truth)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 9])
def test_tiny_libraries_have_clusters(n: int) -> None:
    vectors, _ = planted([5, 4])
    found = cluster(vectors[:n])
    assert len(found) == n
    assert set(found.tolist()) == set(range(min(2, n)))


def test_there_are_no_more_clusters_than_vectors_that_differ() -> None:
    vectors, _ = planted([1, 1, 1])
    found = cluster(vectors[[0, 0, 1, 1, 1, 2]], count=5)
    assert found.tolist() == [1, 1, 0, 0, 0, 2]
    assert cluster(np.tile(vectors[:1], (7, 1))).tolist() == [0] * 7


def test_the_default_count_grows_with_the_library() -> None:
    counts = [default_count(n) for n in (0, 1, 10, 200, 1_000, 4_608, 10**6)]
    assert counts == [2, 2, 2, 5, 11, 24, 24]
    vectors, _ = planted([100, 100])
    assert len(set(cluster(vectors).tolist())) == 5


def test_bad_input_is_refused() -> None:
    vectors, _ = planted([5, 5])
    with pytest.raises(QueryError, match="count=0"):
        cluster(vectors, count=0)
    with pytest.raises(QueryError, match=r"\[16\]"):
        cluster(vectors[0])
    for bad in (np.nan, np.inf):
        vectors[3, 1] = bad
        with pytest.raises(QueryError, match="1 tracks are not finite, the first in row 3"):
            cluster(vectors)
