"""How much two ranked answers to one question agree.

Rank-biased overlap is that of Webber, Moffat and Zobel, "A similarity measure for indefinite
rankings", ACM TOIS 28(4), 2010: the expected overlap of the two lists for a reader who goes on to
the next rank with probability p. Here the lists end at k and the extrapolated form is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from kindred.search.query import SimilarResult


@dataclass(frozen=True)
class Overlap:
    """Tracks in both lists, length of the longer list, mean rank shift of the common ones, RBO."""

    common: int
    k: int
    shift: float
    rbo: float


def overlap(first: SimilarResult, second: SimilarResult, *, p: float = 0.9) -> Overlap:
    """Compare two results.

    Parameters
    ----------
    p : float
        Persistence of the reader, in (0, 1); .9 looks at about ten ranks.
    """
    lists = [[match.track.track_id for match in result.matches] for result in (first, second)]
    ranks = [{track_id: rank for rank, track_id in enumerate(ids)} for ids in lists]
    common = ranks[0].keys() & ranks[1].keys()
    shift = sum(abs(ranks[0][item] - ranks[1][item]) for item in common) / max(1, len(common))
    return Overlap(len(common), max(map(len, lists)), shift, rank_biased_overlap(*lists, p=p))


def rank_biased_overlap(first: list[str], second: list[str], *, p: float = 0.9) -> float:
    """Extrapolated rank-biased overlap of two lists, in [0, 1]; 1 for equal lists.

    Raises
    ------
    ValueError
        When ``p`` is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    depth = min(len(first), len(second))
    if not depth:
        return 1.0 if not first and not second else 0.0
    seen: tuple[set[str], set[str]] = (set(), set())
    total, agreement = 0.0, 0.0
    for rank in range(1, depth + 1):
        seen[0].add(first[rank - 1])
        seen[1].add(second[rank - 1])
        agreement = len(seen[0] & seen[1]) / rank
        total += (1 - p) * p ** (rank - 1) * agreement
    return total + p**depth * agreement
