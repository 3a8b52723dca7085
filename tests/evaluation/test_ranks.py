"""Where relevant tracks come: every query on its own gives the same as blocks of them."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.evaluation import ranks
from kindred.evaluation.ranks import Cosine, Groups, Lists, blocks, positions, rank_relevant
from tests.evaluation.worlds import unit


def test_equal_vectors_tie_to_the_last_bit_and_order_by_row() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((700, 189)))
    copies = rng.permutation(700)[:300]
    vectors[copies] = vectors[copies[0]]
    ranker = Cosine(vectors)
    for start, stop in ((0, 1), (1, 130), (130, 700)):
        scores = ranker.scores(start, stop)
        assert (scores[:, copies] == scores[:, copies[:1]]).all()
        for row in ranker.order(start, stop):
            alike = row[np.isin(row, copies)]
            assert (np.diff(alike) > 0).all()


def test_minus_zero_is_zero() -> None:
    ranker = Cosine(np.array([[0.0, 1], [-0.0, 1], [1, 0]], np.float32))
    assert ranker.has_twins
    assert ranker.twin.tolist() == [0, 0, 2]
    assert ranker.order(2, 3).tolist() == [[2, 0, 1]]


def test_scores_are_exact_products() -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((50, 33)))
    wide = vectors.astype(np.float64)
    np.testing.assert_allclose(Cosine(vectors).scores(10, 20), wide[10:20] @ wide.T, atol=1e-15)


def test_blocks_cover_every_query_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", 100)
    for n in (1, 2, 9, 10, 11, 99, 100, 101, 1_000):
        found = blocks(n)
        assert [row for start, stop in found for row in range(start, stop)] == list(range(n))
        assert max(stop - start for start, stop in found) * n <= max(100, n)
    assert blocks(0) == []


def test_members_of_groups() -> None:
    groups = Groups(np.array([1, -1, 0, 1, 1, -1]))
    assert groups.cells(0, 3).tolist() == [0, 3, 4, 2 * 6 + 2]
    assert groups.cells(3, 6).tolist() == [0, 3, 4, 6, 6 + 3, 6 + 4]
    assert Groups(np.array([-1, -1])).cells(0, 2).tolist() == []


def test_leaving_tracks_out_moves_the_others_up() -> None:
    order = np.array([[3, 0, 4, 1, 2], [2, 1, 0, 3, 4]])
    places = positions(order, 5)
    assert places.tolist() == [[1, 3, 4, 0, 2], [2, 1, 0, 3, 4]]
    relevant = np.array([1, 2, 4, 5 + 2, 5 + 3])
    gone = [np.array([3, 5 + 2]), np.array([4, 5 + 2, 5 + 1])]  # 4 is relevant, and left out
    found = rank_relevant(order, places, relevant, gone, k=3)
    assert found.row.tolist() == [0, 0, 1]
    assert found.rank.tolist() == [2, 3, 2]
    assert found.relevant.tolist() == [2, 1]
    assert found.gallery.tolist() == [3, 3]
    assert found.top.tolist() == [[0, 1, 2], [0, 3, 4]]


def test_short_answers_leave_the_rest_unfound() -> None:
    lists = Lists(np.array([[2, 0, -1], [1, -1, -1], [-1, -1, -1]]))
    order = lists.order(0, 3)
    places = positions(order, 3)
    assert places.tolist() == [[1, 3, 0], [3, 0, 3], [3, 3, 3]]
    own = np.array([0, 4, 8])
    found = rank_relevant(order, places, np.arange(9), [own], k=2)
    assert found.row.tolist() == [0]
    assert found.rank.tolist() == [1]
    assert found.relevant.tolist() == [2, 2, 2]
    assert found.gallery.tolist() == [2, 2, 2]
    assert found.top.tolist() == [[2, -1], [-1, -1], [-1, -1]]


@pytest.mark.parametrize("seed", range(20))
def test_against_one_query_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, n, k = 7, 23, int(rng.integers(1, 30))
    scores = rng.integers(4, size=(b, n)) / 3
    yes, out = rng.random((2, b, n)) < 0.3
    order = ranks.order_by_score(scores)
    found = rank_relevant(
        order, positions(order, n), np.flatnonzero(yes), [np.flatnonzero(out)], k=k
    )
    for row in range(b):
        kept = [c for c in sorted(range(n), key=lambda c: (-scores[row, c], c)) if not out[row, c]]
        expected = [rank for rank, column in enumerate(kept, 1) if yes[row, column]]
        assert found.rank[found.row == row].tolist() == expected
        assert found.relevant[row] == len(expected)
        assert found.gallery[row] == len(kept)
        top = kept[:k] + [-1] * (min(k, n) - len(kept[:k]))
        assert found.top[row].tolist() == top
