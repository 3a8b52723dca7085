"""Measures of one ranked list, and what an ordering by chance would score.

Conventions: a gallery of n tracks is ordered by (-score, id), so that ties have one order,
whichever engine scored them. ``gains`` holds the relevance of the **whole** gallery in that order,
0 where a track is not relevant; R is the number of relevant tracks. Every measure is in [0, 1],
higher is better, and not a number where R is 0: such a query is left out of means and counted, and
one that slips into a mean is seen. ``k`` is at least 1 and may exceed n.

:mod:`kindred.evaluation.ranks` has the same measures, and more, for many queries at once.

References: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS
2002, with its linear gain; Voorhees, "The TREC-8 question answering track report", 1999 (MRR).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranking(scores: ArrayLike, ids: Sequence[str] | NDArray[np.int64]) -> NDArray[np.intp]:
    """Places of the gallery in the order of an answer, by (-score, id).

    Parameters
    ----------
    scores : float [n]
        Higher is nearer.
    ids : sequence of str or int, n of them

    Returns
    -------
    int [n]

    Raises
    ------
    ValueError
        When a score is not a number, or there are not as many scores as ids.
    """
    values = np.asarray(scores)
    if values.shape != (len(ids),):
        raise ValueError(f"{len(ids)} ids need as many scores, got shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError("a score is not a number, so it has no place in a ranking")
    return np.asarray(np.lexsort((np.asarray(ids), -values)), np.intp)


def hit_at_k(gains: ArrayLike, *, k: int) -> float:
    """1 when a relevant track is among the first k, else 0."""
    relevant = _relevant(gains, k)
    return float(relevant[:k].any()) if relevant.any() else np.nan


def precision_at_k(gains: ArrayLike, *, k: int) -> float:
    """Share of relevant tracks among the first k; divided by k even where n is smaller.

    Its ceiling is min(R, k) / k.
    """
    relevant = _relevant(gains, k)
    return float(relevant[:k].sum() / k) if relevant.any() else np.nan


def reciprocal_rank(gains: ArrayLike) -> float:
    """1 / rank of the first relevant track; its mean over queries is the MRR (Voorhees 1999)."""
    relevant = _relevant(gains, 1)
    return float(1 / (1 + relevant.argmax())) if relevant.any() else np.nan


def ndcg_at_k(gains: ArrayLike, *, k: int) -> float:
    """Discounted gain of the first k over the best that is possible (Järvelin, Kekäläinen 2002).

    ::

        sum_{i <= k} gain_i / log2(i + 1)  over the same of the gains in falling order
    """
    relevant = _relevant(gains, k)
    if not relevant.any():
        return np.nan
    values = np.asarray(gains, np.float64)
    best = np.sort(values)[::-1]
    return float(_discounted(values[:k]) / _discounted(best[:k]))


def chance_hit_at_k(n: int, relevant: int, *, k: int) -> float:
    """Expected :func:`hit_at_k` of a random order: 1 - C(n - R, k) / C(n, k)."""
    _check(n, relevant, k)
    if not relevant:
        return np.nan
    taken = np.arange(min(k, n))
    return float(1 - np.prod(np.maximum(n - relevant - taken, 0) / (n - taken)))


def chance_precision_at_k(n: int, relevant: int, *, k: int) -> float:
    """Expected :func:`precision_at_k` of a random order: R / n, less where k exceeds n."""
    _check(n, relevant, k)
    return min(k, n) / k * relevant / n if relevant else np.nan


def chance_reciprocal_rank(n: int, relevant: int) -> float:
    """Expected :func:`reciprocal_rank` of a random order.

    ::

        sum_r P(first at r) / r,   P(first at r) = C(n - r, R - 1) / C(n, R)
    """
    _check(n, relevant, 1)
    if not relevant:
        return np.nan
    last = n - relevant + 1  # the first relevant track cannot come later
    ranks = np.arange(1, last)
    chances = np.cumprod(np.append(relevant / n, (n - ranks - relevant + 1) / (n - ranks)))
    return float((chances / np.arange(1, last + 1)).sum())


def chance_ndcg_at_k(n: int, relevant: int, *, k: int) -> float:
    """Expected :func:`ndcg_at_k` of a random order, where every gain is 0 or 1."""
    _check(n, relevant, k)
    if not relevant:
        return np.nan
    ideal = _discounted(np.ones(min(k, relevant)))
    return float(relevant / n * _discounted(np.ones(min(k, n))) / ideal)


def chance_average_precision(n: int, relevant: int) -> float:
    """Expected average precision of a random order (Bestgen, "Exact expected average precision of
    the random baseline for system evaluation", Prague Bull. Math. Ling. 103, 2015).

    ::

        H / n + (R - 1) (n - H) / (n (n - 1)),   H = sum_{i <= n} 1 / i
    """
    _check(n, relevant, 1)
    if not relevant:
        return np.nan
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    return harmonic / n + (relevant - 1) * (n - harmonic) / (n * max(1, n - 1))


def _discounted(gains: NDArray[np.float64]) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def _relevant(gains: ArrayLike, k: int) -> NDArray[np.bool_]:
    values = np.asarray(gains, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"gains must be one row of finite numbers from 0, got {gains!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return values > 0


def _check(n: int, relevant: int, k: int) -> None:
    if not 0 <= relevant <= n or n < 1 or k < 1:
        raise ValueError(f"no order of {n} tracks, {relevant} of them relevant, to be cut at {k}")
