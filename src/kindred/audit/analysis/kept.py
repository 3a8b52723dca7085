"""The answers that count, checked against the study they were given in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audit.judgement import Judgement, check_answer, counting, grades, preference
from kindred.audit.study import Item, Study
from kindred.errors import AuditError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Kept:
    """Answers to real items, first asking only, of listeners who are kept."""

    study: Study
    items: Mapping[str, Item]
    judgements: tuple[Judgement, ...]

    def item(self, judgement: Judgement) -> Item:
        """What was asked."""
        return self.items[judgement.item_id]

    def clusters(self, rows: Iterable[int]) -> tuple[Ints, Ints, Ints]:
        """Listener, query and judgement of each row, a row being the index of a judgement."""
        rows = list(rows)
        listeners = [self.judgements[row].listener_id for row in rows]
        queries = [query(self.item(self.judgements[row])) for row in rows]
        return numbered(listeners), numbered(queries), np.asarray(rows, np.intp)

    def rows_by_item(self) -> dict[str, list[int]]:
        """Item id -> rows of its answers, those that cannot tell left out."""
        found: dict[str, list[int]] = {}
        for row, judgement in enumerate(self.judgements):
            if judgement.answer is not None:
                found.setdefault(judgement.item_id, []).append(row)
        return found


def checked(study: Study, judgements: list[Judgement]) -> list[Judgement]:
    """The answers that count (:func:`kindred.audit.judgement.counting`).

    Raises
    ------
    AuditError
        When one belongs to another study or design, names no item of it, or is no answer to it.
    """
    items = {item.item_id: item for item in study.items}
    design_hash = study.design_hash
    for judgement in judgements:
        where = f"Judgement {judgement.judgement_id}"
        if judgement.study_id != study.study_id or judgement.design_hash != design_hash:
            raise AuditError(
                f"{where} was given in another study, or before its design was changed. Give the "
                "judgements of one study together with the study as it was opened."
            )
        if judgement.item_id not in items:
            raise AuditError(
                f"{where} names the item {judgement.item_id}, which study {study.study_id} does "
                "not have."
            )
        count = len(items[judgement.item_id].candidates)
        if sorted(judgement.order) != list(range(count)):
            raise AuditError(
                f"{where} has the order {judgement.order}, but its item has {count} candidates."
            )
        check_answer(study.design.form, judgement.answer, count)
    return counting(judgements)


def query(item: Item) -> str:
    """What makes items alike: the track asked about; an odd-one-out item stands alone."""
    return item.reference.track_id if item.reference else item.item_id


def numbered(names: list[str]) -> Ints:
    """Numbers from 0 for names."""
    return np.asarray(np.unique(np.array(names), return_inverse=True)[1].reshape(-1))


def closeness(item: Item, judgement: Judgement) -> Floats:
    """How close the listener found each candidate, float64 [candidates]; NaN without a grade.

    ``ab``: minus and plus the preference, -2..2. ``graded``: the broad grade, 0..2.
    """
    found = np.full(len(item.candidates), np.nan)
    if judgement.answer is None:
        return found
    if "point" in judgement.answer:
        point = preference(judgement) or 0
        return np.array([-point, point], np.float64)
    for index, (broad, _) in grades(judgement).items():
        found[index] = broad
    return found
