"""How sure a number is that comes from listeners who each answered some of the queries.

Answers of one listener are alike, and so are answers about one query. With the variances of a
number when listeners, queries, or single answers are drawn anew, what it varies by is

::

    V = V_queries + (V_listeners - V_answers)

since what single answers add is in each of the first two (Cameron, Gelbach and Miller, "Robust
inference with multiway clustering", JBES 2011); below half of V_answers, where only chance takes
it, V is not let fall. The product of listener and query weights (Owen's pigeonhole bootstrap, Ann.
Appl. Stat. 2007) would count single answers three times, far too much where each listener hears a
small part of the queries. Few clusters: each variance is scaled by m / (m - 1), and the interval is
Student's t with one degree of freedom less than there are listeners, or queries where they are
fewer. `benchmarks/audit.py` checks how often intervals hold the truth.

:func:`spread` draws all three with replacement, for what weights of answers determine: a statistic
is a function float64 [b, n] -> [b, c] of how many copies there are of each of n answers.
:func:`spread_between` is for what compares listeners with each other, where a listener drawn twice
would agree with themself: it draws queries, and has listeners and answers from leaving out one
answer at a time (its influence; Efron, "The jackknife, the bootstrap and other resampling plans",
1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Statistic = Callable[[Floats], Floats]

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
#: Draws times answers that are held at once.
CELLS = 1_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; ``None`` where it cannot be said. ``n`` answers are in it."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Spread:
    """Values of a statistic [c] and their standard errors [c], 0 where unknown.

    ``clusters`` is the number of listeners, or of queries where they are fewer; of fewer than two
    no error is known.
    """

    values: Floats
    errors: Floats
    clusters: int

    def estimate(
        self, column: int, n: int, *, low: float = -np.inf, high: float = np.inf
    ) -> Estimate:
        """Value and interval of one column.

        Between finite bounds the interval is symmetric in the logit of the value. A value at a
        bound gets the exact binomial interval for as many answers as there are clusters.
        """
        from scipy.special import expit, logit
        from scipy.stats import t

        value, error = float(self.values[column]), float(self.errors[column])
        if np.isnan(value):
            return Estimate(None, n=n)
        at_bound = np.isfinite(low) and min(value - low, high - value) < _ROUNDING
        if at_bound and self.clusters > 1:
            least = (high - low) * (1 - TAIL ** (1 / self.clusters))
            if value - low < high - value:
                return Estimate(value, low, low + least, n)
            return Estimate(value, high - least, high, n)
        if not error > 0:
            return Estimate(value, n=n)
        half = float(t.ppf(1 - TAIL, self.clusters - 1)) * error
        if not np.isfinite(low):
            return Estimate(value, value - half, value + half, n)
        share = (value - low) / (high - low)
        half /= (high - low) * share * (1 - share)
        ends = low + (high - low) * expit(logit(share) + np.array([-half, half]))
        return Estimate(value, float(ends[0]), float(ends[1]), n)

    def p_value(self, column: int) -> float | None:
        """Two-sided p of "the value is 0"; ``None`` where the error is unknown."""
        from scipy.stats import t

        error = float(self.errors[column])
        if not error > 0:
            return None
        return float(2 * t.sf(abs(self.values[column]) / error, self.clusters - 1))


def redraw(clusters: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """Copies of each answer when whole clusters are drawn with replacement, float64 [draws, n]."""
    number = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    m = int(number.max()) + 1
    return rng.multinomial(m, np.full(m, 1 / m), size=draws)[:, number].astype(np.float64)


def spread(
    statistic: Statistic, listeners: Ints, queries: Ints, answers: Ints, *, draws: int, seed: int
) -> Spread:
    """Values of a statistic with errors for other listeners and other queries.

    Parameters
    ----------
    statistic : callable
    listeners, queries, answers : intp [n]
        Which listener, query and judgement each row comes from.
    draws, seed : int
        1,000 draws give a standard error to about 2 %.
    """
    values = statistic(np.ones((1, len(listeners))))[0]
    sizes = [len(np.unique(ways)) for ways in (queries, listeners, answers)]
    clusters = min(sizes[:2])
    if clusters < 2:
        return Spread(values, np.zeros(len(values)), clusters)
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // len(listeners))
    parts = []
    for ways in (queries, listeners, answers):
        drawn = [
            statistic(redraw(ways, min(step, draws - start), rng))
            for start in range(0, draws, step)
        ]
        parts.append(_variance(np.vstack(drawn)))
    return _combined(values, parts, sizes, clusters)


def spread_between(
    values: Floats, redrawn: Floats, queries: Ints, influences: Floats, listeners: Ints
) -> Spread:
    """Errors of statistics that compare listeners with each other.

    Parameters
    ----------
    values : float64 [c]
    redrawn : float64 [draws, c]
        The same when queries are drawn (:func:`redraw`).
    queries : intp [any]
        The queries that were drawn.
    influences : float64 [n, c]
        ``values`` less what they are without each answer.
    listeners : intp [n]
        Whose answer it is.
    """
    sizes = [len(np.unique(queries)), len(np.unique(listeners)), len(listeners)]
    clusters = min(sizes[:2])
    if clusters < 2:
        return Spread(values, np.zeros(len(values)), clusters)
    # With an answer less every target is noisier: what all have in common is bias, not spread.
    influences = influences - influences.mean(axis=0)
    by_listener = np.zeros((int(listeners.max()) + 1, len(values)))
    np.add.at(by_listener, listeners, influences)
    parts = [_variance(redrawn), (by_listener**2).sum(axis=0), (influences**2).sum(axis=0)]
    return _combined(values, parts, sizes, clusters)


def spread_of_means(
    units: Floats,
    without: Floats,
    queries: Ints,
    unit_of: Ints,
    listeners: Ints,
    *,
    draws: int,
    seed: int,
) -> Spread:
    """:func:`spread_between` for means, each over all units that have a number.

    Parameters
    ----------
    units : float64 [2, u, c]
        Sums and counts of each unit.
    without : float64 [2, n, c]
        Sums and counts of an answer's unit when that answer is left out.
    queries : intp [u]
    unit_of, listeners : intp [n]
    """
    sums, counts = units
    total, count = sums.sum(axis=0), counts.sum(axis=0)
    values = divided(total, count)
    left = divided(total - sums[unit_of] + without[0], count - counts[unit_of] + without[1])
    copies = redraw(queries, draws, np.random.default_rng(seed))
    redrawn = divided(copies @ sums, copies @ counts)
    influences = np.where(np.isnan(left), 0, values - left)
    return spread_between(values, redrawn, queries, influences, listeners)


def sums_and_counts(table: Floats) -> Floats:
    """Numbers with 0 where there is none, and 1 where there is one, float64 [2, *table.shape]."""
    known = ~np.isnan(table)
    return np.stack([np.where(known, table, 0), known.astype(np.float64)])


def divided(total: Floats, count: Floats) -> Floats:
    """Total / count; not a number where there is nothing."""
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def means(table: Floats) -> Statistic:
    """The statistic "mean of each column", of float64 [n, c]; what is not a number is left out."""
    sums, counts = sums_and_counts(table)
    return lambda weights: divided(weights @ sums, weights @ counts)


def holm(p: list[float | None]) -> list[float | None]:
    """p-values adjusted for their number (Holm, Scand. J. Statist. 1979); ``None`` stays."""
    adjusted: list[float | None] = [None] * len(p)
    known = sorted((value, index) for index, value in enumerate(p) if value is not None)
    least = 0.0
    for rank, (value, index) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        adjusted[index] = least
    return adjusted


def _variance(draws: Floats) -> Floats:
    """Variance of each column over the draws in which it is a number."""
    known = ~np.isnan(draws)
    count = np.maximum(known.sum(axis=0), 1)
    middle = np.where(known, draws, 0).sum(axis=0) / count
    return np.asarray((np.where(known, draws - middle, 0) ** 2).sum(axis=0) / count)


def _combined(values: Floats, parts: list[Floats], sizes: list[int], clusters: int) -> Spread:
    """Errors from the variances by query, listener and answer, and how many of each there are."""
    by_query, by_listener, by_answer = (
        part * m / (m - 1) for part, m in zip(parts, sizes, strict=True)
    )
    variance = np.maximum(by_query + by_listener - by_answer, by_answer / 2)
    variance[variance < _ROUNDING**2] = 0  # what rounding leaves of answers that are all the same
    return Spread(values, np.sqrt(variance), clusters)
