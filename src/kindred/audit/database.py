"""The SQLite file of the listening studies: its tables, connections and transactions.

A transaction is on the disk when it ends (WAL, ``synchronous = FULL``), so what was acknowledged
outlives a kill or a power cut. Triggers hold what must hold whoever writes: judgements are only
added, an opened study stays as it is.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kindred.errors import AuditError, StorageError, StorageUnavailable

SCHEMA_VERSION = 1

_SCHEMA = (
    """CREATE TABLE studies (
        study_id TEXT PRIMARY KEY, state TEXT NOT NULL, created_at TEXT NOT NULL,
        opened_at TEXT NOT NULL, closed_at TEXT NOT NULL, design_hash TEXT NOT NULL,
        document TEXT NOT NULL)""",
    """CREATE TABLE invitations (
        invitation_id TEXT PRIMARY KEY, study_id TEXT NOT NULL REFERENCES studies,
        listener TEXT NOT NULL, listener_id TEXT NOT NULL, created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL, revoked_at TEXT NOT NULL DEFAULT '',
        seen_at TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE sittings (
        sitting_id TEXT PRIMARY KEY, study_id TEXT NOT NULL REFERENCES studies,
        invitation_id TEXT NOT NULL UNIQUE REFERENCES invitations, listener_id TEXT NOT NULL,
        seed BLOB NOT NULL, device TEXT NOT NULL DEFAULT '{}', started_at TEXT NOT NULL,
        consented_at TEXT NOT NULL DEFAULT '', checked_at TEXT NOT NULL DEFAULT '',
        begun_at TEXT NOT NULL DEFAULT '', rested_at TEXT NOT NULL DEFAULT '',
        finished_at TEXT NOT NULL DEFAULT '', back_to INTEGER)""",
    """CREATE TABLE trials (
        sitting_id TEXT NOT NULL REFERENCES sittings, position INTEGER NOT NULL,
        item_id TEXT NOT NULL, kind TEXT NOT NULL, shown_order TEXT NOT NULL, repeats INTEGER,
        shown_at TEXT NOT NULL DEFAULT '', PRIMARY KEY (sitting_id, position))""",
    """CREATE TABLE judgements (
        row INTEGER PRIMARY KEY AUTOINCREMENT, judgement_id TEXT NOT NULL UNIQUE,
        study_id TEXT NOT NULL REFERENCES studies, sitting_id TEXT NOT NULL REFERENCES sittings,
        position INTEGER NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL,
        UNIQUE (sitting_id, position, revision))""",
    "CREATE INDEX judgements_of_study ON judgements (study_id)",
    "CREATE INDEX invitations_of_study ON invitations (study_id)",
    "CREATE INDEX sittings_of_study ON sittings (study_id)",
    """CREATE TRIGGER judgements_once BEFORE INSERT ON judgements WHEN EXISTS (
        SELECT 1 FROM judgements WHERE judgement_id = NEW.judgement_id OR row = NEW.row OR
        (sitting_id, position, revision) = (NEW.sitting_id, NEW.position, NEW.revision))
        BEGIN SELECT RAISE(ABORT, 'judgements are never replaced'); END""",
    """CREATE TRIGGER judgements_stay BEFORE UPDATE ON judgements
        BEGIN SELECT RAISE(ABORT, 'judgements are never changed'); END""",
    """CREATE TRIGGER judgements_are_kept BEFORE DELETE ON judgements
        BEGIN SELECT RAISE(ABORT, 'judgements are never removed'); END""",
    """CREATE TRIGGER studies_once BEFORE INSERT ON studies WHEN EXISTS (
        SELECT 1 FROM studies WHERE study_id = NEW.study_id AND state != 'draft')
        BEGIN SELECT RAISE(ABORT, 'an opened study is never replaced'); END""",
    """CREATE TRIGGER studies_freeze BEFORE UPDATE ON studies WHEN OLD.state != 'draft'
        AND (NEW.document != OLD.document OR NEW.design_hash != OLD.design_hash
             OR NEW.study_id != OLD.study_id OR NEW.state NOT IN (OLD.state, 'closed'))
        BEGIN SELECT RAISE(ABORT, 'an opened study is never changed'); END""",
    """CREATE TRIGGER studies_are_kept BEFORE DELETE ON studies WHEN OLD.state != 'draft'
        BEGIN SELECT RAISE(ABORT, 'an opened study is never removed'); END""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Database:
    """One connection a thread, one writer at a time; safe between threads and processes.

    Parameters
    ----------
    path : Path
        Made when missing.
    patience : float
        Seconds to wait while another process writes.
    clock : callable
        Gives the time, with its zone.

    Raises
    ------
    StorageUnavailable
        From every method, when the database stays locked or the disk is full; try again later.
    StorageError
        From every method, when it is damaged or no database.
    AuditError
        When another Kindred wrote it in another schema.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: float = 30.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self._patience = patience
        self._clock = clock
        self._local = threading.local()
        self._writer = threading.RLock()  # SQLite's own queue is not fair
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._version() == 0:
            with self.transaction():
                if self._version() == 0:
                    for statement in _SCHEMA:
                        self._run(statement)
        if self._version() != SCHEMA_VERSION:
            raise AuditError(
                f"{path} has schema {self._version()}; this Kindred reads {SCHEMA_VERSION}. Open it"
                " with the Kindred that wrote it, or update this one."
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored, on the disk, or nothing; joins the one around it."""
        with self._writer:
            if self._db.in_transaction:
                yield
                return
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close this thread's connection; others close when their threads end."""
        if hasattr(self._local, "connection"):
            self._local.connection.close()
            del self._local.connection

    def now(self) -> str:
        """The server's time: UTC, ISO 8601 with milliseconds."""
        return utc(self._clock())

    @property
    def _db(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._explained():
                connection = sqlite3.connect(
                    self.path, timeout=self._patience, isolation_level=None
                )
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def _run(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        connection = self._db
        with self._explained():
            return connection.execute(statement, values)

    def _all(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        connection = self._db
        with self._explained():
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise AuditError(f"This was refused: {error}.") from error
        except sqlite3.OperationalError as error:
            raise StorageUnavailable(
                f"The listening studies in {self.path} cannot be reached now ({error}). Nothing of"
                " this step was stored; try again."
            ) from error
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path} is damaged or no database of listening studies ({error}). Put it back"
                " from a backup."
            ) from error

    def _version(self) -> int:
        return int(self._all("PRAGMA user_version")[0][0])

    def _insert(self, table: str, values: Mapping[str, object]) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._run(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def utc(time: datetime) -> str:
    """UTC, ISO 8601 with milliseconds; such texts sort as their times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
