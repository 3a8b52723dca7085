"""How well scores rank: for each aspect, other works at the query's level first, its own work last.

Definitions. A query is a clip and an aspect. Its gallery are the clips of other works, whose
relevance is :meth:`~kindred.expressive.aspects.Aspect.grade`, and those of its own work at another
level: lures, of grade 0. Left out are its own work at the same level, its own performance, and
clips whose level is not known. A query without a graded candidate is not counted. For clip -> track
a candidate is a performance, scored by its nearest clip.

nDCG@k has linear gain and log2 discount (Järvelin and Kekäläinen 2002). MRR and Recall@k count
only the top grade. Recall@k is hits / min(k, relevant), as capped in BEIR (Thakur et al., NeurIPS
2021), since a query has more relevant clips than k. Ties order by clip id, or by performance.

Means are over a work's queries, then over works, then over aspects ("macro"). Works are drawn for
intervals (:mod:`kindred.evaluation.statistics`), and all draws are the same for every scorer, so
that differences are paired. Where a scorer was trained with several seeds, the mean over seeds is
taken first, and their standard deviation is given beside.

Conventions: scores are float32 [aspects, queries, gallery], higher is nearer; values are float64
[views, measures, aspects, queries], not a number where a query is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.evaluation.metrics import chance_reciprocal_rank
from kindred.evaluation.statistics import DRAWS, bootstrap, interval
from kindred.expressive.aspects import ASPECTS, KEYS, TOP_GRADE
from kindred.expressive.clips import Clip
from kindred.expressive.scoring import Floats, Scorer

Values = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

#: What is ranked: clips or tracks, with the query's own work as lures or other works only.
VIEWS = ("clips", "clips, other works", "tracks", "tracks, other works")
MEASURES = ("ndcg", "recall", "mrr")
MACRO = "macro"
#: Clips that are represented at once.
BATCH = 256


@dataclass(frozen=True)
class Ranking:
    """What every query scored.

    Attributes
    ----------
    scorer : str
    k : int
    works : tuple of str
        Of each query.
    values, chance : float64 [views, measures, aspects, queries]
        Of :data:`VIEWS` and :data:`MEASURES`; what a random order is expected to score.
    """

    scorer: str
    k: int
    works: tuple[str, ...]
    values: Values
    chance: Values

    def by_work(self, values: Values | None = None) -> Values:
        """Means over each work's queries, float64 [works, views, measures, aspects], by name."""
        each = np.moveaxis(self.values if values is None else values, -1, 0)
        works = np.array(self.works)
        return np.stack([_mean(each[works == work]) for work in sorted(set(self.works))])

    def aspects(
        self, measure: str = "ndcg", view: str = "clips", *, chance: bool = False
    ) -> Values:
        """Mean over works for each aspect, or what chance gives, float64 [aspects]."""
        table = _mean(self.by_work(self.chance if chance else None))
        return np.asarray(table[VIEWS.index(view), MEASURES.index(measure)])

    def macro(self, measure: str = "ndcg", view: str = "clips") -> float:
        """Mean over works, then over aspects."""
        return float(_mean(self.aspects(measure, view)))


@dataclass(frozen=True)
class Estimate:
    """A mean over works, its 95 % interval, the deviation of seeds, and chance; NaN: not known."""

    mean: float
    low: float
    high: float
    spread: float
    chance: float


#: View -> measure -> aspect's key or :data:`MACRO` -> estimate.
Table = dict[str, dict[str, dict[str, Estimate]]]


def represent(scorer: Scorer, features: Floats) -> Floats:
    """Representations of many clips, batch by batch; ``features`` may be half precision on disk."""
    parts = [
        scorer.represent(np.asarray(features[start : start + BATCH], np.float32))
        for start in range(0, len(features), BATCH)
    ]
    return np.concatenate(parts)


def judge(scorer: Scorer, clips: Sequence[Clip], features: Floats, *, k: int = 10) -> Ranking:
    """Rank every clip of a test for every other.

    Parameters
    ----------
    scorer : Scorer
    clips : sequence of Clip
        Of one test, n.
    features : float32 [n, segments, layers, dims]
        Or whatever the scorer represents.
    k : int

    Returns
    -------
    Ranking

    Raises
    ------
    ExpressiveError
        When there are not as many features as clips, or a score is not a number.
    """
    if len(clips) != len(features):
        raise ExpressiveError(f"{len(clips)} clips need as many features, got {len(features)}.")
    kept = represent(scorer, features)
    return rank(scorer.compare(kept, kept), clips, name=scorer.name, k=k)


