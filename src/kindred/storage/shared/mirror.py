"""This machine's copy of a remote library: what is read while the library does not answer.

Tracks, documents, covers and vectors, row for row; of kept audio only the list. The copy is
brought up to date by comparing digests, so that a refresh that was cut short loses nothing and the
next one does the rest. What waits in the outbox is left as it is here, and so is what was written
here while a refresh was reading.

Vectors are left out once the copy has reached its bound; everything else is always there. Where the
library turns out to be another one, or an older state of itself, the copy is saved under another
name before it follows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack

from kindred.errors import StorageError
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.records import Entry, Kind
from kindred.storage.shared.outbox import Outbox

#: Called with rows done, rows to do, and their kind.
Progress = Callable[[int, int, str], None]

_COPIED: tuple[Kind, ...] = ("tracks", "documents", "covers", "embeddings")
#: Rows that are read and written at a time.
_CHUNK = 200
#: A refresh that nobody asked for comes at least this many seconds after the one before, and this
#: many times as long as that one took: it never has more than a twentieth of the time.
_PAUSE, _SHARE = 5.0, 20.0


class Mirror:
    """The copy in ``local`` of what is in ``remote``.

    Parameters
    ----------
    limit : int
        Bytes that its database may have before vectors are left out.
    """

    def __init__(
        self, remote: LibraryStore, local: LocalBackend, outbox: Outbox, *, limit: int
    ) -> None:
        self.remote, self.local, self.outbox, self.limit = remote, local, outbox, limit
        schema = "CREATE TABLE IF NOT EXISTS mirror (name TEXT PRIMARY KEY, value BLOB NOT NULL)"
        outbox.make_table("mirror", [schema])

    # -- what is known of it ---------------------------------------------------------------
    @property
    def version(self) -> int:
        """The library's version of which this is a copy; -1 when some row may be another."""
        return int(self._state("version", -1))

    @property
    def made_at(self) -> float:
        """When the copy was last made whole, in seconds since 1970; 0: never."""
        return float(self._state("made_at", 0.0))

    @property
    def library_id(self) -> str:
        """The name of the library; empty until it was asked."""
        return str(self._state("library_id", ""))

    @property
    def left_out(self) -> int:
        """Number of tracks' vectors that did not fit."""
        return int(self._state("left_out", 0))

    def kept_audio(self) -> dict[str, Entry]:
        """What is known of the audio that the library keeps."""
        return {key: Entry(*entry) for key, entry in self._state("audio", {}).items()}

    def when(self) -> str:
        """When the copy was made, for people: ``14:03``, or with the day if that was another."""
        then = datetime.fromtimestamp(self.made_at)
        today = then.date() == datetime.now().date()
        return then.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")

    def rest(self) -> float:
        """Seconds until a refresh that nobody asked for may come; 0 when it may now."""
        took = float(self._state("took", 0.0))
        return max(0.0, self.made_at + took + max(_PAUSE, _SHARE * took) - time.time())

    def spoil(self) -> None:
        """Note that some row may be another than the library's."""
        self._note(version=-1, spoilt=self._state("spoilt", 0) + 1)

    def follow(self, library_id: str) -> str:
        """Note whose copy this is.

        Returns
        -------
        str
            Where the copy of the library before was saved, if it was that of another; else empty.
        """
        known, saved = self.library_id, ""
        if known not in ("", library_id):
            saved = str(self._save(known))
        if known != library_id:
            self._note(library_id=library_id, version=-1)
        return saved

    def _save(self, name: str) -> Path:
        path = self.local.database.with_suffix(f".{name[:8]}-{rows.now()}.db")
        try:
            self.local._db.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            raise StorageError(
                f"The library at {self.remote.place} is another one than before, and this machine's"
                f" copy of that cannot be saved to {path}: {error}. Free some space there."
            ) from error
        return path

    def _state(self, name: str, default: Any) -> Any:
        found = self.local._db.execute(
            "SELECT value FROM mirror WHERE name = ?", (name,)
        ).fetchone()
        return msgpack.unpackb(found[0]) if found else default

    def _note(self, **state: Any) -> None:
        with self.outbox.writing():
            self.local._db.executemany(
                "INSERT OR REPLACE INTO mirror VALUES (?, ?)",
                [(name, msgpack.packb(value)) for name, value in state.items()],
            )

    # -- bringing it up to date ------------------------------------------------------------
    def refresh(
        self,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Bring the copy up to date and return whether it is whole now.

        It is not when ``cancelled`` said so, or when another process is at it.

        Raises
        ------
        StorageUnavailable
            When the library stops answering; what was copied stays.
        """
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.local.database.with_suffix(".refresh.lock"), timeout=0):
                return self._refresh(progress, cancelled)
        except Timeout:
            return False

    def _refresh(self, progress: Progress | None, cancelled: Callable[[], bool]) -> bool:
        start, spoilt = time.time(), self._state("spoilt", 0)
        version = self.remote.version()
        if version < self.version:  # brought back from a backup
            self._save(self.library_id)
        # Documents do not move the version.
        kinds = _COPIED if version != self.version else ("documents",)
        plans = [_Plan(kind, self) for kind in kinds]
        done, total = 0, sum(len(plan.keys) for plan in plans)
        left_out = 0
        for plan in plans:
            for keys in _chunks(plan.keys):
                if cancelled():
                    return False
                left_out += self._take(plan, keys)
                done += len(keys)
                if progress:
                    progress(done, total, plan.kind)
        audio = {
            key: (entry.digest, entry.updated_at)
            for key, entry in self.remote.entries("audio").items()
            if not entry.deleted
        }
        state: dict[str, Any] = {"made_at": start, "took": time.time() - start, "audio": audio}
        if "embeddings" in kinds:
            state["left_out"] = left_out
        with self.outbox.writing():
            if self._state("spoilt", 0) == spoilt:
                state["version"] = version
            self._note(**state)
        return True

    def restore(self, wanted: Iterable[tuple[Kind, str]]) -> None:
        """Make some rows what they are in the library, unless they wait to be sent.

        Raises
        ------
        StorageUnavailable
            When the library does not answer; a later refresh does it then.
        """
        by_kind: dict[Kind, list[str]] = {}
        for kind, key in wanted:
            if kind in _COPIED:
                by_kind.setdefault(kind, []).append(key)
        for kind, keys in by_kind.items():
            plan = _Plan(kind, self, keys)
            for part in _chunks(plan.keys):
                self._take(plan, part)

    def _take(self, plan: _Plan, keys: Sequence[str]) -> int:
        """Copy some rows and return how many vectors were left out."""
        kind = plan.kind
        if kind == "embeddings" and self._size() >= self.limit:
            fit = [key for key in keys if key in plan.before or key not in plan.there]
        else:
            fit = list(keys)
        there = [key for key in fit if key in plan.there]
        found = {row.key: row for row in self.remote.read_rows(kind, there)}
        with self.local.batch():
            now, waiting = self.local.entries(kind, fit), self.outbox.holds(kind)
            changes = [
                found.get(key) or rows.tombstone(kind, key, plan.time_of(key))
                for key in fit
                if key not in waiting
                and now.get(key) == plan.before.get(key)  # else it was written meanwhile
                and (key in found or key in now)
            ]
            self.local.write_rows(changes)
        return len(keys) - len(fit)

    def _size(self) -> int:
        """Bytes of the copy's database that are in use."""
        pages, free, size = (
            self.local._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


class _Plan:
    """Which rows of a kind differ between the copy and the library.

    The copy is looked at first: what is written in between is then in the library's list or not
    in the copy's, and never taken for something that the library has deleted.
    """

    def __init__(self, kind: Kind, mirror: Mirror, keys: Sequence[str] | None = None) -> None:
        self.kind = kind
        self.before: Mapping[str, Entry] = mirror.local.entries(kind, keys)
        waiting = mirror.outbox.holds(kind)
        self._theirs = mirror.remote.entries(kind, keys)
        self.there = {key for key, entry in self._theirs.items() if not entry.deleted}
        none = Entry("", 0)
        self.keys = [
            key
            for key in self.before | self._theirs
            if key not in waiting
            and self.before.get(key, none).digest != self._theirs.get(key, none).digest
        ]

    def time_of(self, key: str) -> int:
        """When the library deleted a row; now, if it does not say."""
        entry = self._theirs.get(key)
        return entry.updated_at if entry is not None and entry.deleted else rows.now()


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
