"""A space's vectors at one version, and exact cosine search over them: the oracle.

Rows are unit vectors ordered by ``track_id``, so a dot product is the cosine and row order is tie
order. A matrix product in float32 may differ in its last bits from row to row even where rows are
equal, so the few best rows are scored again, one by one in float64: equal vectors get equal
scores, and the same query always gives the same answer.

A snapshot is a base, mapped from disk, and the changes since, held in memory. Its rows are those of
the base that are left and the new ones between them, so neither kind is seen from outside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kindred.errors import StorageError
from kindred.storage.records import Hit
from kindred.storage.track_ids import TrackIds

#: More changes than both this number and this share of the base make a new base due.
MIN_CHANGES, CHANGED_SHARE = 1_000, 0.02
_BLOCK = 1 << 14  # rows gathered at once


def checked(track_id: str, blob: bytes, dims: int) -> bytes:
    """A vector as it came, if it has the right length; raises :class:`StorageError`."""
    if len(blob) != 4 * dims:
        raise StorageError(
            f"The vector of track {track_id} has {len(blob)} bytes, not {4 * dims}."
            " Remove the track and ingest its file again."
        )
    return blob


def rescore(
    matrix: NDArray[np.float32], rows: NDArray[np.intp], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Cosine of some rows with a unit query, each row on its own, in float64."""
    scores = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        products = matrix[rows[start : start + _BLOCK]] * query.astype(np.float64)
        scores[start : start + _BLOCK] = products.sum(axis=1)
    return np.clip(scores, -1.0, 1.0, out=scores)


