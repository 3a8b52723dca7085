"""Reads of a remote library, each made once: by library version, or by what a row contains.

==============================  ==================================  ==============================
what                            is kept                             and asked again
==============================  ==================================  ==============================
version, documents              in memory                           after a second, or a write here
counts, spaces, hashes, digests in memory                           when the version moves
all tracks, searches            in the cache                        when the version moves
vectors, small covers           in the cache, under their digest    when the row changes
==============================  ==================================  ==============================

Everything raises :class:`~kindred.errors.StorageUnavailable` when the library is needed and away.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Entry, Hit, Kind, Row, Track, TrackFilter
from kindred.storage.shared.cache import Cache

T = TypeVar("T")
#: Seconds for which what may change at any time is remembered.
MOMENT = 1.0


class Reading:
    """A store, read through a cache. Safe between threads; no lock is held while it is asked."""

    def __init__(
        self, remote: LibraryStore, cache: Cache, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.remote, self.cache = remote, cache
        self._clock = clock
        self._lock = threading.Lock()
        self._library = ""
        self._turn = 0  # of writes from here
        self._moments: dict[Any, tuple[float, Any]] = {}
        self._memo: tuple[int, dict[Any, Any]] = (-1, {})

    def forget(self) -> None:
        """Ask anew: something was written, or the store went away."""
        with self._lock:
            self._turn += 1
            self._moments.clear()

    # -- what is remembered ----------------------------------------------------------------
    def _for_a_moment(self, key: Any, ask: Callable[[], T]) -> T:
        with self._lock:
            turn, now = self._turn, self._clock()
            found = self._moments.get(key)
        if found is not None and now - found[0] < MOMENT:
            value: T = found[1]
            return value
        value = ask()
        with self._lock:
            if turn == self._turn:  # else what was answered may be older than the write
                if len(self._moments) > 1_000:
                    self._moments.clear()
                self._moments[key] = (now, value)
        return value

    def _of_version(self) -> dict[Any, Any]:
        """What is remembered of the library as it is now."""
        version = self.version()
        with self._lock:
            if self._memo[0] != version:
                self._memo = (version, {})
            return self._memo[1]

    def _once(self, key: Any, ask: Callable[[], T]) -> T:
        memo = self._of_version()
        if key not in memo:
            memo[key] = ask()
        value: T = memo[key]
        return value

    def _name(self, *parts: str) -> str:
        self._library = self._library or self.remote.library_id()
        return "/".join((self._library, *parts))

    def _kept(
        self,
        what: Sequence[Any],
        ask: Callable[[], T],
        *,
        pack: Callable[[T], Any],
        unpack: Callable[[Any], T],
    ) -> T:
        """An answer of this version of the library, from the cache if it is there."""
        version = self.version()
        name = self._name(str(version), hashlib.sha256(msgpack.packb(what)).hexdigest())
        if (found := self.cache.get(name)) is not None:
            return unpack(msgpack.unpackb(found))
        value = ask()
        self.cache.put(name, msgpack.packb(pack(value)))
        return value

    def _by_digest(
        self,
        part: str,
        kind: Kind,
        keys: Sequence[str],
        ask: Callable[[list[str]], Mapping[str, bytes]],
    ) -> dict[str, bytes]:
        """A part of some rows, from the cache where their content is known."""
        digests = self._digests(kind, keys)
        names = {key: self._name(part, digests[key]) for key in keys if digests[key]}
        cached = self.cache.get_many(names.values())
        found = {key: cached[name] for key, name in names.items() if name in cached}
        missing = [key for key in names if key not in found]
        if missing:
            fresh = ask(missing)
            self.cache.put_many({names[key]: value for key, value in fresh.items()})
            found.update(fresh)
        return found

    def _digests(self, kind: Kind, keys: Sequence[str]) -> dict[str, str]:
        """Digests of rows; empty for those that are not there."""
        known: dict[str, str] = self._of_version().setdefault(("digests", kind), {})
        missing = [key for key in keys if key not in known]
        if missing:
            entries = self.remote.entries(kind, missing)
            for key in missing:
                known[key] = entries[key].digest if key in entries else ""
        return {key: known[key] for key in keys}

    # -- the library -----------------------------------------------------------------------
    def version(self) -> int:
        """The library's version, of the last second."""
        return self._for_a_moment("version", self.remote.version)

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        """Rows; documents as of the last second, as pages ask for the same settings again."""
        if kind != "documents":
            return self.remote.read_rows(kind, keys)
        return self._for_a_moment(tuple(keys), lambda: self.remote.read_rows(kind, keys))

    def count_tracks(self) -> int:
        """Number of tracks."""
        return self._once("count", self.remote.count_tracks)

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        """Spaces and how many tracks each has."""
        return list(self._once("spaces", self.remote.spaces))

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        """Content hashes by track of what is embedded."""
        return dict(
            self._once(
                ("hashes", space.space_id),
                lambda: self._kept(
                    ["hashes", space.space_id],
                    lambda: self.remote.embedded_hashes(space),
                    pack=lambda hashes: hashes,
                    unpack=lambda found: found,
                ),
            )
        )

    def kept_audio(self) -> dict[str, str]:
        """Keys of kept audio, by content hash."""
        return self._once("audio", lambda: by_content(self.remote.entries("audio")))

    def list_tracks(self, where: TrackFilter) -> list[Track]:
        """Tracks that pass a filter; of filters there are too many to keep every answer."""
        if not where.is_empty:
            return self.remote.list_tracks(where)

        def unpack(found: list[bytes]) -> list[Track]:
            records = (rows.unpack(data).record for data in found)
            return [record for record in records if isinstance(record, Track)]

        return self._kept(
            ["tracks"],
            self.remote.list_tracks,
            pack=lambda tracks: [rows.pack(rows.make(track, 0)) for track in tracks],
            unpack=unpack,
        )

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        """Small covers."""
        return self._by_digest("small", "covers", track_ids, self.remote.get_thumbnails)

    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Track vectors."""
        start = f"{space.space_id}/"

        def ask(keys: list[str]) -> dict[str, bytes]:
            ids, matrix = self.remote.get_embeddings(space, [key[len(start) :] for key in keys])
            return {
                start + i: row.astype("<f4").tobytes() for i, row in zip(ids, matrix, strict=True)
            }

        keys = [start + track_id for track_id in track_ids]
        found = self._by_digest("vector", "embeddings", keys, ask)
        ids = [track_id for track_id in track_ids if start + track_id in found]
        data = b"".join(found[start + track_id] for track_id in ids)
        return ids, np.frombuffer(data, "<f4").reshape(len(ids), space.dims)

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        """A track's window vectors."""
        key = f"{space.space_id}/{track_id}"

        def ask(_: list[str]) -> dict[str, bytes]:
            return {key: self.remote.get_segments(space, track_id).astype("<f4").tobytes()}

        found = self._by_digest("segments", "embeddings", [key], ask)
        return np.frombuffer(found.get(key, b""), "<f4").reshape(-1, space.dims)

    def search(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        *,
        k: int,
        where: TrackFilter,
        exclude: Sequence[str],
    ) -> tuple[list[Hit], str]:
        """Nearest tracks and the index that found them."""
        vector = np.ascontiguousarray(query, "<f4").tobytes()
        return self._kept(
            ["search", space.space_id, vector, k, repr(where), list(exclude)],
            lambda: self.remote.search_embeddings(space, query, k=k, where=where, exclude=exclude),
            pack=lambda answer: [[(hit.track_id, hit.similarity) for hit in answer[0]], answer[1]],
            unpack=lambda found: ([Hit(*hit) for hit in found[0]], found[1]),
        )


def by_content(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Keys of kept audio, by content hash; only such as are names of files."""
    return {
        key.partition(".")[0]: key
        for key, entry in entries.items()
        if not entry.deleted and key == os.path.basename(key) and not key.startswith(".")
    }