def rank(
    scores: Floats,
    queries: Sequence[Clip],
    gallery: Sequence[Clip] | None = None,
    *,
    name: str,
    k: int = 10,
) -> Ranking:
    """What scores [aspects, queries, gallery] are worth; without a gallery it is the queries.

    Raises
    ------
    ExpressiveError
        When the scores are of another shape, or one is not a number.
    """
    gallery = queries if gallery is None else gallery
    shape = (len(ASPECTS), len(queries), len(gallery))
    if scores.shape != shape or not len(queries) or not len(gallery):
        raise ExpressiveError(f"{name}: scores of shape {shape} are needed, got {scores.shape}.")
    if np.isnan(scores).any():
        raise ExpressiveError(f"{name}: a score is not a number, so it has no place in a ranking.")
    found = np.full((2, len(VIEWS), len(MEASURES), len(ASPECTS), len(queries)), np.nan)
    targets = (_clips_of(gallery), _tracks_of(gallery))
    asked = _clips_of(queries)
    for (kind, target), aspect in product(enumerate(targets), range(len(ASPECTS))):
        cells = scores[aspect][np.ix_(asked.order, target.order)]
        candidates = np.maximum.reduceat(cells, target.starts, axis=1)
        order = np.argsort(-candidates, axis=1, kind="stable")
        grades = grade_table(aspect, asked.levels[:, aspect], target.levels[:, aspect])
        own = asked.works[:, None] == target.works
        kept = (grades >= 0) & (asked.performances[:, None] != target.performances)
        lures = kept & ~(own & _alike(asked, target, aspect))
        for view, left in ((0, lures), (1, kept & ~own)):
            both = measure(order, np.where(own, 0, grades), left, k=k)
            found[:, 2 * kind + view, :, aspect] = both
    back = np.argsort(asked.order)
    found = found[..., back]
    return Ranking(name, k, tuple(clip.work for clip in queries), found[0], found[1])


def grade_table(aspect: int, one: Ints, other: Ints) -> Ints:
    """Grades of levels [q] and [g] to each other, int64 [q, g]; -1 where one is not known."""
    known = np.minimum(one[:, None], other) >= 0
    apart = abs(one[:, None] - other)
    if not ASPECTS[aspect].ordered:
        apart = np.where(apart > 0, TOP_GRADE, 0)
    return np.where(known, np.maximum(0, TOP_GRADE - apart), -1)


def measure(order: NDArray[np.intp], gains: Ints, kept: Bools, *, k: int) -> Values:
    """Measures of answers and those of a random order.

    Parameters
    ----------
    order : intp [q, g]
        Columns of the gallery, best first.
    gains : int [q, g]
        Grades, 0 to 3, where ``kept``.
    kept : bool [q, g]
        What is in the gallery of a query.

    Returns
    -------
    float64 [2, measures, q]
        Found, and expected by chance.
    """
    gains = np.where(kept, gains, 0)
    size, top = kept.sum(axis=1), (gains == TOP_GRADE).sum(axis=1)
    discounts = np.cumsum(np.append(0.0, 1 / np.log2(np.arange(2, k + 2))))
    ideal = sum(discounts[np.minimum((gains >= g).sum(axis=1), k)] for g in (1, 2, 3))
    sorted_gains = np.take_along_axis(gains, order, axis=1)
    sorted_kept = np.take_along_axis(kept, order, axis=1)
    place = np.cumsum(sorted_kept, axis=1)  # from 1
    first_k = sorted_kept & (place <= k)
    gained = (np.where(first_k, sorted_gains, 0) / np.log2(1.0 + np.maximum(place, 1))).sum(axis=1)
    hit = sorted_gains == TOP_GRADE
    hits = (hit & first_k).sum(axis=1)
    first = np.take_along_axis(place, hit.argmax(axis=1)[:, None], axis=1)[:, 0]
    reach = np.minimum(k, size)
    drawn = gains.sum(axis=1) / np.maximum(size, 1) * discounts[reach]
    expected_hits = reach * top / np.maximum(size, 1)
    chance = [_chance_first(int(n), int(r)) for n, r in zip(size, top, strict=True)]
    most = np.minimum(k, top)
    return np.array(
        [
            [
                _ratio(gained, ideal),
                _ratio(hits, most),
                np.where(top > 0, _ratio(1, first), np.nan),
            ],
            [_ratio(drawn, ideal), _ratio(expected_hits, most), chance],
        ]
    )


