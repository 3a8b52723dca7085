"""The library in Postgres with pgvector, behind the storage port."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.backend import LibraryStore, check_query, check_vectors
from kindred.storage.postgres import migrate, tables
from kindred.storage.postgres.connections import Connection, Connections
from kindred.storage.postgres.graph import DIMS, Graphs, index_name
from kindred.storage.postgres.search import FEW, Search, condition, hnsw_name, iterates
from kindred.storage.postgres.vector import matrix
from kindred.storage.records import (
    KINDS,
    Document,
    Entry,
    Hit,
    Kind,
    Row,
    Track,
    TrackFilter,
)

_TRACKS = f"SELECT {', '.join(tables.TRACK_COLUMNS)} FROM tracks"
#: A write may take so many times longer than a read: the HNSW index takes milliseconds a vector.
_WRITE = 10


class PostgresStore(LibraryStore):
    """A library in a Postgres database, for any number of processes and machines.

    Writers take turns, for the length of their transaction; readers never wait. Nothing connects
    before the first call, and nothing is tried twice.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database``.
    timeout : float
        Seconds that connecting, waiting for another writer and reading may take; a statement that
        writes may take ten times as long.
    ann_threshold : int
        From this many vectors on, HNSW answers.
    store_audio : bool
        Whether audio is kept; otherwise rows of it are passed over.

    Raises
    ------
    StorageError
        When the address cannot be read. Every method raises it, or
        :class:`~kindred.errors.StorageUnavailable` where trying again may help.
    """

    name = "postgres"

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        ann_threshold: int = 50_000,
        store_audio: bool = True,
    ) -> None:
        self.ann_threshold = ann_threshold
        self.store_audio = store_audio
        self._connections = Connections(url, timeout=timeout)
        self._graphs = Graphs(self._connections.dedicated)
        self._pgvector = ""

    @property
    def place(self) -> str:
        return self._connections.place

    # -- life ------------------------------------------------------------------------------
    def init(self) -> None:
        """Make the schema, or bring it up to date; does nothing where it is."""
        with self._connections.translated():
            migrate.upgrade(self._connections.dedicated, self.place)

    def check_schema(self) -> None:
        """Raise :class:`~kindred.errors.StorageError` unless the schema is the one written here."""
        with self._connections.connection() as connection:
            self._pgvector = migrate.check(connection, self.place)

    def size(self) -> int:
        return int(self._fetch("SELECT pg_database_size(current_database())")[0][0])

    def close(self) -> None:
        self._graphs.close()
        self._connections.close()

    @property
    def _ready(self) -> Connections:
        """The connections to a database whose schema was checked once."""
        if not self._pgvector:
            self.check_schema()
        return self._connections

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else writes."""
        with self._ready.transaction() as connection:
            milliseconds = round(_WRITE * self._connections.timeout * 1_000)
            connection.execute(
                f"SET LOCAL statement_timeout = {milliseconds}; SELECT FROM meta FOR UPDATE"
            )
            yield connection

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._ready.transaction():
            yield

    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._ready.connection() as connection:
            return connection.cursor(binary=True).execute(statement, values).fetchall()

    def version(self) -> int:
        return int(self._fetch("SELECT version FROM meta")[0][0])

    def library_id(self) -> str:
        return str(self._fetch("SELECT library_id FROM meta")[0][0])

    # -- rows ------------------------------------------------------------------------------
    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        statement = "SELECT key, digest, updated_at FROM ledger WHERE kind = %s"
        found = (
            self._fetch(f"{statement} ORDER BY key", (kind,))
            if keys is None
            else self._fetch(f"{statement} AND key = ANY(%s)", (kind, tables.storable(keys)))
        )
        return {key: Entry(digest.hex(), time) for key, digest, time in found}

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        found = {
            key: rows.make(tables.record(kind, key, values), time)
            for key, time, *values in self._fetch(tables.READ[kind], (tables.storable(keys),))
        }
        return [found[key] for key in keys if key in found]

    def write_rows(self, changes: Sequence[Row]) -> None:
        check_vectors(changes)
        latest: dict[Kind, dict[str, Row]] = {kind: {} for kind in KINDS}
        for row in changes:
            if self.store_audio or row.kind != "audio" or row.record is None:
                latest[row.kind][row.key] = row
        with self._writing() as connection:
            changed = [
                tables.write(connection, kind, list(of_kind.values()))
                for kind, of_kind in latest.items()
                if of_kind
            ]
            if any(changed):
                connection.execute("UPDATE meta SET version = version + 1")

    # -- tracks ----------------------------------------------------------------------------
    def find_track_by_hash(self, content_hash: str) -> Track | None:
        found = self._fetch(
            f"{_TRACKS} WHERE content_hash = ANY(%s) ORDER BY track_id LIMIT 1",
            (tables.storable([content_hash]),),
        )
        return tables.track(found[0]) if found else None

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        passes, values = condition(where)
        return [
            tables.track(row)
            for row in self._fetch(f"{_TRACKS} WHERE {passes} ORDER BY track_id", values)
        ]

    def count_tracks(self) -> int:
        return int(self._fetch("SELECT count(*) FROM tracks")[0][0])

    def delete_tracks(self, track_ids: Iterable[str]) -> None:
        with self._writing():
            super().delete_tracks(track_ids)

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        return dict(
            self._fetch(
                "SELECT track_id, thumbnail FROM track_covers JOIN covers USING (cover_hash)"
                " WHERE track_id = ANY(%s)",
                (tables.storable(track_ids),),
            )
        )

    # -- embeddings ------------------------------------------------------------------------
    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        found = dict(
            self._fetch(
                "SELECT track_id, vector_send(vector) FROM track_embeddings"
                " WHERE space_id = %s AND track_id = ANY(%s)",
                (space.space_id, tables.storable(track_ids)),
            )
        )
        ids = [track_id for track_id in track_ids if track_id in found]
        return ids, matrix([found[track_id] for track_id in ids], space.dims)

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        found = self._fetch(
            "SELECT segments FROM track_embeddings WHERE space_id = %s AND track_id = ANY(%s)",
            (space.space_id, tables.storable([track_id])),
        )
        return np.frombuffer(found[0][0] if found else b"", "<f4").reshape(-1, space.dims)

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        return dict(
            self._fetch(
                "SELECT track_id, content_hash FROM track_embeddings WHERE space_id = %s"
                " ORDER BY track_id",
                (space.space_id,),
            )
        )

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        found = self._fetch("SELECT spec, tracks FROM spaces WHERE tracks > 0 ORDER BY space_id")
        return [(EmbeddingSpace.from_dict(json.loads(spec)), count) for spec, count in found]

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
        with self._ready.connection() as connection:
            exact = f"pgvector {self._pgvector} exact"
            if k < 1:
                return [], exact
            search = Search(connection, space, query, k, where, exclude)
            tracks, ready = self._state(connection, space)
            few = False
            if tracks >= self.ann_threshold and space.dims <= DIMS:
                many = max(1, round(FEW * self.ann_threshold))
                counted = many if iterates(self._pgvector) else self.ann_threshold
                if not ready:
                    self._graphs.start(space, tracks)
                    exact += " (HNSW is being built)"
                elif (passing := search.passing(counted)) < many:
                    exact += " (the filter leaves few)"
                    few = True
                else:
                    hits = search.hnsw(self._pgvector, passing / tracks)
                    if hits is not None:
                        return hits, hnsw_name(self._pgvector)
                    exact += " (HNSW found too few)"
            return search.exact(few=few), exact

    def build_index(self, space: EmbeddingSpace) -> bool:
        """Build a space's HNSW index now; return whether it is there.

        Searches start this by themselves, in the background, once a space has ``ann_threshold``
        vectors; until it is there, exact search answers.
        """
        with self._ready.connection() as connection:
            tracks, ready = self._state(connection, space)
        if ready or not tracks:
            return ready
        with self._connections.translated():
            return self._graphs.build(space, tracks)

    def _state(self, connection: Connection, space: EmbeddingSpace) -> tuple[int, bool]:
        """How many vectors a space has, and whether its HNSW index can be used."""
        row = connection.execute(
            "SELECT tracks, EXISTS (SELECT FROM pg_index WHERE indisvalid"
            " AND indexrelid = to_regclass(%s)) FROM spaces WHERE space_id = %s",
            (index_name(space), space.space_id),
        ).fetchone()
        return (int(row[0]), bool(row[1])) if row else (0, False)

    # -- documents -------------------------------------------------------------------------
    def append_document(self, document: Document) -> bool:
        with self._writing():  # nobody else can insert it in between
            return super().append_document(document)

    def list_documents(self, collection: str) -> list[Document]:
        found = self._fetch(
            "SELECT key, body FROM documents WHERE collection = ANY(%s) ORDER BY key",
            (tables.storable([collection]),),
        )
        return [Document(collection, key, json.loads(body)) for key, body in found]
