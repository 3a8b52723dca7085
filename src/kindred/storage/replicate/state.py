"""What two libraries agreed on when they were last synchronised, kept on this machine.

One SQLite file a pair of libraries. It is what tells a change from a difference: a row that one
side still has as it was agreed was changed, or deleted, by the other side alone. Without the file
all differences are conflicts; nothing is lost with it. A digest is kept as its bytes, empty for a
row that both have deleted.

The two sides of one kind are compared in a temporary table on disk: a million rows a side are no
matter of memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from kindred.errors import StorageError
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Entry, Kind

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS agreed (
    kind TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
-- Rows whose deletion was found to be a mistake by a synchronisation that has not ended yet.
CREATE TABLE IF NOT EXISTS spared (
    kind TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TEMP TABLE a (key TEXT PRIMARY KEY, digest BLOB, updated_at INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE b (key TEXT PRIMARY KEY, digest BLOB, updated_at INTEGER) WITHOUT ROWID;
"""
EntriesOf = Callable[[], dict[str, Entry]]
_CHUNK = 500  # keys per statement, below SQLite's limit on variables


class Difference(NamedTuple):
    """A row that two sides do not have alike, and the digest both had last, if any."""

    key: str
    a: Entry | None
    b: Entry | None
    agreed: str | None


class Drift(NamedTuple):
    """How far two sides are apart in one kind, in rows that are not deleted."""

    a: int
    b: int
    only_a: int
    only_b: int
    differ: int


class SyncState:
    """The agreement of two libraries.

    Parameters
    ----------
    path : Path, optional
        Its file; kept for the time being only when there is none.

    Raises
    ------
    StorageError
        When the file cannot be written. One that is damaged is begun anew.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = _open(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                assert path is not None
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                self._db = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"What was synchronised cannot be noted in {path}: {error}. Free some space there,"
                " or set KINDRED_HOME to a folder you may write to."
            ) from error

    @classmethod
    def between(cls, home: Path, a: LibraryStore, b: LibraryStore) -> SyncState:
        """The agreement of two libraries on this machine, whichever is named first.

        A library and a copy of its folder have one name, and what one copy agreed on says nothing
        of the other: for them nothing is kept.
        """
        first, second = sorted((a.library_id(), b.library_id()))
        return cls(None if first == second else home / "sync" / f"{first}-{second}.db")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    # -- agreement -------------------------------------------------------------------------
    def agreed(self, kind: Kind, keys: Sequence[str]) -> dict[str, str]:
        """Digests that both sides had of some rows; empty for a deleted one."""
        return {
            key: digest.hex()
            for part in _chunks(keys)
            for key, digest in self._db.execute(
                "SELECT key, digest FROM agreed WHERE kind = ?"
                f" AND key IN ({', '.join('?' * len(part))})",
                (kind, *part),
            )
        }

    def agree(self, kind: Kind, digests: Mapping[str, str]) -> None:
        """Note what both sides have now."""
        self._write(
            "INSERT OR REPLACE INTO agreed VALUES (?, ?, ?)",
            ((kind, key, bytes.fromhex(digest)) for key, digest in digests.items()),
        )

    def spared(self, kind: Kind) -> set[str]:
        """Keys of the rows that are to stay although one side has deleted them."""
        found = self._db.execute("SELECT key FROM spared WHERE kind = ?", (kind,))
        return {row[0] for row in found}

    def spare(self, kind: Kind, keys: Iterable[str]) -> None:
        """Note rows that are to stay, until the synchronisation has ended."""
        self._write("INSERT OR IGNORE INTO spared VALUES (?, ?)", ((kind, key) for key in keys))

    def finish(self) -> None:
        """The synchronisation has ended: no row needs to be spared any more."""
        self._write("DELETE FROM spared", [()])

    # -- comparison ------------------------------------------------------------------------
    def compare(self, kind: Kind, a: EntriesOf, b: EntriesOf) -> None:
        """Take in what two sides have of a kind, and note what is alike as agreed.

        The sides are functions so that the entries of one are gone before the other's come.
        """
        for side, entries in (("a", a), ("b", b)):
            self._write(f"DELETE FROM {side}", [()])
            self._write(
                f"INSERT INTO {side} VALUES (?, ?, ?)",
                ((key, bytes.fromhex(e.digest), e.updated_at) for key, e in entries().items()),
            )
        self._write(
            "INSERT OR REPLACE INTO agreed SELECT ?, a.key, a.digest FROM a JOIN b USING (key)"
            " LEFT JOIN agreed ON agreed.kind = ? AND agreed.key = a.key"
            " WHERE a.digest = b.digest AND agreed.digest IS NOT a.digest",
            [(kind, kind)],
        )

    def differences(self, kind: Kind) -> Iterator[Difference]:
        """What the two sides last compared do not have alike."""
        found = self._db.execute(
            "SELECT both.*, agreed.digest FROM ("
            " SELECT a.key AS key, a.digest, a.updated_at, b.digest, b.updated_at"
            " FROM a LEFT JOIN b USING (key) WHERE a.digest IS NOT b.digest"
            " UNION ALL SELECT b.key, NULL, NULL, b.digest, b.updated_at"
            " FROM b LEFT JOIN a USING (key) WHERE a.key IS NULL"
            ") AS both LEFT JOIN agreed ON agreed.kind = ? AND agreed.key = both.key",
            (kind,),
        )
        for key, a_digest, a_time, b_digest, b_time, agreed in found:
            yield Difference(
                key,
                None if a_digest is None else Entry(a_digest.hex(), a_time),
                None if b_digest is None else Entry(b_digest.hex(), b_time),
                None if agreed is None else agreed.hex(),
            )

    def deleted(self, side: str) -> set[str]:
        """Keys that one of the sides last compared has deleted."""
        return {row[0] for row in self._db.execute(f"SELECT key FROM {side} WHERE digest = x''")}

    def drift(self) -> Drift:
        """How far the sides last compared are apart."""
        other_has = "EXISTS (SELECT 1 FROM {1} WHERE {1}.key = {0}.key AND {1}.digest != x'')"
        alone = "SELECT count(*) FROM {0} WHERE digest != x'' AND NOT " + other_has
        counts = [
            "SELECT count(*) FROM a WHERE digest != x''",
            "SELECT count(*) FROM b WHERE digest != x''",
            alone.format("a", "b"),
            alone.format("b", "a"),
            "SELECT count(*) FROM a JOIN b USING (key)"
            " WHERE a.digest != x'' AND b.digest != x'' AND a.digest != b.digest",
        ]
        return Drift(*(self._db.execute(count).fetchone()[0] for count in counts))

    def _write(self, statement: str, values: Iterable[tuple]) -> None:
        with self._db:
            self._db.executemany(statement, values)


def _open(path: Path | None) -> sqlite3.Connection:
    # An empty name is a database of its own on disk, which goes with the connection.
    connection = sqlite3.connect(path or "", timeout=60)
    try:
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
