"""Agreement of two rankings, against hand-computed cases."""

from __future__ import annotations

import pytest

from kindred.search.overlap import rank_biased_overlap


def test_equal_and_disjoint_lists() -> None:
    assert rank_biased_overlap(list("abcd"), list("abcd")) == pytest.approx(1)
    assert rank_biased_overlap(list("abcd"), list("wxyz")) == 0
    assert rank_biased_overlap([], []) == 1
    assert rank_biased_overlap([], ["a"]) == 0


def test_by_hand() -> None:
    # Agreement at depth 1 is 0 and at depth 2 is 1: (1-p) * (0 + p * 1) + p^2 * 1 with p = .9.
    assert rank_biased_overlap(["a", "b"], ["b", "a"]) == pytest.approx(0.1 * 0.9 + 0.81)
    # Depth 1 agrees, depth 2 half: (1-p) * (1 + p / 2) + p^2 / 2.
    expected = 0.1 * (1 + 0.45) + 0.81 / 2
    assert rank_biased_overlap(["a", "b"], ["a", "c"]) == pytest.approx(expected)


def test_agreement_at_the_top_counts_more() -> None:
    top = rank_biased_overlap(list("abcdef"), list("abcxyz"))
    bottom = rank_biased_overlap(list("abcdef"), list("xyzdef"))
    assert top > bottom


def test_symmetry() -> None:
    assert rank_biased_overlap(list("abc"), list("bad")) == rank_biased_overlap(
        list("bad"), list("abc")
    )


@pytest.mark.parametrize("p", [0, 1, -1, 2])
def test_a_reader_who_cannot_be(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        rank_biased_overlap(["a"], ["a"], p=p)
