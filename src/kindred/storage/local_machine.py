"""This machine's side of a library, in SQLite: folders and files seen, quarantine, jobs.

Any number of processes may read while one writes. A write is one transaction: killed at any
moment, the library opens as it was before or after it. SQLite syncs at checkpoints, so a power cut
may take the last transactions, never the library.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kindred.errors import JobError, StorageError
from kindred.storage.backend import MachineStore
from kindred.storage.records import FileRecord, JobRecord, QuarantineRecord, fold
from kindred.storage.schema import FROM_VERSION_2, SCHEMA, SCHEMA_VERSION

_JOB_COLUMNS = [item.name for item in dataclasses.fields(JobRecord)]
_CHUNK = 500  # ids per statement, below SQLite's limit on variables


def upsert(table: str, columns: Sequence[str], key: str) -> str:
    """The statement that inserts a row or replaces the one with its key."""
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({key}) DO UPDATE SET {updates}"
    )


class LocalMachine(MachineStore):
    """The database of a folder, one connection a thread, and what belongs to the machine.

    Parameters
    ----------
    home : Path
        The library folder; made on first use.
    library : str
        Name of the library in that folder: its database is ``<library>.db``.

    Raises
    ------
    StorageError
        When the folder cannot be written or the database is not a Kindred library.
    """

    def __init__(self, home: Path, library: str = "library") -> None:
        self.home = Path(os.path.abspath(home))
        self.database = self.home / f"{library}.db"
        self.audio_folder = self.home / ("audio" if library == "library" else f"audio-{library}")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._db.executescript("PRAGMA journal_mode = WAL;")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise StorageError(
                    f"The library in {self.home} was written by a newer Kindred (schema {found},"
                    f" this one reads {SCHEMA_VERSION}). Update Kindred to open it."
                )
            if found < SCHEMA_VERSION:
                self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"The library folder {self.home} cannot be used: {error}. Set KINDRED_HOME to a"
                f" folder you may write to, or move {self.database.name} away to start afresh."
            ) from error

    def _migrate(self) -> None:
        """Bring the schema up to date in one transaction."""
        with self.batch():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            for statement in (*(FROM_VERSION_2 if found == 2 else ()), *_statements(SCHEMA)):
                self._db.execute(statement)
            if found == 2:
                self._from_version_2()
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _from_version_2(self) -> None:
        """What a library of version 2 needs besides the new tables."""

    # -- connections -----------------------------------------------------------------------
    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.database,
                timeout=60,
                isolation_level=None,
                check_same_thread=False,  # close() may come from another thread
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA busy_timeout = 60000")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.create_function("fold", 1, lambda text: fold(text or ""), deterministic=True)
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        return connection

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    @contextmanager
    def batch(self) -> Iterator[None]:
        connection = self._db
        if connection.in_transaction:  # joins the batch around it
            yield
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _touch(self) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'library_version'")

    # -- paths -----------------------------------------------------------------------------
    def _pack(self, path: str) -> str | bytes:
        absolute = Path(path)
        if absolute.is_relative_to(self.home):
            path = absolute.relative_to(self.home).as_posix()
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            return os.fsencode(path)
        return path

    def _unpack(self, stored: str | bytes) -> str:
        path = os.fsdecode(stored)
        return path if os.path.isabs(path) else str(self.home / path)

    def chunked(self, statement: str, values: Sequence[Any]) -> Iterator[sqlite3.Row]:
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            yield from self._db.execute(statement.format(", ".join("?" * len(part))), part)

    # -- folders and files -----------------------------------------------------------------
    def add_root(self, path: str) -> None:
        with self.batch():
            self._db.execute("INSERT OR IGNORE INTO roots VALUES (?)", (self._pack(path),))

    def roots(self) -> list[str]:
        rows = self._db.execute("SELECT path FROM roots ORDER BY path").fetchall()
        return [self._unpack(row[0]) for row in rows]

    def put_files(self, files: Iterable[FileRecord]) -> None:
        columns = ("path", "size", "mtime_ns", "content_hash", "track_id")
        rows = [
            (self._pack(item.path), item.size, item.mtime_ns, item.content_hash, item.track_id)
            for item in files
        ]
        if rows:
            with self.batch():
                self._db.executemany(upsert("files", columns, "path"), rows)
                self._db.executemany(
                    "DELETE FROM lost WHERE track_id = ?", [(row[-1],) for row in rows]
                )
                self._touch()

    def list_files(self) -> list[FileRecord]:
        rows = self._db.execute("SELECT * FROM files ORDER BY rowid").fetchall()
        return [FileRecord(self._unpack(row["path"]), *tuple(row)[1:]) for row in rows]

    def delete_files(self, paths: Iterable[str]) -> None:
        packed = [(self._pack(path),) for path in paths]
        with self.batch():
            self._db.executemany(
                "INSERT OR IGNORE INTO lost SELECT track_id FROM files WHERE path = ?", packed
            )
            self._db.executemany("DELETE FROM files WHERE path = ?", packed)
            self._touch()

    def paths_of(self, track_ids: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
        """Paths of every track that has one here, or of some."""
        if track_ids is None or len(track_ids) > 5_000:  # one pass over all beats many look-ups
            found: Iterable[sqlite3.Row] = self._db.execute(
                "SELECT track_id, path FROM files ORDER BY rowid"
            )
        else:
            found = self.chunked(
                "SELECT track_id, path FROM files WHERE track_id IN ({}) ORDER BY rowid", track_ids
            )
        paths: dict[str, list[str]] = {}
        for track_id, path in found:
            paths.setdefault(track_id, []).append(self._unpack(path))
        return {track_id: tuple(of_track) for track_id, of_track in paths.items()}

    def lost_tracks(self) -> list[str]:
        """Tracks that had a file on this machine and have none now."""
        rows = self._db.execute(
            "SELECT track_id FROM lost WHERE track_id NOT IN (SELECT track_id FROM files)"
            " ORDER BY track_id"
        )
        return [row[0] for row in rows]

    def put_quarantine(self, records: Iterable[QuarantineRecord]) -> None:
        columns = [item.name for item in dataclasses.fields(QuarantineRecord)]
        rows = [(self._pack(item.path), *dataclasses.astuple(item)[1:]) for item in records]
        with self.batch():
            self._db.executemany(upsert("quarantine", columns, "path"), rows)

    def list_quarantine(self) -> list[QuarantineRecord]:
        rows = self._db.execute("SELECT * FROM quarantine ORDER BY path").fetchall()
        return [QuarantineRecord(self._unpack(row["path"]), *tuple(row)[1:]) for row in rows]

    def delete_quarantine(self, paths: Iterable[str]) -> None:
        with self.batch():
            self._db.executemany(
                "DELETE FROM quarantine WHERE path = ?", [(self._pack(path),) for path in paths]
            )

    # -- jobs ------------------------------------------------------------------------------
    def put_job(self, job: JobRecord) -> None:
        values = dataclasses.asdict(job)
        values |= {"params": json.dumps(job.params), "result": json.dumps(job.result)}
        with self.batch():
            self._db.execute(
                upsert("jobs", _JOB_COLUMNS, "job_id"), [values[name] for name in _JOB_COLUMNS]
            )

    def get_job(self, job_id: str) -> JobRecord:
        row = self._db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobError(f"There is no job {job_id!r}.")
        return _job(row)

    def update_job(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        with self.batch():
            job = change(self.get_job(job_id))
            self.put_job(job)
        return job

    def list_jobs(self, *, kind: str | None = None, limit: int = 20) -> list[JobRecord]:
        rows = self._db.execute(
            "SELECT * FROM jobs WHERE ? IS NULL OR kind = ? ORDER BY created_at DESC, rowid DESC"
            " LIMIT ?",
            (kind, kind, limit),
        ).fetchall()
        return [_job(row) for row in rows]


def _job(row: sqlite3.Row) -> JobRecord:
    values = dict(row)
    values |= {
        "params": json.loads(values["params"]),
        "result": json.loads(values["result"]),
        "cancel_requested": bool(values["cancel_requested"]),
    }
    return JobRecord(**values)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would end the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