def top_rows(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows with the largest cosine, best first, ties by row.

    Parameters
    ----------
    matrix : float32 [n, dims]
        Unit rows.
    query : float32 [dims]
        Unit vector.
    k : int
        At most this many rows.
    allowed : bool [n], optional
        Rows that may answer.

    Returns
    -------
    rows : intp [m], scores : float64 [m]
        ``m = min(k, number of allowed rows)``.
    """
    candidates = np.arange(len(matrix)) if allowed is None else np.flatnonzero(allowed)
    if k < 1 or not len(candidates):
        return np.zeros(0, np.intp), np.zeros(0, np.float64)
    # A selective filter is cheaper gathered; a loose one is cheaper masked afterwards.
    if allowed is not None and len(candidates) < len(matrix) // 4:
        starts = range(0, len(candidates), _BLOCK)
        scores = np.concatenate([matrix[candidates[at : at + _BLOCK]] @ query for at in starts])
    else:
        scores = (matrix @ query)[candidates]
    if k < len(candidates):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        # Twice the bound on the error of a float32 dot product of unit vectors.
        candidates = candidates[scores >= kth - matrix.shape[1] * np.finfo(np.float32).eps]
    exact = rescore(matrix, candidates, query)
    order = np.lexsort((candidates, -exact))[:k]
    return candidates[order], exact[order]


@dataclass(frozen=True)
class Base:
    """A space's vectors on disk at one version: ids, float32 [n, dims], row by row."""

    version: int
    ids: TrackIds
    matrix: NDArray[np.float32]
    path: Path


class Change(NamedTuple):
    """What became of a track since the base: its place there, and its vector if it has one."""

    place: int
    in_base: bool
    vector: NDArray[np.float32] | None


@dataclass(frozen=True)
class Snapshot:
    """A space's track vectors at one version: a base and the changes since, by ``track_id``."""

    version: int
    base: Base
    changes: Mapping[str, Change] = field(default_factory=dict)

    def updated(self, version: int, changed: Iterable[tuple[str, bytes | None]]) -> Snapshot:
        """The snapshot at a later version.

        Parameters
        ----------
        changed : iterable of (track_id, bytes or None)
            At least every track that was added, replaced or removed (``None``) in between, with
            what it has now.
        """
        changes = dict(self.changes)
        for track_id, blob in changed:
            place, in_base = self.base.ids.place(track_id)
            if blob is not None:
                vector = np.frombuffer(
                    checked(track_id, blob, self.base.matrix.shape[1]), np.float32
                )
                changes[track_id] = Change(place, in_base, vector)
            elif in_base:
                changes[track_id] = Change(place, in_base, None)
            else:
                changes.pop(track_id, None)
        return Snapshot(version, self.base, dict(sorted(changes.items())))

    @property
    def is_due(self) -> bool:
        """Whether so much has changed that a new base should be written."""
        return len(self.changes) > max(MIN_CHANGES, CHANGED_SHARE * len(self.base.ids))

    # -- rows: those of the base that are left, and the new ones between them ---------------
    @cached_property
    def gone(self) -> NDArray[np.intp]:
        """Rows of the base that were replaced or removed, ascending."""
        return np.array([item.place for item in self.changes.values() if item.in_base], np.intp)

    @cached_property
    def new_ids(self) -> list[str]:
        """Tracks whose vector is not that of the base, ascending."""
        return [key for key, item in self.changes.items() if item.vector is not None]

    @cached_property
    def new_matrix(self) -> NDArray[np.float32]:
        """Their vectors, float32 [m, dims]."""
        found = [item.vector for item in self.changes.values() if item.vector is not None]
        return np.array(found, np.float32).reshape(-1, self.base.matrix.shape[1])

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        return np.array([self.changes[key].place for key in self.new_ids], np.intp)

    @cached_property
    def new_rows(self) -> NDArray[np.intp]:
        """Their rows in the snapshot, ascending."""
        places = self._places
        return np.arange(len(places)) + places - np.searchsorted(self.gone, places)

    def from_base(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows of the base, none of them gone, as rows of the snapshot."""
        before = np.searchsorted(self._places, rows, side="right")
        shifted: NDArray[np.intp] = rows - np.searchsorted(self.gone, rows) + before
        return shifted

    def _locate(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Whether each row is new, and its row among the new ones or in the base."""
        new, is_new = np.searchsorted(self.new_rows, rows), np.isin(rows, self.new_rows)
        old = rows - new  # counts what is left of the base
        old = old + np.searchsorted(self.gone - np.arange(len(self.gone)), old, side="right")
        return is_new, np.where(is_new, new, old)

    def __len__(self) -> int:
        return len(self.base.ids) - len(self.gone) + len(self.new_ids)

    @property
    def path(self) -> Path:
        """The file of the base."""
        return self.base.path

    def ids_of(self, rows: NDArray[np.intp]) -> list[str]:
        """Tracks of some rows."""
        return [
            self.new_ids[at] if is_new else self.base.ids[at]
            for is_new, at in zip(*(item.tolist() for item in self._locate(rows)), strict=True)
        ]

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors of some rows, float32 [len(rows), dims], copied."""
        is_new, at = self._locate(rows)
        out = np.empty((len(rows), self.base.matrix.shape[1]), np.float32)
        out[is_new] = self.new_matrix[at[is_new]]
        out[~is_new] = self.base.matrix[at[~is_new]]
        return out

    @property
    def track_ids(self) -> Sequence[str]:
        """Track of each row."""
        return self.ids_of(np.arange(len(self))) if self.changes else self.base.ids

    @property
    def matrix(self) -> NDArray[np.float32]:
        """Vector of each row, float32 [n, dims]: mapped, or copied when there are changes."""
        return self.take(np.arange(len(self))) if self.changes else self.base.matrix

    def find(self, track_ids: Collection[str]) -> NDArray[np.intp]:
        """Rows of those tracks that have a vector, in no promised order."""
        wanted = set(track_ids)
        new = [row for row, key in zip(self.new_rows, self.new_ids, strict=True) if key in wanted]
        old = self.from_base(self.base.ids.find(wanted.difference(self.changes)))
        return np.concatenate([old, np.array(new, np.intp)])

    def mask(
        self, track_ids: Iterable[str] | None, exclude: Iterable[str]
    ) -> NDArray[np.bool_] | None:
        """Rows that may answer, or ``None`` when all may.

        ``track_ids`` are the only ones allowed (``None``: all), ``exclude`` are then removed.
        """
        out = self.find(set(exclude))
        if track_ids is None and not len(out):
            return None
        mask = np.full(len(self), track_ids is None)
        if track_ids is not None:
            mask[self.find(set(track_ids))] = True
        mask[out] = False
        return mask

    def base_mask(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Rows of the base that may answer, or ``None`` when all may."""
        if not self.changes:
            return allowed
        mask = np.ones(len(self.base.ids), np.bool_)
        mask[self.gone] = False
        if allowed is not None:
            mask[mask] = np.delete(allowed, self.new_rows)
        return mask

    def search(
        self, query: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """:func:`top_rows` of the snapshot, exactly."""
        rows, _ = top_rows(self.base.matrix, query, k, allowed=self.base_mask(allowed))
        return self.best(rows, query, k, allowed=allowed)

    def best(
        self,
        rows: NDArray[np.intp],
        query: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The best of some rows of the base and of everything new, scored exactly."""
        allowed = None if allowed is None else allowed[self.new_rows]
        new, _ = top_rows(self.new_matrix, query, k, allowed=allowed)
        found = np.concatenate([self.from_base(rows), self.new_rows[new]])
        scores = rescore(self.take(found), np.arange(len(found)), query)
        order = np.lexsort((found, -scores))[: max(k, 0)]
        return found[order], scores[order]

    def hits(self, rows: NDArray[np.intp], scores: NDArray[np.float64]) -> list[Hit]:
        """Rows and scores as records."""
        return [
            Hit(key, float(score)) for key, score in zip(self.ids_of(rows), scores, strict=True)
        ]

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Every track and its vector, in order: what a new base is written from."""
        at = 0
        ids = iter(self.base.ids)
        for key, change in [*self.changes.items(), ("", Change(len(self.base.ids), False, None))]:
            while at < change.place:
                yield next(ids), self.base.matrix[at].tobytes()
                at += 1
            if change.in_base:
                next(ids)
                at += 1
            if change.vector is not None:
                yield key, change.vector.tobytes()
