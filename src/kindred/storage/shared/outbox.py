"""Writes that a remote library has still to receive, in the database of this machine's copy.

A write is kept here and applied to the copy in one transaction, on disk before the call goes on
(SQLite, WAL, ``synchronous = FULL``). So there is no moment at which one was done and the other was
not, writers are in one order, and what the machine records beside it (files seen) belongs to it.

::

    parcel    the rows of one write, or of one batch; sent whole and in order
    late      its writer was told that it waits; others may have changed the same rows meanwhile
    refused   the store said no for good; set aside with the reason until somebody looks at it

A parcel leaves only after the store has confirmed it. Each change is kept with a checksum: a
damaged outbox is an error, never a shorter list. Kept audio is not copied: its file in the audio
folder is what is sent.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgpack

from kindred.errors import StorageError
from kindred.storage import rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import Audio, Kind, Row

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS outbox (
        parcel INTEGER PRIMARY KEY AUTOINCREMENT, kept_at INTEGER NOT NULL,
        changes INTEGER NOT NULL, bytes INTEGER NOT NULL,
        late INTEGER NOT NULL, refused TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE IF NOT EXISTS outbox_rows (
        parcel INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        digest TEXT NOT NULL, updated_at INTEGER NOT NULL, only_new INTEGER NOT NULL, body BLOB,
        checksum BLOB NOT NULL, PRIMARY KEY (parcel, position))""",
    "CREATE INDEX IF NOT EXISTS outbox_keys ON outbox_rows (kind, key)",
)


@dataclass(frozen=True)
class Change:
    """A row to be written; ``only_new``: unless there is one under its key."""

    row: Row
    only_new: bool = False


@dataclass(frozen=True)
class Parcel:
    """The changes of one write."""

    number: int
    late: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class ParcelNote:
    """What a parcel holds, for people; ``kept_at`` in microseconds of UTC since 1970.

    ``reason`` is why the store did not take it, and empty while it waits.
    """

    number: int
    kept_at: int
    keys: tuple[tuple[Kind, str], ...]
    reason: str = ""


