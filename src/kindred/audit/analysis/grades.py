"""What people's grades and odd-one-out choices say of each system.

nDCG as Järvelin and Kekäläinen (ACM TOIS 2002) with linear gain, over the tracks that people
graded. A track nobody graded is not one that is not similar, so nDCG stands beside the share that
was judged, and beside nDCG of the condensed list, from which unjudged tracks are dropped (Sakai,
SIGIR 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audit.analysis.intervals import (
    Estimate,
    means,
    spread,
    spread_of_means,
    sums_and_counts,
)
from kindred.audit.analysis.kept import Kept, closeness, query
from kindred.audit.judgement import chosen, grades
from kindred.audit.study import Item

Floats = NDArray[np.float64]

DEPTH = 5


@dataclass(frozen=True)
class SystemGrades:
    """One system's answers as people graded them.

    Attributes
    ----------
    system : str
    broad, fine : Estimate
        Mean grades 0..2 and 0..100 of the candidates it answered with.
    ndcg, ndcg_condensed, judged : Estimate
        At 5, means over queries; a query all of whose grades are 0 has no nDCG.
    """

    system: str
    broad: Estimate
    fine: Estimate
    ndcg: Estimate
    ndcg_condensed: Estimate
    judged: Estimate


@dataclass(frozen=True)
class SystemOdd:
    """How often people chose the clip that a system holds for the odd one; chance is 1/3."""

    system: str
    share: Estimate


def system_grades(answers: Kept, *, draws: int, seed: int) -> tuple[SystemGrades, ...]:
    """Grades and nDCG@5 of every system (``graded``).

    nDCG rests on the mean grade of each track, over all items of a query. Intervals are for other
    listeners and other queries, as many as there are.
    """
    found = []
    for name in answers.study.design.systems:
        rows, values = [], []
        for row, judgement in enumerate(answers.judgements):
            item = answers.item(judgement)
            for index, pair in grades(judgement).items():
                if name in item.candidates[index].systems:
                    rows.append(row)
                    values.append(pair)
        broad, fine = _means(answers, rows, values, (2.0, 100.0), draws=draws, seed=seed)
        found.append(SystemGrades(name, broad, fine, *_ndcg(answers, name, draws=draws, seed=seed)))
    return tuple(found)


def system_odd(answers: Kept, *, draws: int, seed: int) -> tuple[SystemOdd, ...]:
    """Share of answers that chose each system's odd one (``odd``)."""
    found = []
    for name in answers.study.design.systems:
        rows, values = [], []
        for row, judgement in enumerate(answers.judgements):
            odd = odd_of(answers.item(judgement), name)
            choice = chosen("odd", judgement)
            if odd is not None and choice is not None:
                rows.append(row)
                values.append((choice == odd,))
        found.append(
            SystemOdd(name, *_means(answers, rows, values, (1.0,), draws=draws, seed=seed))
        )
    return tuple(found)


def odd_of(item: Item, system: str) -> int | None:
    """The candidate a system tells from the two others, by naming it alone or not at all."""
    named = [system in candidate.systems for candidate in item.candidates]
    if sum(named) == 1:
        return named.index(True)
    return named.index(False) if sum(named) == 2 else None


def ndcg(gains: Floats, ideal: Floats) -> float:
    """Discounted gain of the first 5 in an order, over that of the best order of ``ideal``."""
    best = np.sort(ideal)[::-1]
    return float(_discounted(gains) / _discounted(best)) if best.any() else np.nan


def _discounted(gains: Floats) -> float:
    top = gains[:DEPTH]
    return float((top / np.log2(np.arange(2, len(top) + 2))).sum())


def _means(
    answers: Kept,
    rows: list[int],
    values: Sequence[tuple[int, ...]],
    highs: tuple[float, ...],
    *,
    draws: int,
    seed: int,
) -> list[Estimate]:
    """Mean of each column of values between 0 and its high, a line for each row."""
    if not rows:
        return [Estimate(None)] * len(highs)
    statistic = means(np.array(values, np.float64))
    found = spread(statistic, *answers.clusters(rows), draws=draws, seed=seed)
    return [found.estimate(at, len(rows), low=0, high=high) for at, high in enumerate(highs)]


def _ndcg(answers: Kept, system: str, *, draws: int, seed: int) -> list[Estimate]:
    """nDCG, condensed nDCG and share judged at 5, over queries."""
    asked: dict[str, list[int]] = {}
    for row, judgement in enumerate(answers.judgements):
        if judgement.answer is not None:
            asked.setdefault(query(answers.item(judgement)), []).append(row)
    scores, without, unit_of, answered = [], [], [], []
    for unit, rows in enumerate(asked.values()):
        scores.append(_query_scores(answers, rows, system))
        for row in rows:
            rest = [other for other in rows if other != row]
            without.append(_query_scores(answers, rest, system))
            unit_of.append(unit)
            answered.append(row)
    if not scores:
        return [Estimate(None)] * 3
    found = spread_of_means(
        sums_and_counts(np.array(scores)),
        sums_and_counts(np.array(without)),
        np.arange(len(scores)),
        np.array(unit_of, np.intp),
        answers.clusters(answered)[0],
        draws=draws,
        seed=seed,
    )
    n = (~np.isnan(np.array(scores))).sum(axis=0)
    return [found.estimate(at, int(n[at]), low=0, high=1) for at in range(3)]


def _query_scores(answers: Kept, rows: list[int], system: str) -> tuple[float, float, float]:
    """nDCG, condensed nDCG and share judged at 5 of a query, from some of its answers.

    Not a number where nothing that the system answered with was graded.
    """
    given: dict[str, list[float]] = {}
    rank: dict[str, int] = {}
    for row in rows:
        item = answers.item(answers.judgements[row])
        for at, grade in enumerate(closeness(item, answers.judgements[row])):
            candidate = item.candidates[at]
            if not np.isnan(grade):
                given.setdefault(candidate.clip.track_id, []).append(grade)
                if system in candidate.systems:
                    rank[candidate.clip.track_id] = candidate.systems[system].rank
    if not rank:
        return np.nan, np.nan, np.nan
    mean = {track: sum(values) / len(values) for track, values in given.items()}
    ideal = np.array(list(mean.values()))
    full = np.zeros(DEPTH)
    for track, place in rank.items():
        if place <= DEPTH:
            full[place - 1] = mean[track]
    condensed = np.array([mean[track] for track in sorted(rank, key=lambda name: rank[name])])
    judged = sum(place <= DEPTH for place in rank.values()) / DEPTH
    return ndcg(full, ideal), ndcg(condensed, ideal), judged
