"""The library in Astra DB, or behind a Data API of one's own, as a storage port.

Nothing is rolled back here, so the order of requests keeps what is stored true at every moment:
parts before the row that counts them, copies of a track's columns before the track, everything
before the library's version. What was cut short is finished when the same rows are written again.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError
from kindred.storage import rows
from kindred.storage.astra import codecs, search, tables
from kindred.storage.astra.client import DataApi
from kindred.storage.astra.ledger import Ledger, vectors_in
from kindred.storage.astra.reads import Reads
from kindred.storage.astra.tables import METADATA, SHARDS, SONGS
from kindred.storage.astra.writes import Writes
from kindred.storage.backend import LibraryStore, check_query, check_vectors
from kindred.storage.records import Document as LibraryDocument
from kindred.storage.records import (
    Entry,
    Hit,
    Kind,
    Row,
    Track,
    TrackFilter,
    TrackVectors,
)

_log = logging.getLogger(__name__)
#: Parts read in one request.
_PARTS = 8


class AstraStore(LibraryStore):
    """A library in one keyspace, for any number of processes and machines.

    Nothing is sent before the first call. Each request is tried again where that may help, and
    every write may be sent twice. There are no transactions: :meth:`batch` groups nothing.

    Parameters
    ----------
    endpoint, keyspace : str
        Where it is; :func:`~kindred.storage.astra.client.endpoint_of` reads it from the settings.
    token : str
        Of Astra DB.
    username, password : str
        Of a Data API of one's own, in place of a token.
    timeout : float
        Seconds after which a request counts as not answered and no retry begins.
    store_audio : bool
        Whether audio is kept; otherwise rows of it are passed over.
    sleep : callable
        Waits between attempts.

    Raises
    ------
    ConfigError
        When the endpoint is no URL, or there is neither token nor user.
    """

    name = "astra"

    def __init__(
        self,
        endpoint: str,
        keyspace: str,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        timeout: float = 10.0,
        store_audio: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store_audio = store_audio
        self._api = DataApi(
            endpoint,
            keyspace,
            token=token,
            username=username,
            password=password,
            timeout=timeout,
            sleep=sleep,
        )
        self._ledger = Ledger(self._api)
        self._reads = Reads(self._api, self._ledger)
        self._writes = Writes(self._api, self._ledger)
        self._writing = threading.RLock()
        # Rows may have been written without the version by a process that was killed.
        self._unsettled = True
        self._library_id = ""
        self._counts: dict[str, tuple[int, int]] = {}

    @property
    def place(self) -> str:
        return self._api.place

    # -- life ------------------------------------------------------------------------------
    def init(self, dims: Iterable[int] = ()) -> None:
        """Make what is missing of the tables and indexes.

        Parameters
        ----------
        dims : iterable of int
            Lengths of vectors to make tables for; others are made when such vectors first come.
        """
        for table in (METADATA, SONGS):
            tables.make(self._api, table)
        known = {space.dims for space in self._ledger.spaces().values()}
        for length in sorted(known | set(dims)):
            tables.make(self._api, tables.embeddings_table(length))
        if not self._library("library_id"):
            self._set_library("library_id", uuid.uuid4().hex)

    def check_schema(self) -> None:
        tables.check(self._api)
        self.library_id()

    def close(self) -> None:
        self._api.close()

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def version(self) -> int:
        return int(self._library("version") or 0)

    def library_id(self) -> str:
        self._library_id = self._library_id or self._library("library_id")
        if not self._library_id:
            raise StorageError(f"{self.place} has no library yet. Run `kindred storage init`.")
        return self._library_id

    def _library(self, key: str) -> str:
        where = {"collection": "library", "key": key}
        return "".join(doc["data"].decode() for doc in self._api.find(METADATA, where, ("data",)))

    def _set_library(self, key: str, value: str) -> None:
        self._api.insert(METADATA, [{"collection": "library", "key": key, "data": value.encode()}])

    # -- rows ------------------------------------------------------------------------------
    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        return self._ledger.entries(kind, keys)

    def write_rows(self, changes: Sequence[Row]) -> None:
        check_vectors(changes)
        by_kind: dict[Kind, list[Row]] = {}
        for row in changes:
            if self.store_audio or row.kind != "audio" or row.record is None:
                by_kind.setdefault(row.kind, []).append(row)
        if not by_kind:
            return
        with self._writing:
            for kind, of_kind in by_kind.items():
                if kind == "embeddings":
                    records = (row.record for row in of_kind)
                    self._ledger.add_spaces(
                        record.space for record in records if isinstance(record, TrackVectors)
                    )
                if new := self._writes.changes(kind, of_kind):
                    self._unsettled = True
                    self._writes.write(kind, new)
            if self._unsettled:
                self._set_library("version", str(max(rows.now(), self.version() + 1)))
                self._unsettled = False

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        return self._reads.read(kind, keys)

    # -- tracks ----------------------------------------------------------------------------
    def find_track_by_hash(self, content_hash: str) -> Track | None:
        if not content_hash:
            return None
        found = self._api.find_all(SONGS, [{"content_hash": content_hash}], codecs.TRACK_COLUMNS)
        tracks = [codecs.track_of(document) for document in found if document["digest"]]
        return min(tracks, key=lambda track: track.track_id, default=None)

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        shards = ({"shard": number} for number in range(SHARDS))
        found = self._api.find_all(SONGS, shards, codecs.TRACK_COLUMNS)
        tracks = (codecs.track_of(document) for document in found if document["digest"])
        return sorted(filter(where.accepts, tracks), key=lambda track: track.track_id)

    def count_tracks(self) -> int:
        return self._counted(
            "", lambda: sum(not entry.deleted for entry in self.entries("tracks").values())
        )

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        columns = ("song_id", "thumbnail", "cover_digest")
        return {
            document["song_id"]: document["thumbnail"] or b""
            for document in self._api.find_in(SONGS, "song_id", track_ids, columns)
            if document["cover_digest"]
        }

    def _counted(self, name: str, count: Callable[[], int]) -> int:
        """A number that holds as long as the library's version does."""
        version = self.version()
        if self._counts.get(name, (-1, 0))[0] != version:
            self._counts[name] = (version, count())
        return self._counts[name][1]

    # -- embeddings ------------------------------------------------------------------------
    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        found: dict[str, bytes] = {}
        if self._knows(space):
            source = vectors_in(space)
            columns = ("song_id", "pooled")
            for document in self._api.find_in(
                source.table, source.column, track_ids, columns, source.key
            ):
                if document["pooled"]:
                    found[document["song_id"]] = document["pooled"]
        ids = [track_id for track_id in track_ids if track_id in found]
        data = b"".join(found[track_id] for track_id in ids)
        return ids, np.frombuffer(data, "<f4").reshape(len(ids), space.dims)

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        for row in self.read_rows("embeddings", [f"{space.space_id}/{track_id}"]):
            assert isinstance(row.record, TrackVectors)
            return row.record.embedding.segments
        return np.zeros((0, space.dims), np.float32)

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        if not self._knows(space):
            return {}
        source = vectors_in(space)
        found = self._api.find_all(
            source.table, source.listing, ("song_id", "content_hash", "digest")
        )
        return {
            document["song_id"]: document["content_hash"] or ""
            for document in found
            if document["digest"]
        }

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        counted = [
            (space, self._counted(space.space_id, partial(self._count_vectors, space)))
            for space in list(self._ledger.spaces().values())
        ]
        return [(space, number) for space, number in counted if number]

    def _count_vectors(self, space: EmbeddingSpace) -> int:
        return len(self.embedded_hashes(space))

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
        if k < 1 or not self._knows(space):
            return [], search.INDEX
        dims = [known.dims for known in self._ledger.spaces([space.space_id]).values()]
        hits = search.nearest(
            self._api,
            space,
            query,
            k=k,
            where=where,
            exclude=frozenset(exclude),
            alone=dims.count(space.dims) == 1,
        )
        return hits, search.INDEX

    def _knows(self, space: EmbeddingSpace) -> bool:
        return space.space_id in self._ledger.spaces([space.space_id])

    # -- documents -------------------------------------------------------------------------
    def list_documents(self, collection: str) -> list[LibraryDocument]:
        records = (row.record for row in self._reads.documents(collection))
        return [record for record in records if isinstance(record, LibraryDocument)]