class DamagedParcel(StorageError):
    """A parcel is not what was kept."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Outbox:
    """The outbox in the database of a machine's copy.

    Raises
    ------
    StorageError
        From every method, when the database is damaged or the disk takes no more.
    """

    def __init__(self, local: LocalBackend) -> None:
        self.local = local
        self.make_table("outbox_rows", _SCHEMA)

    def make_table(self, name: str, schema: Sequence[str]) -> None:
        """Carry out statements unless the table is there; then nobody has to wait for a writer."""
        if not self._all("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)):
            with self.writing():
                for statement in schema:
                    self.local._db.execute(statement)

    # -- keeping ---------------------------------------------------------------------------
    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that is on disk when it ends; joins the one around it."""
        db = self.local._db
        outer = db.in_transaction
        try:
            if not outer:
                db.execute("PRAGMA synchronous = FULL")
            with self.local.batch():
                yield
        except sqlite3.Error as error:
            if not outer and db.in_transaction:
                db.execute("ROLLBACK")
            raise self._broken(error, "nothing of this change was kept") from error

    def keep(self, changes: Sequence[Change], *, late: bool = False) -> int:
        """Keep a parcel, apply it to the copy and return its number."""
        packed = [_packed(change) for change in changes]
        try:
            with self.writing():
                number = self.local._db.execute(
                    "INSERT INTO outbox (kept_at, changes, bytes, late) VALUES (?, ?, ?, ?)",
                    (rows.now(), len(packed), sum(size for _, size in packed), late),
                ).lastrowid
                assert number is not None
                self.local._db.executemany(
                    "INSERT INTO outbox_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    ((number, at, *values) for at, (values, _) in enumerate(packed)),
                )
                self.local.write_rows([change.row for change in changes])
                for change in changes:
                    if isinstance(change.row.record, Audio):
                        self._sync(change.row.key)
        except OSError as error:
            raise self._broken(error, "nothing of this change was kept") from error
        return number

    def _sync(self, key: str) -> None:
        with open(self.local.audio_folder / key[:2] / key, "rb") as file:
            os.fsync(file.fileno())

    # -- sending ---------------------------------------------------------------------------
    def next(
        self, *, upto: int | None = None, changes: int = 500, size: int = 4 << 20
    ) -> list[Parcel]:
        """Return the parcels that are to be sent next, in order.

        As many as have at most so many changes and bytes, and one at least, if any waits.
        """
        parcels: list[Parcel] = []
        found = self._all(
            "SELECT parcel, changes, bytes, late FROM outbox WHERE refused = ''"
            " AND (? IS NULL OR parcel <= ?) ORDER BY parcel LIMIT ?",
            (upto, upto, changes),
        )
        for number, count, weight, late in found:
            changes, size = changes - count, size - weight
            if parcels and (changes < 0 or size < 0):
                break
            parcels.append(Parcel(number, bool(late), self._changes(number, count)))
        return parcels

    def _changes(self, number: int, count: int) -> tuple[Change, ...]:
        found = self._all(
            "SELECT kind, key, digest, updated_at, only_new, body, checksum FROM outbox_rows"
            " WHERE parcel = ? ORDER BY position",
            (number,),
        )
        if len(found) != count:
            raise self._damaged(number, f"{len(found)} of its {count} rows are left")
        changes = []
        for *columns, checksum in map(tuple, found):
            kind, key, digest, updated_at, only_new, body = columns
            if _checksum(columns) != checksum:
                raise self._damaged(number, f"{kind} {key} is not what was kept")
            if not digest:
                row = rows.tombstone(kind, key, updated_at)
            elif body is not None:
                row = rows.unpack(body)
            else:
                kept = self.local.read_rows(kind, [key])
                if not kept and self._is_removed_later(number, kind, key):
                    continue
                if not kept or rows.entry(kept[0]).digest != digest:
                    raise self._damaged(number, f"the file of {kind} {key} is gone or changed")
                row = Row(kind, key, kept[0].record, updated_at)
            changes.append(Change(row, bool(only_new)))
        return tuple(changes)

    def _is_removed_later(self, number: int, kind: Kind, key: str) -> bool:
        return bool(
            self._all(
                "SELECT 1 FROM outbox_rows WHERE kind = ? AND key = ? AND parcel > ?"
                " AND digest = '' LIMIT 1",
                (kind, key, number),
            )
        )

    def remove(self, numbers: Collection[int]) -> None:
        """Take parcels out that the store has confirmed, or that nobody wants any more."""
        with self.writing():
            for table in ("outbox", "outbox_rows"):
                self.local._db.executemany(
                    f"DELETE FROM {table} WHERE parcel = ?", [(number,) for number in numbers]
                )

    def mark_late(self) -> None:
        """Note that the writers of all that waits have been told so."""
        with self.writing():
            self.local._db.execute("UPDATE outbox SET late = 1 WHERE refused = ''")

    # -- refused ---------------------------------------------------------------------------
    def set_aside(self, number: int, reason: str) -> None:
        """Keep a parcel out of the way, with the reason why the store did not take it.

        One set aside before that has the same rows goes: the same write was tried again.
        """
        with self.writing():
            keys = self._keys(number)
            same = [note.number for note in self.refused() if set(note.keys) == set(keys)]
            self.remove(same)
            self.local._db.execute(
                "UPDATE outbox SET refused = ? WHERE parcel = ?", (reason or "no reason", number)
            )

    def take_back(self, number: int) -> int:
        """Put a refused parcel at the end of what waits, apply it again, return its number."""
        with self.writing():
            found = self._all(
                "SELECT changes FROM outbox WHERE parcel = ? AND refused != ''", (number,)
            )
            if not found:
                raise StorageError(f"Nothing was refused under the number {number}.")
            again = self.keep(self._changes(number, found[0][0]), late=True)
            self.remove([number])
        return again

    def reason(self, number: int) -> str:
        """Why a parcel was refused; empty if it was not."""
        found = self._all("SELECT refused FROM outbox WHERE parcel = ?", (number,))
        return str(found[0][0]) if found else ""

    # -- looking ---------------------------------------------------------------------------
    def is_late(self) -> bool:
        """Whether a write waits whose writer was told so."""
        return bool(self._all("SELECT 1 FROM outbox WHERE late AND refused = '' LIMIT 1"))

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._all("SELECT 1 FROM outbox WHERE refused = '' LIMIT 1")

    def count(self, *, late: bool = False) -> int:
        """Number of changes that wait; only those of late parcels, if asked."""
        found = self._all(
            "SELECT total(changes) FROM outbox WHERE refused = '' AND late >= ?", (late,)
        )
        return int(found[0][0])

    def holds(self, kind: Kind) -> set[str]:
        """Keys of a kind that wait."""
        found = self._all(
            "SELECT DISTINCT key FROM outbox_rows JOIN outbox USING (parcel)"
            " WHERE refused = '' AND kind = ?",
            (kind,),
        )
        return {row[0] for row in found}

    def waiting(self) -> list[ParcelNote]:
        """What waits, in order."""
        return self._notes("refused = ''")

    def refused(self) -> list[ParcelNote]:
        """What was refused, in order."""
        return self._notes("refused != ''")

    def _notes(self, condition: str) -> list[ParcelNote]:
        found = self._all(
            f"SELECT parcel, kept_at, refused FROM outbox WHERE {condition} ORDER BY parcel"
        )
        return [ParcelNote(number, at, self._keys(number), why) for number, at, why in found]

    def _keys(self, number: int) -> tuple[tuple[Kind, str], ...]:
        found = self._all(
            "SELECT kind, key FROM outbox_rows WHERE parcel = ? ORDER BY position", (number,)
        )
        return tuple((row[0], row[1]) for row in found)

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self.local._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error, "what waits to be sent cannot be read") from error

    # -- faults ----------------------------------------------------------------------------
    def _broken(self, error: Exception, what: str) -> StorageError:
        return StorageError(
            f"{self.local.database} cannot be used ({error}); {what}. Free some space, or bring the"
            " file back from a backup. Do not delete it: it holds changes not sent yet."
        )

    def _damaged(self, number: int, what: str) -> DamagedParcel:
        return DamagedParcel(
            number, f"A change that waited in {self.local.database} is damaged: {what}."
        )


def _packed(change: Change) -> tuple[tuple[Any, ...], int]:
    """A change as the columns of its row, and its size in bytes."""
    row, entry = change.row, rows.entry(change.row)
    body: bytes | None = None
    size = 0
    if isinstance(row.record, Audio):
        size = len(row.record.data)
    elif row.record is not None:
        body = rows.pack(row)
        size = len(body)
    columns = [row.kind, row.key, entry.digest, entry.updated_at, int(change.only_new), body]
    return (*columns, _checksum(columns)), size


def _checksum(columns: Sequence[Any]) -> bytes:
    return hashlib.blake2b(msgpack.packb(list(columns)), digest_size=16).digest()
