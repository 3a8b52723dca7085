"""Items worth listening to again: where people contradict the best system, or are split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kindred.audit.analysis.grades import odd_of
from kindred.audit.analysis.kept import Kept, closeness
from kindred.audit.judgement import Judgement, chosen
from kindred.audit.study import Item

#: How many of each kind are named.
MOST = 10


@dataclass(frozen=True)
class Heard:
    """An item and how far it goes: see :class:`Disagreements`."""

    item_id: str
    size: float
    answers: int


@dataclass(frozen=True)
class Disagreements:
    """Items that two listeners or more answered, the largest first.

    Attributes
    ----------
    system : str or None
        The best system by people's answers.
    against : tuple of Heard
        ``size`` is by how much people found another candidate closer than the one the system puts
        first, in points or broad grades (``odd``: the share that chose another clip).
    split : tuple of Heard
        ``size`` is the standard deviation of the answers, in points or broad grades, mean over
        candidates (``odd``: the share that did not choose the most chosen clip).
    """

    system: str | None
    against: tuple[Heard, ...]
    split: tuple[Heard, ...]


def disagreements(answers: Kept, best: str | None) -> Disagreements:
    """Find them; ``best`` is the system people are held against, if one is known."""
    against, split = [], []
    for item_id, rows in answers.rows_by_item().items():
        given = [answers.judgements[row] for row in rows]
        if len({judgement.listener_id for judgement in given}) < 2:
            continue
        item = answers.items[item_id]
        if answers.study.design.form == "odd":
            gap, spread = _odd(item, given, best)
        else:
            gap, spread = _close(item, given, best)
        against.append(Heard(item_id, gap, len(given)))
        split.append(Heard(item_id, spread, len(given)))
    return Disagreements(best, _largest(against), _largest(split))


def _largest(found: list[Heard]) -> tuple[Heard, ...]:
    """The largest, ties by the number of answers, then by id; none that is 0."""
    order = sorted(found, key=lambda item: (-item.size, -item.answers, item.item_id))
    return tuple(item for item in order[:MOST] if item.size > 0)


def _close(item: Item, given: list[Judgement], best: str | None) -> tuple[float, float]:
    heard = np.array([closeness(item, judgement) for judgement in given])
    graded = ~np.isnan(heard)
    judged = np.flatnonzero(graded.any(axis=0))
    if not len(judged):
        return 0.0, 0.0
    columns = [heard[graded[:, at], at] for at in judged]
    spread = float(np.mean([column.std() for column in columns]))
    mean = {int(at): float(column.mean()) for at, column in zip(judged, columns, strict=True)}
    placed = {
        at: item.candidates[at].systems[best].score
        for at in mean
        if best in item.candidates[at].systems
    }
    if not placed:
        return 0.0, spread
    first = max(placed, key=lambda at: (placed[at], -at))
    others = [value for at, value in mean.items() if at != first]
    return (max(others) - mean[first] if others else 0.0), spread


def _odd(item: Item, given: list[Judgement], best: str | None) -> tuple[float, float]:
    counts = np.bincount([chosen("odd", judgement) or 0 for judgement in given], minlength=3)
    odd = odd_of(item, best) if best else None
    against = 0.0 if odd is None else float(1 - counts[odd] / counts.sum())
    return against, float(1 - counts.max() / counts.sum())
