"""Measures of many answers at once, and what a random and a perfect order would score.

Relevance is yes or no, and every query's gallery has its own size n and number R of relevant
tracks. Every measure is in [0, 1], higher is better, and not a number where R is 0.
:mod:`kindred.evaluation.metrics` has those of one ranked list, with the references.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.evaluation import metrics
from kindred.evaluation.ranks import Floats, Ints, Ranks


def measure_names(k: int) -> tuple[str, ...]:
    """Names of the measures, in the order of the columns of :func:`measure`."""
    cut = ("precision", "hit_rate", "ndcg", "recall")
    return (*(f"{name}@{k}" for name in cut), "mrr", "r_precision", "map")


def measure(ranks: Ranks, *, k: int) -> Floats:
    """Every measure of every query, float64 [b, 7]; not a number where nothing is relevant.

    ::

        precision@k  hits / k, always k           mrr          1 / rank of the first, 0 if not found
        hit_rate@k   1 where there is a hit       r_precision  hits among the first R, over R
        recall@k     hits / R                     map          sum_i i / rank_i, over R
        ndcg@k       sum_hits 1 / log2(rank + 1), over the same of the ranks 1 to min(k, R)
    """
    b, row, rank = len(ranks.relevant), ranks.row, ranks.rank

    def total(weights: Floats | NDArray[np.bool_]) -> Floats:
        return np.asarray(np.bincount(row, weights=weights, minlength=b), np.float64)

    asked = np.where(ranks.relevant > 0, ranks.relevant, np.nan)
    hits = total(rank <= k)
    starts = np.searchsorted(row, np.arange(b))
    number = np.arange(1, len(row) + 1) - starts[row]
    gain = np.where(rank <= k, 1 / np.log2(rank + 1), 0)
    best = np.cumsum(1 / np.log2(np.arange(2, max(1, ranks.relevant.max()) + 2)))
    ideal = best[np.clip(ranks.relevant, 1, k) - 1]
    columns = (
        hits / k,
        (hits > 0).astype(float),
        total(gain) / ideal,
        hits / asked,
        total(np.where(number == 1, 1 / rank, 0)),
        total(rank <= ranks.relevant[row]) / asked,
        total(number / rank) / asked,
    )
    return np.column_stack([np.where(ranks.relevant > 0, column, np.nan) for column in columns])


def chance(relevant: Ints, gallery: Ints, *, k: int) -> Floats:
    """What a random order of the gallery scores on average, exactly; see :func:`measure`."""
    pairs, back = np.unique(np.column_stack([gallery, relevant]), axis=0, return_inverse=True)
    rows = []
    for n, r in pairs.tolist():
        rows.append(
            (
                metrics.chance_precision_at_k(n, r, k=k),
                metrics.chance_hit_at_k(n, r, k=k),
                metrics.chance_ndcg_at_k(n, r, k=k),
                min(k, n) / n,
                metrics.chance_reciprocal_rank(n, r),
                r / n,
                metrics.chance_average_precision(n, r),
            )
            if r
            else (np.nan,) * 7
        )
    return np.asarray(np.array(rows)[back.reshape(-1)], np.float64)


def ceiling(relevant: Ints, *, k: int) -> Floats:
    """What an order with every relevant track first scores; see :func:`measure`."""
    found = np.where(relevant > 0, 1.0, np.nan)
    precision = np.minimum(relevant, k) / k * found
    recall = np.minimum(relevant, k) / np.maximum(relevant, 1) * found
    return np.column_stack([precision, found, found, recall, found, found, found])
