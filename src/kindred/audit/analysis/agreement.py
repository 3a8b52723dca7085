"""How far each system's scores agree with people, against how far people agree with each other.

The ceiling is one listener against the mean of the others: for every answer, the others' mean on
that item is the target; the listener's own order of the candidates is scored against it, and so is
the system's. ``graded`` scores an order by nDCG@5, ties sharing their gains (McSherry and Najork,
ECIR 2008); ``ab`` by whether it has the target's closer one, a tie counting half. A system's order
is by its scores; candidates it did not answer with come last, tied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audit.analysis.grades import ndcg
from kindred.audit.analysis.intervals import (
    Estimate,
    means,
    redraw,
    spread_between,
    spread_of_means,
    sums_and_counts,
)
from kindred.audit.analysis.kept import Kept, closeness, numbered, query
from kindred.audit.judgement import Judgement, grades
from kindred.audit.study import Form, Item

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: A candidate counts as similar from this mean broad grade on.
SIMILAR = 1.0


@dataclass(frozen=True)
class Agreement:
    """One system against people.

    Attributes
    ----------
    system : str
    spearman : Estimate
        Of its scores and people's mean closeness, over all candidates it answered with.
    auc : Estimate
        Chance that it scores a candidate people found close (``graded``: a mean broad grade of at
        least 1; ``ab``: preferred) above one they did not.
    order : Estimate
        Its orders of an item's candidates against the mean of all listeners but one, 0 to 1.
    gap : Estimate
        That less the ceiling, on the same answers; below 0: farther from people than people are.
    """

    system: str
    spearman: Estimate
    auc: Estimate
    order: Estimate
    gap: Estimate


@dataclass(frozen=True)
class AgreementWithPeople:
    """The ceiling, and every system."""

    ceiling: Estimate
    systems: tuple[Agreement, ...]


def agreement(answers: Kept, *, draws: int, seed: int) -> AgreementWithPeople | None:
    """Systems against people; ``None`` for ``odd``, where no score belongs to a clip alone."""
    form, names = answers.study.design.form, answers.study.design.systems
    if form == "odd":
        return None
    ceiling, orders, gaps = _orders(answers, draws=draws, seed=seed)
    found = []
    for name, order, gap in zip(names, orders, gaps, strict=True):
        spearman_, auc_ = _of_scores(answers, name, draws=draws, seed=seed)
        found.append(Agreement(name, spearman_, auc_, order, gap))
    return AgreementWithPeople(ceiling, tuple(found))


def order_score(form: Form, keys: Floats, target: Floats) -> float:
    """How well an order of candidates, higher first, has a target's; NaN where it has none.

    ``keys`` and ``target`` are float64 [candidates]; those without a target are left out.
    """
    known = ~np.isnan(target) & ~np.isnan(keys)
    keys, target = keys[known], target[known]
    if len(keys) < 2:
        return np.nan
    if form == "ab":
        wanted = np.sign(target[1] - target[0])
        if wanted == 0:
            return np.nan
        return 0.5 if keys[0] == keys[1] else float((keys[1] > keys[0]) == (wanted > 0))
    group = np.unique(-keys, return_inverse=True)[1].reshape(-1)
    shared = (np.bincount(group, target) / np.bincount(group))[group]
    return ndcg(shared[np.argsort(group, kind="stable")], target)


def spearman(scores: Floats, close: Floats) -> float:
    """Spearman's rank correlation; NaN where either is constant."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(close) == 0:
        return np.nan
    return float(np.corrcoef(_ranks(scores), _ranks(close))[0, 1])


def auc(scores: Floats, similar: Floats) -> float:
    """Chance that one of the similar (1) scores above one that is not (0), ties half.

    NaN where only one kind occurs; an answer that is not a number is left out.
    """
    known = ~np.isnan(similar)
    ranks, positive = _ranks(scores[known]), similar[known] > 0
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return np.nan
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean, thousands of times over short arrays."""
    inverse, counts = np.unique(values, return_inverse=True, return_counts=True)[1:]
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def _similar(form: Form, close: Floats) -> Floats:
    if form == "ab":
        return np.where(close == 0, np.nan, close > 0)
    return np.asarray(close >= SIMILAR, np.float64)


def _keys(item: Item, system: str) -> Floats:
    """A system's scores of the candidates; NaN for all where it answered with none of them."""
    placed = [candidate.systems.get(system) for candidate in item.candidates]
    if not any(placed):
        return np.full(len(placed), np.nan)
    return np.array([place.score if place else -np.inf for place in placed])


def _own_keys(form: Form, item: Item, judgement: Judgement) -> Floats:
    """A listener's order: by broad, then fine grade, or by preference."""
    keys = closeness(item, judgement)
    if form == "graded":
        for index, (broad, fine) in grades(judgement).items():
            keys[index] = 1_000 * broad + fine
    return keys


