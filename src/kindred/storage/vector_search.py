"""Search over the spaces of a library on this machine: which snapshot, which index, their upkeep.

While fewer vectors than ``ann_threshold`` may answer, each is compared; else the index does it. The
index belongs to the base of the snapshot, and what changed since is compared one by one, so that a
track that was added is found at the next search. A thread of its own builds a missing index, or,
once the changes are many, the next base and its index; searches go on with the old until it is
there. Of all processes and threads one builds at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kindred.storage import ivf, vectors
from kindred.storage.vectors import Snapshot

logger = logging.getLogger(__name__)


class SpaceRows(Protocol):
    """A space's vectors in the database, all as one read transaction sees them."""

    @property
    def version(self) -> int:
        """Grows with every change to the space; never goes back."""

    def count(self) -> int:
        """Number of vectors."""

    def all(self) -> Iterable[tuple[str, bytes]]:
        """Every track and its vector, float32, ordered by ``track_id``."""

    def since(self, version: int) -> Iterable[tuple[str, bytes | None]]:
        """Tracks put or removed after a version, with the vector each has now, or ``None``."""


class VectorSearch:
    """The snapshots and indexes of a library.

    Parameters
    ----------
    folder : Path
        Holds a folder for each space. Everything in it comes back from the database.
    ann_threshold : int
        From this many vectors on, the approximate index answers.
    """

    def __init__(self, folder: Path, *, ann_threshold: int) -> None:
        self.folder = folder
        self.ann_threshold = ann_threshold
        self._lock = threading.Lock()
        self._snapshots: dict[str, Snapshot] = {}
        self._indexes: dict[str, tuple[Path, ivf.Index]] = {}
        self._building: dict[str, threading.Thread] = {}
        self._failed: dict[Path, str] = {}

    def snapshot(self, space_id: str, dims: int, rows: SpaceRows) -> Snapshot:
        """The space's vectors as they are now.

        Raises
        ------
        StorageError
            When a vector has the wrong length.
        OSError
            When a base must be written and cannot be.
        """
        folder, version = self.folder / space_id, rows.version
        with self._lock:
            known = self._snapshots.get(space_id)
        if known is not None and known.version >= version:
            return known
        base = vectors.open_snapshot(folder, version, dims)
        snapshot = None
        if known is not None and (base is None or base.version <= known.base.version):
            snapshot = known.updated(version, rows.since(known.version))
        elif base is not None:
            snapshot = base.updated(version, rows.since(base.version))
            if len(snapshot) != rows.count():  # a base of another library's past
                snapshot = None
        if snapshot is None:
            snapshot = vectors.write_snapshot(folder, version, dims, rows.all())
        with self._lock:
            self._snapshots[space_id] = snapshot
        if snapshot.is_due:
            self._start(snapshot, self._renew)
        return snapshot

    def search(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], str]:
        """Rows, scores and the name of the index that answered; see :meth:`Snapshot.search`."""
        name = "exact"
        if len(snapshot.base.ids) >= self.ann_threshold:
            if allowed is not None and np.count_nonzero(allowed) < self.ann_threshold:
                name = "exact (the filter leaves few)"
            else:
                index, name = self._index(snapshot)
                if index is not None:
                    return *ivf.top_rows(index, snapshot, query, k, allowed=allowed), name
        return *snapshot.search(query, k, allowed=allowed), name

    def wait(self) -> None:
        """Wait until nothing is being built."""
        while True:
            with self._lock:
                threads = list(self._building.values())
            if not threads:
                return
            for thread in threads:
                thread.join()

    def _index(self, snapshot: Snapshot) -> tuple[ivf.Index | None, str]:
        path, space_id = snapshot.path, snapshot.path.parent.name
        with self._lock:
            known = self._indexes.get(space_id)
            index = known[1] if known is not None and known[0] == path else ivf.load(snapshot)
            if index is not None:
                self._indexes[space_id] = path, index
                return index, ivf.NAME
            reason = self._failed.get(path)
        if reason is not None:
            return None, f"exact (the index could not be built: {reason})"
        self._start(snapshot, ivf.build)
        return None, "exact (the index is being built)"

    # -- in a thread of its own ------------------------------------------------------------
    def _start(self, snapshot: Snapshot, work: Callable[[Snapshot], object]) -> None:
        space_id = snapshot.path.parent.name

        def run() -> None:
            try:
                with vectors.alone(snapshot.path.parent) as free:
                    if free:
                        work(snapshot)
            except (OSError, RuntimeError, MemoryError) as error:  # the disk is full, for one
                logger.warning("The vectors in %s: %s", snapshot.path.parent, error)
                with self._lock:
                    self._failed[snapshot.path] = str(error)
            finally:
                with self._lock:
                    del self._building[space_id]

        with self._lock:
            if space_id in self._building or snapshot.path in self._failed:
                return
            thread = threading.Thread(target=run, daemon=True)
            self._building[space_id] = thread
            thread.start()

    def _renew(self, snapshot: Snapshot) -> None:
        """Write the next base from this one and the changes, with its index."""
        folder, dims = snapshot.path.parent, snapshot.base.matrix.shape[1]
        vectors.write_snapshot(
            folder, snapshot.version, dims, snapshot.items(), prepare=self._prepare
        )
        with self._lock:  # the next search opens what is on disk now
            self._snapshots.pop(folder.name, None)

    def _prepare(self, snapshot: Snapshot) -> None:
        if len(snapshot) >= self.ann_threshold:
            ivf.build(snapshot)