def intervals(rankings: Sequence[Ranking], *, draws: int = DRAWS, seed: int = 0) -> Table:
    """Estimates of a scorer, from the rankings of its seeds on the same queries."""
    table = _over_seeds(rankings)
    chance = rankings[0].by_work(rankings[0].chance)
    spread = np.stack([_with_macro(_mean(one.by_work())) for one in rankings])
    return _table(table, chance, spread, draws=draws, seed=seed)


def compare(
    one: Sequence[Ranking], other: Sequence[Ranking], *, draws: int = DRAWS, seed: int = 0
) -> Table:
    """Estimates of ``one`` minus ``other`` on the same queries, works paired.

    ``spread`` is over the seeds of ``one``, against the mean of the other's; chance is 0.

    Raises
    ------
    ExpressiveError
        When the queries are not the same.
    """
    if any(ranking.works != one[0].works for ranking in (*one, *other)):
        raise ExpressiveError("Only rankings of the same queries can be compared.")
    base = _over_seeds(other)
    table = _over_seeds(one) - base
    spread = np.stack([_with_macro(_mean(each.by_work() - base)) for each in one])
    return _table(table, np.zeros_like(table), spread, draws=draws, seed=seed)


@dataclass(frozen=True)
class _Candidates:
    """Queries or a gallery. ``order`` sorts clips, ``starts`` are where each candidate begins."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    levels: Ints
    works: NDArray[np.str_]
    performances: NDArray[np.str_]


def _clips_of(clips: Sequence[Clip]) -> _Candidates:
    order = np.argsort([clip.clip_id for clip in clips], kind="stable")
    return _candidates(clips, order, np.arange(len(clips)))


def _tracks_of(clips: Sequence[Clip]) -> _Candidates:
    names = np.array([clip.performance for clip in clips])
    order = np.argsort(names, kind="stable")
    return _candidates(clips, order, np.unique(names[order], return_index=True)[1])


def _candidates(
    clips: Sequence[Clip], order: NDArray[np.intp], starts: NDArray[np.intp]
) -> _Candidates:
    ordered = [clips[i] for i in order]
    levels = np.array([clip.levels for clip in ordered], np.int64)
    low = np.minimum.reduceat(levels, starts)
    shared = np.where(low == np.maximum.reduceat(levels, starts), low, -1)
    first = [ordered[i] for i in starts]
    return _Candidates(
        order,
        starts,
        shared,
        np.array([clip.work for clip in first]),
        np.array([clip.performance for clip in first]),
    )


def _alike(asked: _Candidates, target: _Candidates, aspect: int) -> Bools:
    return np.asarray(asked.levels[:, None, aspect] == target.levels[:, aspect])


@lru_cache(maxsize=100_000)
def _chance_first(n: int, relevant: int) -> float:
    return chance_reciprocal_rank(n, relevant) if relevant else np.nan


def _over_seeds(rankings: Sequence[Ranking]) -> Values:
    return np.asarray(np.mean([one.by_work() for one in rankings], axis=0))


def _table(table: Values, chance: Values, seeds: Values, *, draws: int, seed: int) -> Table:
    works = len(table)
    flat = table.reshape(works, -1)
    drawn, _ = bootstrap(flat, np.arange(works), np.full(works, -1), draws=draws, seed=seed)
    drawn = _with_macro(drawn.reshape(draws, *table.shape[1:]))
    low_high = interval(drawn.reshape(draws, -1))
    means, by_chance = _with_macro(_mean(table)), _with_macro(_mean(chance))
    spread = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else np.full(means.shape, np.nan)
    found: Table = {}
    for cell, place in enumerate(np.ndindex(means.shape)):
        view, of, aspect = VIEWS[place[0]], MEASURES[place[1]], (*KEYS, MACRO)[place[2]]
        low, high = low_high[cell] or (np.nan, np.nan)
        found.setdefault(view, {}).setdefault(of, {})[aspect] = Estimate(
            float(means[place]), low, high, float(spread[place]), float(by_chance[place])
        )
    return found


def _with_macro(table: Values) -> Values:
    """Append to [..., aspects] their mean; an aspect that no query asks about has no part in it."""
    return np.concatenate([table, _mean(np.moveaxis(table, -1, 0))[..., None]], axis=-1)


def _mean(values: Values) -> Values:
    """Mean over the first axis of what is a number; not a number where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _ratio(part: NDArray | float, whole: NDArray) -> Values:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