def _orders(
    answers: Kept, *, draws: int, seed: int
) -> tuple[Estimate, list[Estimate], list[Estimate]]:
    """The ceiling, each system's order, and their gaps."""
    count = len(answers.study.design.systems)
    units: list[Floats] = []
    without, queries, unit_of, answered = [], [], [], []
    for item_id, rows in answers.rows_by_item().items():
        lines = _one_out(answers, answers.items[item_id], rows)
        for row in rows:
            rest = [other for other in rows if other != row]
            left = _one_out(answers, answers.items[item_id], rest)
            without.append(sums_and_counts(left).sum(axis=1))
            unit_of.append(len(units))
            answered.append(row)
        units.append(sums_and_counts(lines).sum(axis=1))
        queries.append(query(answers.items[item_id]))
    if not units:
        return Estimate(None), [Estimate(None)] * count, [Estimate(None)] * count
    found = spread_of_means(
        np.stack(units, axis=1),
        np.stack(without, axis=1),
        numbered(queries),
        np.array(unit_of, np.intp),
        answers.clusters(answered)[0],
        draws=draws,
        seed=seed,
    )
    n = np.sum(units, axis=0)[1].astype(int)
    shares = [found.estimate(at, int(n[at]), low=0, high=1) for at in range(1 + count)]
    gaps = [found.estimate(at, int(n[at])) for at in range(1 + count, 1 + 2 * count)]
    return shares[0], shares[1:], gaps


def _one_out(answers: Kept, item: Item, rows: list[int]) -> Floats:
    """Scores against the mean of the others, for each answer to an item that has others.

    float64 [answers, 1 + 2 s]: of the listener, of each system, and of each less the listener's.
    """
    form, names = answers.study.design.form, answers.study.design.systems
    given = [answers.judgements[row] for row in rows]
    heard = np.array([closeness(item, judgement) for judgement in given])
    who = np.array([judgement.listener_id for judgement in given])
    keys = [_keys(item, name) for name in names]
    lines = []
    for judgement in given:
        others = heard[who != judgement.listener_id]
        if not len(others):
            continue
        target = means(others)(np.ones((1, len(others))))[0]
        own = order_score(form, _own_keys(form, item, judgement), target)
        ours = np.array([order_score(form, key, target) for key in keys])
        if not np.isnan(own):
            lines.append([own, *ours, *(ours - own)])
    return np.array(lines, np.float64).reshape(len(lines), 1 + 2 * len(names))


def _of_scores(answers: Kept, system: str, *, draws: int, seed: int) -> tuple[Estimate, Estimate]:
    """Spearman and AUC of a system's scores, over every candidate it answered with."""
    form = answers.study.design.form
    scores: list[float] = []
    close, queries, places, without = [], [], [], []
    for item_id, rows in answers.rows_by_item().items():
        item = answers.items[item_id]
        heard = np.array([closeness(item, answers.judgements[row]) for row in rows])
        for at, candidate in enumerate(item.candidates):
            known = ~np.isnan(heard[:, at])
            if system not in candidate.systems or not known.any():
                continue
            total, count = heard[known, at].sum(), int(known.sum())
            for row, grade in zip(np.array(rows)[known], heard[known, at], strict=True):
                places.append((row, len(scores)))
                without.append((total - grade) / (count - 1) if count > 1 else np.nan)
            scores.append(candidate.systems[system].score)
            close.append(total / count)
            queries.append(query(item))
    if not scores:
        return Estimate(None), Estimate(None)
    score, mean, of_query = np.array(scores), np.array(close), numbered(queries)

    def measured(kept: Ints, mean: Floats) -> tuple[float, float]:
        return spearman(score[kept], mean[kept]), auc(score[kept], _similar(form, mean[kept]))

    n = len(scores)
    every = np.arange(n)
    values = np.array(measured(every, mean))
    copies = redraw(of_query, draws, np.random.default_rng(seed)).astype(np.intp)
    redrawn = np.array([measured(np.repeat(every, number), mean) for number in copies])
    answered = sorted({row for row, _ in places})
    number = {row: at for at, row in enumerate(answered)}
    influences = np.zeros((len(answered), 2))
    for (row, place), left in zip(places, without, strict=True):
        if np.isnan(left):
            changed = np.array(measured(np.delete(every, place), mean))
        else:
            changed = np.array(measured(every, np.where(every == place, left, mean)))
        influences[number[row]] += np.nan_to_num(values - changed)
    found = spread_between(values, redrawn, of_query, influences, answers.clusters(answered)[0])
    return found.estimate(0, n, low=-1, high=1), found.estimate(1, n, low=0, high=1)
