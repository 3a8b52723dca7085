"""Reading a remote library from this machine: from the library, else from the machine's copy.

While the library does not answer, or while a write waits that it has not received, the copy answers
(:mod:`kindred.storage.shared.mirror`). So one's own writes are always seen. Tracks come with the
paths of their files on this machine, or with the place where their kept audio will lie.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageUnavailable
from kindred.storage import rows
from kindred.storage.backend import LibraryStore, check_query
from kindred.storage.local import LocalBackend
from kindred.storage.records import Document, Entry, Hit, Kind, Row, Track, TrackFilter
from kindred.storage.retry import Breaker, or_away
from kindred.storage.shared.cache import Cache
from kindred.storage.shared.mirror import Mirror
from kindred.storage.shared.outbox import Change, Outbox
from kindred.storage.shared.reading import Reading, by_content

T = TypeVar("T")
_TITLES = {"postgres": "Postgres", "astra": "Astra DB"}


class _ThisThread(threading.local):
    """The changes of the batch that a thread has open."""

    batch: list[Change] | None = None


class SharedReads(LibraryStore):
    """The reading half of :class:`~kindred.storage.shared.SharedBackend`."""

    def __init__(
        self,
        remote: LibraryStore,
        local: LocalBackend,
        *,
        cache: Cache,
        breaker: Breaker,
        background: bool,
    ) -> None:
        self.remote, self.local, self.cache = remote, local, cache
        self.name = remote.name
        self._breaker, self._background = breaker, background
        self._outbox = Outbox(local)
        self._mirror = Mirror(remote, local, self._outbox, limit=cache.limit)
        self._reading = Reading(remote, cache)
        self._mine = _ThisThread()
        self._seen = 0
        self._rewound = -1

    @property
    def place(self) -> str:
        return self.remote.place

    @property
    def _title(self) -> str:
        return f"{_TITLES.get(self.name, self.name)} ({self.place})"

    def _catch_up(self) -> None:
        """Called when something waits that others were told of."""

    def _gone(self) -> None:
        """Called when the library did not answer."""

    def _outdated(self) -> None:
        """Called when the copy is not of the library's version."""

    def check_schema(self) -> None:
        self._breaker.call(self.remote.check_schema)

    def size(self) -> int | None:
        return self._read(self.remote.size, lambda: None)

    def _read(self, ask: Callable[[], T], otherwise: Callable[[], T]) -> T:
        """Ask the library, or else this machine's copy."""

        def usable() -> T:
            return or_away(ask) if self._mirror.made_at else ask()

        if self._outbox.is_late():
            self._catch_up()
        if not (self._outbox.is_late() and self._mirror.made_at):
            try:
                return self._breaker.call(usable, probe=not self._background)
            except StorageUnavailable:
                self._reading.forget()
                self._gone()
        return otherwise()

    def version(self) -> int:
        """The library's version and this machine's together, as paths belong to a track too."""
        self._seen = self._read(
            self._library_version, lambda: max(self._seen, self._mirror.version, 0)
        )
        return self._seen + self.local.version()

    def _library_version(self) -> int:
        version, copied = self._reading.version(), self._mirror.version
        if version < copied and version != self._rewound:  # brought back from a backup
            self._rewound = version
            self.cache.clear()
        if version != copied:
            self._outdated()
        return version

    def library_id(self) -> str:
        return self._mirror.library_id or self._breaker.call(self.remote.library_id)

    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        found = self._read(
            lambda: self.remote.entries(kind, keys), lambda: self._entries_here(kind, keys)
        )
        wanted = None if keys is None else set(keys)
        batched = (row for row in self._batched(kind) if wanted is None or row.key in wanted)
        return found | {row.key: rows.entry(row) for row in batched}

    def _entries_here(self, kind: Kind, keys: Sequence[str] | None) -> dict[str, Entry]:
        found = self.local.entries(kind, keys)
        if kind == "audio":
            kept = self._mirror.kept_audio()
            found = {
                key: kept[key] for key in (kept if keys is None else keys) if key in kept
            } | found
        return found

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        batch = {row.key: row for row in self._batched(kind)}
        others = [key for key in keys if key not in batch]
        found = self._read(
            lambda: self._reading.read_rows(kind, others),
            lambda: self.local.read_rows(kind, others),
        )
        known = {row.key: row for row in found} | batch
        return [known[key] for key in keys if key in known and known[key].record is not None]

    def _batched(self, kind: Kind) -> list[Row]:
        """Rows of the batch that this thread has open."""
        return [change.row for change in self._mine.batch or () if change.row.kind == kind]

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        return self._with_paths(super().get_tracks(track_ids))

    def find_track_by_hash(self, content_hash: str) -> Track | None:
        found = self._read(
            lambda: self.remote.find_track_by_hash(content_hash),
            lambda: self.local.find_track_by_hash(content_hash),
        )
        return self._with_paths([found])[0] if found else None

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        return self._with_paths(
            self._read(
                lambda: self._reading.list_tracks(where), lambda: self.local.list_tracks(where)
            )
        )

    def _kept_audio(self) -> dict[str, str]:
        """Keys of the audio that the library keeps, by content hash."""
        return self._read(
            self._reading.kept_audio, lambda: by_content(self._entries_here("audio", None))
        )

    def _with_paths(self, tracks: Sequence[Track]) -> list[Track]:
        """Tracks with their files on this machine, or where their kept audio will lie."""
        here = self.local.paths_of([track.track_id for track in tracks])
        kept = self._kept_audio()
        found = []
        for track in tracks:
            paths = here.get(track.track_id, ())
            if not paths and track.content_hash in kept:
                paths = (str(self.cache.path(kept[track.content_hash])),)
            found.append(track if paths == track.paths else replace(track, paths=paths))
        return found

    def count_tracks(self) -> int:
        return self._read(self._reading.count_tracks, self.local.count_tracks)

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        return self._read(
            lambda: self._reading.get_thumbnails(track_ids),
            lambda: self.local.get_thumbnails(track_ids),
        )

    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        return self._read(
            lambda: self._reading.get_embeddings(space, track_ids),
            lambda: self.local.get_embeddings(space, track_ids),
        )

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        return self._read(
            lambda: self._reading.get_segments(space, track_id),
            lambda: self.local.get_segments(space, track_id),
        )

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        return self._read(
            lambda: self._reading.embedded_hashes(space), lambda: self.local.embedded_hashes(space)
        )

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        return self._read(self._reading.spaces, self.local.spaces)

    def search_embeddings(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        *,
        k: int,
        where: TrackFilter = TrackFilter(),
        exclude: Sequence[str] = (),
    ) -> tuple[list[Hit], str]:
        check_query(space, query)

        def here() -> tuple[list[Hit], str]:
            hits, index = self.local.search_embeddings(
                space, query, k=k, where=where, exclude=exclude
            )
            return hits, f"{index}, on {self._copy()}"

        return self._read(
            lambda: self._reading.search(space, query, k=k, where=where, exclude=exclude), here
        )

    def list_documents(self, collection: str) -> list[Document]:
        return self._read(
            lambda: self.remote.list_documents(collection),
            lambda: self.local.list_documents(collection),
        )

    def _copy(self) -> str:
        """This machine's copy, in words."""
        if not self._mirror.made_at:
            return "what was added on this machine, which has no copy of the library yet"
        left_out = self._mirror.left_out
        without = f", without {left_out:,} vectors for want of room" if left_out else ""
        return f"this machine's copy of {self._mirror.when()}{without}"
