"""The HNSW index of each space, built beside readers and writers once the space is large.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs",
IEEE TPAMI 42 (2020).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing

import psycopg

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError
from kindred.storage.postgres.connections import Connection

_logger = logging.getLogger(__name__)

#: Links per node, and how many candidates are kept while building and searching.
M, EF_CONSTRUCTION, EF_SEARCH = 16, 64, 100
#: The most dimensions that pgvector indexes.
DIMS = 2_000
#: The most memory a build may take, in MiB. A graph that fits is built several times faster.
_MEMORY = 1_024


def index_name(space: EmbeddingSpace) -> str:
    """Name of a space's index."""
    return f"track_embeddings_hnsw_{space.space_id}"


class Graphs:
    """Builds indexes, one at a time, on a connection of their own."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._building: Connection | None = None
        self._failed: set[str] = set()
        self._closed = False

    def start(self, space: EmbeddingSpace, tracks: int) -> None:
        """Have an index built by a thread, unless one is at work or could not do it."""
        with self._lock:
            busy = self._thread is not None and self._thread.is_alive()
            if busy or self._closed or space.space_id in self._failed:
                return
            self._thread = threading.Thread(
                target=self._run, args=(space, tracks), name="kindred-hnsw", daemon=True
            )
            self._thread.start()

    def _run(self, space: EmbeddingSpace, tracks: int) -> None:
        try:
            self.build(space, tracks)
        except (StorageError, psycopg.Error) as error:
            if not self._closed:
                self._failed.add(space.space_id)
                _logger.warning("The HNSW index of %s was not built: %s", space.model, error)

    def build(self, space: EmbeddingSpace, tracks: int) -> bool:
        """Build a space's index; return whether it is there now.

        Writers go on meanwhile. Another process that is building it is not waited for. An index
        that an earlier, interrupted build left unusable is made anew.
        """
        name = index_name(space)
        with closing(self._connect()) as connection:
            lock = "hashtextextended(%s, 0)"
            if not _value(connection, f"SELECT pg_try_advisory_lock({lock})", name):
                return False
            valid = _value(
                connection,
                "SELECT bool_or(indisvalid) FROM pg_index WHERE indexrelid = to_regclass(%s)",
                name,
            )
            if valid:
                return True
            self._building = connection
            try:
                needed = tracks * (4 * space.dims + 500) * 5 // 4 // 2**20
                connection.execute(
                    f"SET maintenance_work_mem = '{min(max(needed, 64), _MEMORY)}MB'"
                )
                try:
                    _create(connection, name, space)
                except psycopg.errors.DiskFull:  # /dev/shm of a container, which workers share
                    connection.execute("SET max_parallel_maintenance_workers = 0")
                    _create(connection, name, space)
            finally:
                self._building = None
        return True

    def close(self) -> None:
        """Give up what is being built; the index is made anew another time."""
        self._closed = True
        if self._thread is None:
            return
        for _ in range(50):  # a cancellation that comes between two statements has no effect
            if (building := self._building) is not None:
                building.cancel_safe(timeout=5)
            self._thread.join(timeout=0.2)
            if not self._thread.is_alive():
                return


def _create(connection: Connection, name: str, space: EmbeddingSpace) -> None:
    connection.execute(f"DROP INDEX IF EXISTS {name}")
    connection.execute(
        f"CREATE INDEX CONCURRENTLY {name} ON track_embeddings"
        f" USING hnsw ((vector::vector({space.dims})) vector_cosine_ops)"
        f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
        f" WHERE space_id = '{space.space_id}'"
    )


def _value(connection: Connection, statement: str, value: str) -> bool:
    row = connection.execute(statement, (value,)).fetchone()
    return bool(row and row[0])
