"""A library that fails as it is told: a proxy around a real store.

Calls of a transaction count as one: it fails when it begins, before it commits, or after.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError, StorageUnavailable
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Document, Entry, Hit, Kind, Row, Track, TrackFilter

T = TypeVar("T")


class FaultyStore(LibraryStore):
    """Passes calls to ``inner`` unless one of its faults is due.

    Attributes
    ----------
    down : str
        Why every call fails now; empty while it works. ``asleep`` is told with it.
    drops_before, drops_after : int
        That many writes fail without having been applied, or after it.
    refused : set of str
        Keys of rows that the store does not take.
    chance : float
        Share of calls that fail, half of the writes among them after they were applied.
    gate : threading.Event, optional
        Writes wait for it.
    calls : list of str
        Names of the methods called, in order.
    """

    def __init__(self, inner: LibraryStore, *, seed: int = 0) -> None:
        self.inner = inner
        self.name = "faulty"
        self.store_audio = True
        self.down, self.asleep = "", False
        self.drops_before = self.drops_after = 0
        self.refused: set[str] = set()
        self.chance = 0.0
        self.gate: threading.Event | None = None
        self.arrived = threading.Event()
        self.calls: list[str] = []
        self.written: list[list[tuple[str, str]]] = []
        self._random = random.Random(seed)
        self._depth = threading.local()

    @property
    def place(self) -> str:
        return "somewhere"

    def go_away(self, why: str = "no route", *, asleep: bool = False) -> None:
        """Fail from now on."""
        self.down, self.asleep = why, asleep

    def come_back(self) -> None:
        """Work from now on."""
        self.down = ""
        self.drops_before = self.drops_after = 0
        self.chance = 0.0

    def _check(self) -> None:
        if self.down:
            error = StorageUnavailable(self.down)
            error.asleep = self.asleep  # type: ignore[attr-defined]
            raise error

    def _ask(self, name: str, call: Callable[[], T]) -> T:
        self.calls.append(name)
        self._check()
        if self._random.random() < self.chance:
            raise StorageUnavailable("dropped")
        return call()

    # -- writing ---------------------------------------------------------------------------
    @contextmanager
    def batch(self) -> Iterator[None]:
        if getattr(self._depth, "value", 0):
            yield
            return
        self.calls.append("batch")
        self._check()
        after = False
        self._depth.value = 1
        try:
            with self.inner.batch():
                yield
                self.arrived.set()
                if self.gate is not None:
                    assert self.gate.wait(60)
                    self._check()
                if self.drops_before > 0:
                    self.drops_before -= 1
                    raise StorageUnavailable("dropped before it was applied")
                if self._random.random() < self.chance:
                    after = self._random.random() < 0.5
                    if not after:
                        raise StorageUnavailable("dropped before it was applied")
        finally:
            self._depth.value = 0
        if self.drops_after > 0:
            self.drops_after -= 1
            after = True
        if after:
            raise StorageUnavailable("the answer was lost")

    def write_rows(self, changes: Sequence[Row]) -> None:
        self.calls.append("write_rows")
        with self.batch():
            for row in changes:
                if row.key in self.refused:
                    raise StorageError(f"{row.kind} {row.key} is refused.")
            self.inner.write_rows(changes)
        self.written.append([(row.kind, row.key) for row in changes])

    # -- reading ---------------------------------------------------------------------------
    def close(self) -> None:
        self.inner.close()

    def version(self) -> int:
        return self._ask("version", self.inner.version)

    def library_id(self) -> str:
        return self._ask("library_id", self.inner.library_id)

    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        return self._ask("entries", lambda: self.inner.entries(kind, keys))

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        return self._ask("read_rows", lambda: self.inner.read_rows(kind, keys))

    def find_track_by_hash(self, content_hash: str) -> Track | None:
        return self._ask("find", lambda: self.inner.find_track_by_hash(content_hash))

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        return self._ask("list_tracks", lambda: self.inner.list_tracks(where))

    def count_tracks(self) -> int:
        return self._ask("count_tracks", self.inner.count_tracks)

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        return self._ask("get_thumbnails", lambda: self.inner.get_thumbnails(track_ids))

    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        return self._ask("get_embeddings", lambda: self.inner.get_embeddings(space, track_ids))

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        return self._ask("get_segments", lambda: self.inner.get_segments(space, track_id))

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        return self._ask("embedded_hashes", lambda: self.inner.embedded_hashes(space))

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        return self._ask("spaces", self.inner.spaces)

    def search_embeddings(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        **options: Any,
    ) -> tuple[list[Hit], str]:
        return self._ask("search", lambda: self.inner.search_embeddings(space, query, **options))

    def list_documents(self, collection: str) -> list[Document]:
        return self._ask("list_documents", lambda: self.inner.list_documents(collection))
