"""The local backend: one folder, SQLite as the truth, vectors mapped from a file built from it.

::

    library.db             tracks, files, vectors, covers, documents, quarantine, jobs (SQLite, WAL)
    vectors/<space_id>/    float32 snapshot of a space and its index; rebuilt when missing
    audio/<2>/<hash>.<ext> audio that was uploaded

A shared library (Postgres, Astra DB) keeps a copy of itself in the same form, under its own name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError
from kindred.storage import rows, vectors
from kindred.storage.backend import StorageBackend, check_query, check_vectors
from kindred.storage.local_machine import LocalMachine, upsert
from kindred.storage.records import (
    Audio,
    Cover,
    Document,
    Embedding,
    Entry,
    Hit,
    Kind,
    Record,
    Row,
    Track,
    TrackFilter,
    TrackVectors,
    fold,
)
from kindred.storage.vector_search import VectorSearch

_TRACK_COLUMNS = [item.name for item in dataclasses.fields(Track) if item.name != "paths"]
#: Columns that filters compare, beside which their folded text is kept.
_FOLDED = ("composer", "artist", "album", "genre", "work")
_UPSERT_TRACK = upsert(
    "tracks", [*_TRACK_COLUMNS, *(f"{name}_fold" for name in _FOLDED)], "track_id"
)
#: Filters whose rows are remembered.
_MASKS = 16


class LocalBackend(LocalMachine, StorageBackend):
    """A library in one folder.

    Parameters
    ----------
    home : Path
        The library folder; made on first use.
    ann_threshold : int
        From this many vectors on, an approximate index answers.
    library : str
        Name of the library in that folder.

    Raises
    ------
    StorageError
        When the folder cannot be written or the database is not a Kindred library.
    """

    name = "local"

    def __init__(
        self, home: Path, *, ann_threshold: int = 50_000, library: str = "library"
    ) -> None:
        super().__init__(home, library)
        folder = "vectors" if library == "library" else f"vectors-{library}"
        self.vectors_folder = self.home / folder
        self.index = VectorSearch(self.vectors_folder, ann_threshold=ann_threshold)
        self._masks: dict[object, NDArray[np.bool_] | None] = {}

    @property
    def place(self) -> str:
        return str(self.home)

    def size(self) -> int:
        folders = (self.vectors_folder, self.audio_folder)
        files = [self.database, *(path for folder in folders for path in folder.rglob("*"))]
        return sum(path.stat().st_size for path in files if path.is_file())

    def _from_version_2(self) -> None:
        """Digest every row, as those of version 2 had none, and make documents of settings."""
        for name, value in self._db.execute("SELECT name, value FROM settings").fetchall():
            self._write("documents", [rows.make(Document("settings", name, {"value": value}))])
        self._db.execute("DROP TABLE settings")
        keys: dict[Kind, Iterable[str]] = {
            "tracks": self._column("SELECT track_id FROM tracks"),
            "covers": self._column("SELECT track_id FROM track_covers"),
            "embeddings": self._column("SELECT space_id || '/' || track_id FROM embeddings"),
            "audio": [path.name for path in self.audio_folder.glob("??/*") if path.is_file()],
        }
        for kind, of_kind in keys.items():
            for key in of_kind:
                self._note(self._read(kind, key) or rows.tombstone(kind, key))

    def _column(self, statement: str) -> list[str]:
        return [row[0] for row in self._db.execute(statement).fetchall()]

    def version(self) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'library_version'").fetchone()
        return int(row[0])

    def library_id(self) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'library_id'").fetchone()
        return str(row[0])

    # -- rows ------------------------------------------------------------------------------
    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        statement = f"SELECT key, digest, updated_at FROM ledger WHERE kind = '{kind}'"
        found: Iterable[sqlite3.Row] = (
            self._db.execute(f"{statement} ORDER BY key")
            if keys is None
            else self.chunked(f"{statement} AND key IN ({{}})", keys)
        )
        return {row[0]: Entry(row[1], row[2]) for row in found}

    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        return [row for key in keys if (row := self._read(kind, key)) is not None]

    def write_rows(self, changes: Sequence[Row]) -> None:
        check_vectors(changes)
        by_kind: dict[Kind, list[Row]] = {}
        for row in changes:
            by_kind.setdefault(row.kind, []).append(row)
        with self.batch():
            for kind, of_kind in by_kind.items():
                known = self.entries(kind, [row.key for row in of_kind])
                new = []
                for row in of_kind:
                    entry = rows.entry(row)
                    if row.key not in known or known[row.key].digest != entry.digest:
                        known[row.key] = entry
                        new.append(row)
                if new:
                    self._write(kind, new)

    def _note(self, row: Row) -> None:
        entry = rows.entry(row)
        self._db.execute(
            "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?)",
            (row.kind, row.key, entry.digest, entry.updated_at),
        )

    def _write(self, kind: Kind, changes: Sequence[Row]) -> None:
        if kind == "embeddings":
            self._begin_version(changes)
        for row in changes:
            if row.record is None:
                self._remove(kind, row.key)
            else:
                self._insert(row.record)
            self._note(row)
        if kind == "covers":
            self._db.execute(
                "DELETE FROM covers WHERE cover_hash NOT IN (SELECT cover_hash FROM track_covers)"
            )
        self._touch()

    def _begin_version(self, changes: Sequence[Row]) -> None:
        """Move the versions of the spaces whose vectors change; rows are written under them."""
        found = (row.record.space for row in changes if isinstance(row.record, TrackVectors))
        self._db.executemany(
            "INSERT OR IGNORE INTO spaces VALUES (?, ?, 0)",
            {(space.space_id, json.dumps(space.to_dict())) for space in found},
        )
        self._db.executemany(
            "UPDATE spaces SET version = version + 1 WHERE space_id = ?",
            {(row.key.partition("/")[0],) for row in changes},
        )

    def _insert(self, record: Record) -> None:
        if isinstance(record, Track):
            values = [
                json.dumps(record.extra) if name == "extra" else getattr(record, name)
                for name in _TRACK_COLUMNS
            ]
            values += [fold(getattr(record, name)) for name in _FOLDED]
            self._db.execute(_UPSERT_TRACK, values)
        elif isinstance(record, TrackVectors):
            space, item = record.space, record.embedding
            self._db.execute(
                "INSERT OR REPLACE INTO embeddings SELECT ?, ?, ?, ?, ?, version FROM spaces"
                " WHERE space_id = ?",
                (
                    space.space_id,
                    item.track_id,
                    item.content_hash,
                    np.ascontiguousarray(item.vector, np.float32).tobytes(),
                    np.ascontiguousarray(item.segments, np.float32).tobytes(),
                    space.space_id,
                ),
            )
            self._db.execute(
                "DELETE FROM removed_embeddings WHERE space_id = ? AND track_id = ?",
                (space.space_id, item.track_id),
            )
        elif isinstance(record, Cover):
            cover_hash = hashlib.sha256(record.image).hexdigest()
            self._db.execute(
                "INSERT OR REPLACE INTO covers VALUES (?, ?, ?)",
                (cover_hash, record.image, record.thumbnail),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO track_covers VALUES (?, ?)", (record.track_id, cover_hash)
            )
        elif isinstance(record, Audio):
            target = self._audio_file(f"{record.content_hash}{record.suffix}")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(record.data)
            os.replace(temporary, target)
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
                (record.collection, record.key, json.dumps(record.body)),
            )

    def _remove(self, kind: Kind, key: str) -> None:
        if kind == "tracks":
            for table in ("tracks", "files", "lost"):
                self._db.execute(f"DELETE FROM {table} WHERE track_id = ?", (key,))
        elif kind == "covers":
            self._db.execute("DELETE FROM track_covers WHERE track_id = ?", (key,))
        elif kind == "audio":
            path = self._audio_file(key)
            path.unlink(missing_ok=True)
            self.delete_files([str(path)])
        else:
            table, first, second = (
                ("embeddings", "space_id", "track_id")
                if kind == "embeddings"
                else ("documents", "collection", "key")
            )
            self._db.execute(
                f"DELETE FROM {table} WHERE {first} = ? AND {second} = ?",
                tuple(key.split("/", 1)),
            )
            if kind == "embeddings":
                self._db.execute(
                    "INSERT OR REPLACE INTO removed_embeddings"
                    " SELECT space_id, ?, version FROM spaces WHERE space_id = ?",
                    (key.partition("/")[2], key.partition("/")[0]),
                )

    def _read(self, kind: Kind, key: str) -> Row | None:
        record: Record | None = None
        first, _, second = key.partition("/")
        if kind == "tracks":
            found = self._db.execute("SELECT * FROM tracks WHERE track_id = ?", (key,)).fetchall()
            record = self._tracks(found)[0] if found else None
        elif kind == "covers":
            row = self._db.execute(
                "SELECT image, thumbnail FROM track_covers JOIN covers USING (cover_hash)"
                " WHERE track_id = ?",
                (key,),
            ).fetchone()
            record = Cover(key, bytes(row[0]), bytes(row[1])) if row else None
        elif kind == "embeddings":
            row = self._db.execute(
                "SELECT spec, content_hash, vector, segments FROM embeddings"
                " JOIN spaces USING (space_id) WHERE space_id = ? AND track_id = ?",
                (first, second),
            ).fetchone()
            if row:
                space = EmbeddingSpace.from_dict(json.loads(row[0]))
                segments = np.frombuffer(row[3], np.float32).reshape(-1, space.dims)
                vector = np.frombuffer(row[2], np.float32)
                record = TrackVectors(space, Embedding(second, row[1], vector, segments))
        elif kind == "audio":
            path = self._audio_file(key)
            stem, dot, suffix = key.partition(".")
            record = Audio(stem, dot + suffix, path.read_bytes()) if path.is_file() else None
        else:
            row = self._db.execute(
                "SELECT body FROM documents WHERE collection = ? AND key = ?", (first, second)
            ).fetchone()
            record = Document(first, second, json.loads(row[0])) if row else None
        if record is None:
            return None
        entry = self.entries(kind, [key]).get(key)
        return rows.make(record, entry.updated_at if entry else None)

    # -- tracks ----------------------------------------------------------------------------
    def _tracks(self, found: Sequence[sqlite3.Row]) -> list[Track]:
        paths = self.paths_of([row["track_id"] for row in found])
        return [
            Track(
                **{name: row[name] for name in _TRACK_COLUMNS if name != "extra"},
                extra=json.loads(row["extra"]),
                paths=paths.get(row["track_id"], ()),
            )
            for row in found
        ]

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        found = list(self.chunked("SELECT * FROM tracks WHERE track_id IN ({})", track_ids))
        by_id = {track.track_id: track for track in self._tracks(found)}
        return [by_id[track_id] for track_id in track_ids if track_id in by_id]

    def find_track_by_hash(self, content_hash: str) -> Track | None:
        found = self._db.execute(
            "SELECT * FROM tracks WHERE content_hash = ? ORDER BY track_id LIMIT 1", (content_hash,)
        ).fetchall()
        return self._tracks(found)[0] if found else None

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        condition, values = _condition(where)
        return self._tracks(
            self._db.execute(
                f"SELECT * FROM tracks WHERE {condition} ORDER BY track_id", values
            ).fetchall()
        )

    def count_tracks(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM tracks").fetchone()[0])

    def delete_tracks(self, track_ids: Iterable[str]) -> None:
        wanted = list(track_ids)
        with self.batch():
            for track_id in wanted:
                self.delete_audio(track_id)
            super().delete_tracks(wanted)

    def tracks_without_files(self) -> list[str]:
        return self._column(
            "SELECT track_id FROM tracks WHERE track_id NOT IN (SELECT track_id FROM files)"
            " ORDER BY track_id"
        )

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        statement = (
            "SELECT track_id, thumbnail FROM track_covers JOIN covers USING (cover_hash)"
            " WHERE track_id IN ({})"
        )
        return {row[0]: bytes(row[1]) for row in self.chunked(statement, track_ids)}

    # -- embeddings ------------------------------------------------------------------------
    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        statement = (
            f"SELECT track_id, vector FROM embeddings WHERE space_id = '{space.space_id}'"
            " AND track_id IN ({})"
        )
        found = {row[0]: row[1] for row in self.chunked(statement, track_ids)}
        ids = [track_id for track_id in track_ids if track_id in found]
        data = b"".join(found[track_id] for track_id in ids)
        return ids, np.frombuffer(data, np.float32).reshape(len(ids), space.dims)

    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        row = self._db.execute(
            "SELECT segments FROM embeddings WHERE space_id = ? AND track_id = ?",
            (space.space_id, track_id),
        ).fetchone()
        return np.frombuffer(row[0] if row else b"", np.float32).reshape(-1, space.dims)

    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        return dict(
            self._db.execute(
                "SELECT track_id, content_hash FROM embeddings WHERE space_id = ?",
                (space.space_id,),
            ).fetchall()
        )

    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        rows = self._db.execute(
            "SELECT spec, (SELECT count(*) FROM embeddings WHERE space_id = spaces.space_id)"
            " FROM spaces ORDER BY space_id"
        ).fetchall()
        return [(EmbeddingSpace.from_dict(json.loads(row[0])), row[1]) for row in rows if row[1]]

    def snapshot(self, space: EmbeddingSpace) -> vectors.Snapshot:
        """Return the space's vectors as they are now, mapped from disk; in a batch, as before it.

        What a batch has written may never be: a snapshot of it must not be kept.
        """
        db = self._db
        if db.in_transaction:
            with ThreadPoolExecutor(1) as another:  # has a connection of its own
                return another.submit(self.snapshot, space).result()
        db.execute("BEGIN")  # one read transaction: the version and the rows belong together
        try:
            return self.index.snapshot(space.space_id, space.dims, _SpaceRows(db, space.space_id))
        except OSError as error:
            raise StorageError(
                f"The vectors cannot be written to {self.vectors_folder}: {error}. Free some"
                " space there."
            ) from error
        finally:
            db.execute("COMMIT")

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
        snapshot = self.snapshot(space)
        allowed = self._passing(space, snapshot, where)
        if exclude:
            out = snapshot.find(exclude)
            allowed = np.ones(len(snapshot), np.bool_) if allowed is None else allowed.copy()
            allowed[out] = False
        found, scores, index = self.index.search(snapshot, query, k, allowed=allowed)
        return snapshot.hits(found, scores), index

    def _passing(
        self, space: EmbeddingSpace, snapshot: vectors.Snapshot, where: TrackFilter
    ) -> NDArray[np.bool_] | None:
        """Rows that pass a filter, or ``None`` when all do; the last few are remembered."""
        if where.is_empty:
            return None
        key = (space.space_id, snapshot.version, self.version(), where)
        if key not in self._masks:
            condition, values = _condition(where)
            found = self._db.execute(f"SELECT track_id FROM tracks WHERE {condition}", values)
            mask = snapshot.mask([row[0] for row in found], ())
            with self._lock:
                while len(self._masks) >= _MASKS:
                    del self._masks[next(iter(self._masks))]
                self._masks[key] = mask
            return mask
        return self._masks[key]

    # -- documents -------------------------------------------------------------------------
    def list_documents(self, collection: str) -> list[Document]:
        found = self._db.execute(
            "SELECT key, body FROM documents WHERE collection = ? ORDER BY key", (collection,)
        )
        return [Document(collection, row[0], json.loads(row[1])) for row in found]

    # -- audio -----------------------------------------------------------------------------
    def _audio_file(self, key: str) -> Path:
        return self.audio_folder / key[:2] / key

    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        target = self._audio_file(f"{content_hash}{suffix}")
        if not target.exists():
            self.write_rows([rows.make(Audio(content_hash, suffix, source.read_bytes()))])
        return str(target)

    def download_audio(self, track_id: str, target: Path) -> Path:
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(self.audio_path(track_id), temporary)
        os.replace(temporary, target)
        return target

    def audio_path(self, track_id: str) -> Path:
        """Return a file of the track that exists inside the library or a remembered folder.

        Links are followed first: one that leads elsewhere is not served.
        """
        track = self.get_track(track_id)
        allowed = [Path(os.path.realpath(root)) for root in (str(self.home), *self.roots())]
        for path in track.paths:
            real = Path(os.path.realpath(path))
            if real.is_file() and any(real.is_relative_to(root) for root in allowed):
                return real
        raise StorageError(
            f"The audio of {track.title or track_id} is gone"
            f" ({track.path or 'no file is on record'}). Scan its folder again."
        )

    def delete_audio(self, track_id: str) -> None:
        paths = (Path(path) for path in self.paths_of([track_id]).get(track_id, ()))
        gone = [path.name for path in paths if path.is_relative_to(self.audio_folder)]
        self.write_rows([rows.tombstone("audio", key) for key in gone])


class _SpaceRows:
    """A space's vectors, as the transaction that is open sees them."""

    def __init__(self, db: sqlite3.Connection, space_id: str) -> None:
        self._db, self._space_id = db, space_id

    @property
    def version(self) -> int:
        """Of the space."""
        row = self._db.execute(
            "SELECT version FROM spaces WHERE space_id = ?", (self._space_id,)
        ).fetchone()
        return int(row[0]) if row else 0

    def count(self) -> int:
        """Number of vectors."""
        row = self._db.execute(
            "SELECT count(*) FROM embeddings WHERE space_id = ?", (self._space_id,)
        ).fetchone()
        return int(row[0])

    def all(self) -> Iterator[tuple[str, bytes]]:
        """Every track and its vector, by id."""
        found = self._db.execute(
            "SELECT track_id, vector FROM embeddings WHERE space_id = ? ORDER BY track_id",
            (self._space_id,),
        )
        return ((row[0], row[1]) for row in found)

    def since(self, version: int) -> Iterator[tuple[str, bytes | None]]:
        """What was written or removed after a version."""
        found = self._db.execute(
            "SELECT track_id, vector FROM embeddings WHERE space_id = ? AND seq > ?"
            " UNION ALL"
            " SELECT track_id, NULL FROM removed_embeddings WHERE space_id = ? AND seq > ?",
            (self._space_id, version, self._space_id, version),
        )
        return ((row[0], row[1]) for row in found)


def _condition(where: TrackFilter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition and its values."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    texts = (
        ("composer", where.composers, "IN"),
        ("artist", where.artists, "IN"),
        ("album", where.albums, "IN"),
        ("genre", where.genres, "IN"),
        ("album", where.not_albums, "NOT IN"),
        ("artist", where.not_artists, "NOT IN"),
    )
    for column, wanted, operator in texts:
        if wanted:
            parts.append(f"{column}_fold {operator} ({', '.join('?' * len(wanted))})")
            values += [fold(text) for text in wanted]
    for composer, work in where.not_works:
        parts.append("NOT (composer_fold = ? AND work_fold = ?)")
        values += [fold(composer), fold(work)]
    for column, (low, high) in (("year", where.year), ("duration", where.duration)):
        for operator, bound in ((">=", low), ("<=", high)):
            if bound is not None:
                parts.append(f"{column} {operator} ?")
                values.append(bound)
    return " AND ".join(parts), values
