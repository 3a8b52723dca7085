"""How sure a mean over queries is: intervals, permutation tests, and Holm's correction.

Queries of one work are not independent, so works are drawn, not queries (cluster bootstrap: Davison
and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8; percentile intervals: Efron, Ann.
Statist. 1979). A test of two systems flips the signs of the works' mean differences (Smucker,
Allan and Carterette, CIKM 2007, with works in place of topics). All draws follow the seed.

Conventions: ``values`` is float64 [q, c], a row a query and a column a measure, not a number where
a query was not asked; ``clusters`` and ``classes`` number the rows, and a class of -1 has no part
in the macro mean. Memory is bounded by :data:`CELLS`, whatever the number of draws.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

DRAWS = 10_000
CONFIDENCE = 0.95
#: Percentiles between which an interval lies.
TAILS = (100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2)
#: Draws times clusters that are held at once; each cell takes about 30 bytes.
CELLS = 2_000_000
#: With so few clusters that there are no more flips than this, every one of them is tried.
_ALL_FLIPS = 13


def means(values: Floats, classes: Ints) -> tuple[Floats, Floats]:
    """Micro mean over queries, and macro mean over classes of their queries' means, float64 [c]."""
    one_cluster = np.zeros(len(values), np.intp)  # drawn once, it is what was observed
    micro, macro = bootstrap(values, one_cluster, classes, draws=1)
    return micro[0], macro[0]


def bootstrap(
    values: Floats, clusters: Ints, classes: Ints, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Floats, Floats]:
    """Micro and macro means of redrawn clusters.

    Parameters
    ----------
    values, clusters, classes
        See the module. Clusters are drawn with replacement, as many as there are.
    draws, seed : int

    Returns
    -------
    micro, macro : float64 [draws, c]
        In a draw, a class without a query is left out of the macro mean. Not a number where a draw
        has no query.
    """
    asked = ~np.isnan(values)
    kept = asked.any(axis=1)
    values, asked, clusters, classes = values[kept], asked[kept], clusters[kept], classes[kept]
    micro = np.full((draws, values.shape[1]), np.nan)
    macro = micro.copy()
    # What one cluster has of one class always comes together: a cell of sums and counts.
    pairs, cell = np.unique(np.column_stack([classes, clusters]), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    both = np.hstack([np.where(asked, values, 0), asked])
    cells = np.zeros((len(pairs), both.shape[1]))
    np.add.at(cells, cell, both)
    owner, m = np.unique(pairs[:, 1], return_inverse=True)[1], len(np.unique(clusters))
    bounds = np.flatnonzero(np.diff(pairs[:, 0], prepend=-2, append=-2))
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // max(1, m, len(pairs)))
    for start in range(0, draws if m else 0, step):
        size = min(step, draws - start)
        drawn = rng.integers(m, size=(size, m)) + m * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * m).reshape(size, m)[:, owner] * 1.0
        totals = np.zeros((size, both.shape[1]))
        sums, present = np.zeros((2, size, values.shape[1]))
        for left, right in pairwise(bounds):
            of_class = weights[:, left:right] @ cells[left:right]
            totals += of_class
            if pairs[left, 0] >= 0:
                total, count = np.hsplit(of_class, 2)
                sums += np.divide(total, count, out=np.zeros_like(total), where=count > 0)
                present += count > 0
        micro[start : start + size] = _ratio(*np.hsplit(totals, 2))
        macro[start : start + size] = _ratio(sums, present)
    return micro, macro


def interval(draws: Floats) -> list[tuple[float, float] | None]:
    """Percentile interval of each column of draws [b, c]; ``None`` where no draw is a number."""
    found: list[tuple[float, float] | None] = []
    for column in draws.T:
        known = column[~np.isnan(column)]
        low_high = np.percentile(known, TAILS) if len(known) else None
        found.append(None if low_high is None else (float(low_high[0]), float(low_high[1])))
    return found


def sign_flips(differences: Floats, clusters: Ints, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Two-sided p of "no difference", by sign flips of the clusters' means.

    Parameters
    ----------
    differences : float64 [q, c]
        Of paired queries, numbers all.
    clusters : intp [q]
    draws, seed : int
        Up to 13 clusters all flips are tried instead, and p is exact.

    Returns
    -------
    float64 [c]
        Share of flips whose mean over clusters is at least as far from 0 as the one that was
        found, which counts among them: (1 + count) / (1 + draws).
    """
    number = np.unique(clusters, return_inverse=True)[1]
    m = int(number.max()) + 1
    by_cluster = np.zeros((m, differences.shape[1]))
    np.add.at(by_cluster, number, differences)
    by_cluster /= np.bincount(number)[:, None]
    least = abs(by_cluster.sum(axis=0)) * (1 - 1e-9)  # the last bits depend on the order of sums
    if m <= _ALL_FLIPS:
        signs = 1.0 - 2 * ((np.arange(2**m)[:, None] >> np.arange(m)) & 1)
        return np.asarray((abs(signs @ by_cluster) >= least).mean(axis=0))
    rng = np.random.default_rng(seed)
    far, step = np.zeros(differences.shape[1]), max(1, CELLS // m)
    for start in range(0, draws, step):
        size = (min(step, draws - start), m)
        signs = 1.0 - 2 * rng.integers(2, size=size, dtype=np.int8)
        far += (abs(signs @ by_cluster) >= least).sum(axis=0)
    return (1 + far) / (1 + draws)


def holm(p: Floats) -> Floats:
    """p-values adjusted for their number (Holm, Scand. J. Statist. 1979); not a number stays."""
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    steps = p[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def _ratio(total: Floats, count: Floats) -> Floats:
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
