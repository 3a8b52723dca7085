"""Which system's candidates people find closer: win rates, and strengths from all five points.

The model is Davidson's (JASA 1970; Bradley-Terry with ties) with one more level, an adjacent-
categories logit (Agresti, Appl. Stat. 1992). For candidates of systems i and j, a point c from -2
(i is much closer) to 2 has

::

    P(c) ~ exp(c (theta_j - theta_i + s beta) / 2 + gamma_|c|),   gamma_1 = 0

with s = 1 where j is shown first, -1 where i is: beta is the bias towards the first one. "Much
closer" counts twice "closer", since the strengths answer to the sum of points. Without ties and
without the second level this is Bradley-Terry: theta are log odds. A weak normal prior (a ridge of
:data:`RIDGE`) keeps a system that always wins finite and makes strengths sum to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kindred.audit.analysis.intervals import Estimate, holm, spread
from kindred.audit.analysis.kept import Kept
from kindred.audit.judgement import preference

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Precision of the prior on each parameter: a standard deviation of 3.2 on the scale of log odds.
RIDGE = 0.1
POINTS = np.arange(-2, 3)


@dataclass(frozen=True)
class Pair:
    """Two systems: who won how often, by how much, and whether that is more than chance.

    ``rate`` is the share of answers for ``system``, ties counting half; ``difference`` is of
    strengths, and ``p`` the two-sided p of "none", ``p_holm`` adjusted for all pairs.
    """

    system: str
    other: str
    wins: int
    ties: int
    losses: int
    rate: Estimate
    difference: Estimate | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Strengths:
    """What people preferred (``ab``).

    ``strengths`` by system, summing to 0, is empty where the comparisons do not connect all
    systems; ``first`` is the bias towards the clip shown first, on the same scale.
    """

    pairs: tuple[Pair, ...]
    strengths: dict[str, Estimate]
    first: Estimate | None
    warnings: tuple[str, ...] = ()


def strengths(answers: Kept, *, draws: int, seed: int) -> Strengths:
    """Win rates and strengths with intervals for other listeners and other queries.

    A candidate that several systems answered with stands for each of them against those that did
    not; "cannot tell" is left out.
    """
    systems = answers.study.design.systems
    count = len(systems)
    pairs = list(combinations(range(count), 2))
    rows, pair_of, side_of, point_of = _rows(answers, systems, pairs)
    if not rows:
        return Strengths((), {}, None, ("No comparison of two systems has been answered yet.",))
    clusters = answers.clusters(rows)
    cell = (pair_of * 2 + side_of) * 5 + point_of + 2
    one_hot = np.zeros((len(cell), 10 * len(pairs)))
    one_hot[np.arange(len(cell)), cell] = 1
    joined, warnings = _connected(systems, pairs, pair_of, point_of)

    def statistic(weights: Floats) -> Floats:
        counts = (weights @ one_hot).reshape(len(weights), len(pairs), 2, 5)
        rates = _rates(counts)
        if not joined:
            return rates
        fitted = fit(counts, pairs, count)[:, : count + 1]
        gaps = fitted[:, [one for one, _ in pairs]] - fitted[:, [two for _, two in pairs]]
        return np.hstack([rates, gaps, fitted])

    found = spread(statistic, *clusters, draws=draws, seed=seed)
    n = np.bincount(pair_of, minlength=len(pairs))
    p: list[float | None] = [None] * len(pairs)
    if joined:
        p = [found.p_value(len(pairs) + at) if n[at] else None for at in range(len(pairs))]
    adjusted = holm(p)
    made = []
    for at, (one, other) in enumerate(pairs):
        points = point_of[pair_of == at]
        if not len(points):
            continue
        made.append(
            Pair(
                systems[one],
                systems[other],
                int((points < 0).sum()),
                int((points == 0).sum()),
                int((points > 0).sum()),
                found.estimate(at, len(points), low=0, high=1),
                found.estimate(len(pairs) + at, len(points)) if joined else None,
                p[at],
                adjusted[at],
            )
        )
    if not joined:
        return Strengths(tuple(made), {}, None, warnings)
    last = 2 * len(pairs)
    asked = [sum(n[at] for at, pair in enumerate(pairs) if one in pair) for one in range(count)]
    by_system = {name: found.estimate(last + at, int(asked[at])) for at, name in enumerate(systems)}
    first = found.estimate(last + count, len(rows))
    return Strengths(tuple(made), by_system, first, warnings)


def fit(
    counts: Floats, pairs: Sequence[tuple[int, int]], systems: int, *, ridge: float = RIDGE
) -> Floats:
    """Fit the model to many tables of counts at once, by Newton's method.

    Parameters
    ----------
    counts : float64 [b, pairs, 2, 5]
        How often each point was given, by pair (i, j) and by which of them was shown first.
    pairs : sequence of (int, int)
    systems : int
    ridge : float

    Returns
    -------
    float64 [b, systems + 3]
        theta of each system, beta, gamma_0 and gamma_2.

    Raises
    ------
    ArithmeticError
        When it does not settle, which a concave likelihood with a ridge does not let happen.
    """
    features = np.zeros((len(pairs), 2, 5, systems + 3))
    for at, (one, other) in enumerate(pairs):
        features[at, :, :, one] = -POINTS / 2
        features[at, :, :, other] = POINTS / 2
    features[:, 0, :, systems] = -POINTS / 2
    features[:, 1, :, systems] = POINTS / 2
    features[..., systems + 1] = POINTS == 0
    features[..., systems + 2] = abs(POINTS) == 2
    features = features.reshape(-1, 5, systems + 3)  # [t, 5, k], t tables of five points
    counts = counts.reshape(len(counts), -1, 5)
    asked = counts.sum(axis=2)
    seen = np.einsum("btc,tck->bk", counts, features)
    products = np.einsum("tck,tcl->tckl", features, features)
    found = np.zeros((len(counts), systems + 3))
    for _ in range(200):
        scores = np.einsum("bk,tck->btc", found, features)
        chances = np.exp(scores - scores.max(axis=2, keepdims=True))
        chances /= chances.sum(axis=2, keepdims=True)
        expected = chances * asked[..., None]
        means = np.einsum("btc,tck->btk", chances, features)
        slope = seen - np.einsum("btc,tck->bk", expected, features) - ridge * found
        bend = np.einsum("btc,tckl->bkl", expected, products)
        bend -= np.einsum("bt,btk,btl->bkl", asked, means, means)
        bend += ridge * np.eye(systems + 3)
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        far = abs(step).max(axis=1, keepdims=True)
        found += step / np.maximum(far, 1)  # never more than 1 at once
        if far.max() < 1e-9:
            return found
    raise ArithmeticError("The strengths did not settle.")


def _rows(
    answers: Kept, systems: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> tuple[list[int], Ints, Ints, Ints]:
    """For each comparison: judgement, pair, which of the pair was shown first, and point."""
    number = {pair: at for at, pair in enumerate(pairs)}
    place = {name: at for at, name in enumerate(systems)}
    found = []
    for row, judgement in enumerate(answers.judgements):
        point = preference(judgement)
        if point is None:
            continue
        both = [set(candidate.systems) for candidate in answers.item(judgement).candidates]
        for one in sorted(place[name] for name in both[0] - both[1]):
            for other in sorted(place[name] for name in both[1] - both[0]):
                flipped = one > other
                first = (judgement.order[0] == 1) != flipped
                pair = number[other, one] if flipped else number[one, other]
                found.append((row, pair, int(first), -point if flipped else point))
    if not found:
        return [], *([np.zeros(0, np.intp)] * 3)  # type: ignore[return-value]
    rows, pair_of, side_of, point_of = np.array(found, np.intp).T
    return rows.tolist(), pair_of, side_of, point_of


def _rates(counts: Floats) -> Floats:
    """Share of wins of the first of each pair, ties half, [b, pairs]."""
    by_point = counts.sum(axis=2)
    total = by_point.sum(axis=2)
    won = by_point @ np.array([1, 1, 0.5, 0, 0])
    return np.asarray(np.divide(won, total, out=np.full_like(total, np.nan), where=total > 0))


def _connected(
    systems: Sequence[str], pairs: Sequence[tuple[int, int]], pair_of: Ints, point_of: Ints
) -> tuple[bool, tuple[str, ...]]:
    """Whether strengths can be compared, and what is to be known of them."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    against, lost = np.zeros((2, len(systems), len(systems)))
    for at, (one, other) in enumerate(pairs):
        points = point_of[pair_of == at]
        against[one, other] = len(points)
        lost[one, other] = (points >= 0).sum()  # a tie ties both ways
        lost[other, one] = (points <= 0).sum()
    count, part = connected_components(csr_array(against), directed=False)
    if count > 1:
        parts = [
            "{" + ", ".join(name for name, at in zip(systems, part, strict=True) if at == one) + "}"
            for one in range(count)
        ]
        return False, (
            f"No comparisons connect {' and '.join(parts)}, so there are no strengths: wait for "
            "more answers, or take items that compare them.",
        )
    count, _ = connected_components(csr_array(lost), directed=True, connection="strong")
    if count > 1:
        return True, (
            "Some systems never won nor tied against the others: how far apart they are rests on "
            "the prior, not on the answers.",
        )
    return True, ()
