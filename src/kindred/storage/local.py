"""The local backend: one folder, SQLite as the truth, vectors mapped from a file built from it.

::

    library.db             tracks, files, vectors, covers, quarantine, jobs (SQLite, WAL)
    vectors/<space_id>/    float32 snapshot of a space and its FAISS graph; rebuilt when missing
    audio/<2>/<hash>.<ext> audio that was uploaded

Any number of processes may read while one writes. A write is one transaction: killed at any
moment, the library opens as it was before or after it. SQLite syncs at checkpoints, so a power cut
may take the last transactions, never the library.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import JobError, SpaceMismatch, StorageError, TrackNotFound
from kindred.storage import hnsw, vectors
from kindred.storage.backend import StorageBackend
from kindred.storage.records import (
    Embedding,
    FileRecord,
    Hit,
    JobRecord,
    QuarantineRecord,
    Track,
    TrackFilter,
)
from kindred.storage.schema import SCHEMA, SCHEMA_VERSION

_TRACK_COLUMNS = [item.name for item in dataclasses.fields(Track) if item.name != "paths"]
_JOB_COLUMNS = [item.name for item in dataclasses.fields(JobRecord)]
#: Below this share of rows left by a filter, exact search beats walking the graph.
_SELECTIVE = 0.1
_CHUNK = 500  # ids per statement, below SQLite's limit on variables


def _upsert(table: str, columns: Sequence[str], key: str) -> str:
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({key}) DO UPDATE SET {updates}"
    )


class LocalBackend(StorageBackend):
    """A library in one folder.

    Parameters
    ----------
    home : Path
        The library folder; made on first use.
    ann_threshold : int
        From this many vectors on, FAISS HNSW answers.

    Raises
    ------
    StorageError
        When the folder cannot be written or the database is not a Kindred library.
    """

    name = "local"

    def __init__(self, home: Path, *, ann_threshold: int = 50_000) -> None:
        self.home = Path(os.path.abspath(home))
        self.ann_threshold = ann_threshold
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._snapshots: dict[str, vectors.Snapshot] = {}
        self._graphs: dict[str, tuple[int, Any]] = {}
        self._building: set[str] = set()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._db.executescript("PRAGMA journal_mode = WAL;")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise StorageError(
                    f"The library in {self.home} was written by a newer Kindred (schema {found},"
                    f" this one reads {SCHEMA_VERSION}). Update Kindred to open it."
                )
            if found < SCHEMA_VERSION:
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"The library folder {self.home} cannot be used: {error}. Set KINDRED_HOME to a"
                " folder you may write to, or move library.db away to start afresh."
            ) from error

    # -- connections -----------------------------------------------------------------------
    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.home / "library.db",
                timeout=60,
                isolation_level=None,
                check_same_thread=False,  # close() may come from another thread
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA busy_timeout = 60000")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.create_function(
                "fold", 1, lambda text: (text or "").casefold(), deterministic=True
            )
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        return connection

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    @contextmanager
    def batch(self) -> Iterator[None]:
        connection = self._db
        if connection.in_transaction:  # joins the batch around it
            yield
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _touch(self, *space_ids: str) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'library_version'")
        for space_id in space_ids:
            self._db.execute(
                "UPDATE spaces SET version = version + 1 WHERE space_id = ?", (space_id,)
            )

    def version(self) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'library_version'").fetchone()
        return int(row[0])

    # -- paths -----------------------------------------------------------------------------
    def _pack(self, path: str) -> str | bytes:
        absolute = Path(path)
        if absolute.is_relative_to(self.home):
            path = absolute.relative_to(self.home).as_posix()
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            return os.fsencode(path)
        return path

    def _unpack(self, stored: str | bytes) -> str:
        path = os.fsdecode(stored)
        return path if os.path.isabs(path) else str(self.home / path)

    # -- tracks ----------------------------------------------------------------------------
    def put_tracks(self, tracks: Iterable[Track]) -> None:
        rows = [
            tuple(
                json.dumps(track.extra) if name == "extra" else getattr(track, name)
                for name in _TRACK_COLUMNS
            )
            for track in tracks
        ]
        if rows:
            with self.batch():
                self._db.executemany(_upsert("tracks", _TRACK_COLUMNS, "track_id"), rows)
                self._touch()

    def _tracks(self, rows: Sequence[sqlite3.Row]) -> list[Track]:
        paths: dict[str, list[str]] = {}
        wanted = [row["track_id"] for row in rows]
        if len(wanted) > 5_000:  # one pass over all beats many look-ups
            found = self._db.execute("SELECT track_id, path FROM files ORDER BY rowid")
            for track_id, path in found:
                paths.setdefault(track_id, []).append(self._unpack(path))
        else:
            for track_id, path in self._chunked(
                "SELECT track_id, path FROM files WHERE track_id IN ({}) ORDER BY rowid", wanted
            ):
                paths.setdefault(track_id, []).append(self._unpack(path))
        return [
            Track(
                **{name: row[name] for name in _TRACK_COLUMNS if name != "extra"},
                extra=json.loads(row["extra"]),
                paths=tuple(paths.get(row["track_id"], ())),
            )
            for row in rows
        ]

    def _chunked(self, statement: str, values: Sequence[Any]) -> Iterator[sqlite3.Row]:
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            yield from self._db.execute(statement.format(", ".join("?" * len(part))), part)

    def get_track(self, track_id: str) -> Track:
        found = self.get_tracks([track_id])
        if not found:
            raise TrackNotFound(track_id)
        return found[0]

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        rows = list(self._chunked("SELECT * FROM tracks WHERE track_id IN ({})", track_ids))
        by_id = {track.track_id: track for track in self._tracks(rows)}
        return [by_id[track_id] for track_id in track_ids if track_id in by_id]

    def find_track_by_hash(self, content_hash: str) -> Track | None:
        rows = self._db.execute(
            "SELECT * FROM tracks WHERE content_hash = ? ORDER BY track_id LIMIT 1", (content_hash,)
        ).fetchall()
        return self._tracks(rows)[0] if rows else None

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
        with self.batch():
            for track_id in track_ids:
                self.delete_audio(track_id)
                spaces = self._db.execute(
                    "SELECT space_id FROM embeddings WHERE track_id = ?", (track_id,)
                ).fetchall()
                for table in ("tracks", "embeddings", "files", "track_covers"):
                    self._db.execute(f"DELETE FROM {table} WHERE track_id = ?", (track_id,))
                self._touch(*(row["space_id"] for row in spaces))
            self._db.execute(
                "DELETE FROM covers WHERE cover_hash NOT IN (SELECT cover_hash FROM track_covers)"
            )

    # -- covers ----------------------------------------------------------------------------
    def put_cover(self, track_id: str, image: bytes, thumbnail: bytes) -> None:
        cover_hash = hashlib.sha256(image).hexdigest()
        with self.batch():
            self._db.execute(
                "INSERT OR REPLACE INTO covers VALUES (?, ?, ?)", (cover_hash, image, thumbnail)
            )
            self._db.execute(
                "INSERT OR REPLACE INTO track_covers VALUES (?, ?)", (track_id, cover_hash)
            )
            self._touch()

    def get_cover(self, track_id: str) -> bytes | None:
        row = self._db.execute(
            "SELECT image FROM track_covers JOIN covers USING (cover_hash) WHERE track_id = ?",
            (track_id,),
        ).fetchone()
        return bytes(row[0]) if row else None

    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        statement = (
            "SELECT track_id, thumbnail FROM track_covers JOIN covers USING (cover_hash)"
            " WHERE track_id IN ({})"
        )
        return {row[0]: bytes(row[1]) for row in self._chunked(statement, track_ids)}

    # -- embeddings ------------------------------------------------------------------------
    def put_embeddings(self, space: EmbeddingSpace, embeddings: Iterable[Embedding]) -> None:
        rows = []
        for item in embeddings:
            vector = np.ascontiguousarray(item.vector, np.float32)
            segments = np.ascontiguousarray(item.segments, np.float32)
            if vector.shape != (space.dims,) or segments.shape[1:] != (space.dims,):
                raise SpaceMismatch(
                    f"Track {item.track_id}: vectors of shape {vector.shape} and {segments.shape}"
                    f" do not belong to {space.model} with {space.dims} dimensions."
                )
            if not np.isfinite(vector).all() or abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
                raise StorageError(f"Track {item.track_id}: the vector has not unit length.")
            rows.append(
                (
                    space.space_id,
                    item.track_id,
                    item.content_hash,
                    vector.tobytes(),
                    segments.tobytes(),
                )
            )
        if not rows:
            return
        with self.batch():
            self._db.execute(
                "INSERT OR IGNORE INTO spaces VALUES (?, ?, 0)",
                (space.space_id, json.dumps(space.to_dict())),
            )
            self._db.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)", rows)
            self._touch(space.space_id)

    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        statement = (
            f"SELECT track_id, vector FROM embeddings WHERE space_id = '{space.space_id}'"
            " AND track_id IN ({})"
        )
        found = {row[0]: row[1] for row in self._chunked(statement, track_ids)}
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
        """Return the space's vectors as they are now, mapped from disk."""
        db, folder = self._db, self.home / "vectors" / space.space_id
        # One read transaction: the version and the rows belong together.
        outer = db.in_transaction
        if not outer:
            db.execute("BEGIN")
        try:
            row = db.execute(
                "SELECT version FROM spaces WHERE space_id = ?", (space.space_id,)
            ).fetchone()
            version = row[0] if row else 0
            with self._lock:
                known = self._snapshots.get(space.space_id)
            if known and known.version == version:
                return known
            rows = db.execute(
                "SELECT track_id, vector FROM embeddings WHERE space_id = ? ORDER BY track_id",
                (space.space_id,),
            )
            snapshot = vectors.read_snapshot(folder, version, space.dims) if version else None
            if snapshot is None:
                snapshot = vectors.write_snapshot(folder, version, space.dims, map(tuple, rows))
        except OSError as error:
            raise StorageError(
                f"The vectors cannot be written to {folder}: {error}. Free some space there."
            ) from error
        finally:
            if not outer:
                db.execute("COMMIT")
        with self._lock:
            self._snapshots[space.space_id] = snapshot
        return snapshot

    def search_embeddings(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        *,
        k: int,
        where: TrackFilter = TrackFilter(),
        exclude: Sequence[str] = (),
    ) -> tuple[list[Hit], str]:
        if query.shape != (space.dims,):
            raise SpaceMismatch(
                f"A query of shape {query.shape} does not belong to {space.model} with"
                f" {space.dims} dimensions."
            )
        snapshot = self.snapshot(space)
        ids = None
        if not where.is_empty:
            condition, values = _condition(where)
            found = self._db.execute(f"SELECT track_id FROM tracks WHERE {condition}", values)
            ids = [row[0] for row in found]
        allowed = snapshot.mask(ids, exclude)
        index = "exact"
        if len(snapshot.track_ids) >= self.ann_threshold:
            if allowed is not None and allowed.mean() < _SELECTIVE:
                index = "exact (the filter leaves few)"
            elif (graph := self._graph(space, snapshot)) is not None:
                found_rows = hnsw.top_rows(graph, snapshot, query, k, allowed=allowed)
                return snapshot.hits(*found_rows), hnsw.NAME
            else:
                index = "exact (HNSW is being built)"
        return snapshot.hits(*vectors.top_rows(snapshot.matrix, query, k, allowed=allowed)), index

    def _graph(self, space: EmbeddingSpace, snapshot: vectors.Snapshot) -> Any | None:
        """Return the HNSW graph if it is ready; else have it built by a thread of its own."""
        with self._lock:
            known = self._graphs.get(space.space_id)
            if known and known[0] == snapshot.version:
                return known[1]
            if space.space_id in self._building:
                return None
            graph = hnsw.load(snapshot)
            if graph is not None:
                self._graphs[space.space_id] = (snapshot.version, graph)
                return graph
            self._building.add(space.space_id)
        thread = threading.Thread(target=self._build_graph, args=(space.space_id, snapshot))
        thread.daemon = True
        thread.start()
        return None

    def _build_graph(self, space_id: str, snapshot: vectors.Snapshot) -> None:
        try:
            hnsw.build(snapshot)
        finally:
            with self._lock:
                self._building.discard(space_id)

    # -- audio -----------------------------------------------------------------------------
    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        target = self.home / "audio" / content_hash[:2] / f"{content_hash}{suffix}"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
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

    def audio_url(self, track_id: str) -> str:
        return f"/audio/{quote(track_id, safe='')}"

    def delete_audio(self, track_id: str) -> None:
        store = self.home / "audio"
        rows = self._db.execute("SELECT path FROM files WHERE track_id = ?", (track_id,))
        for row in rows.fetchall():
            path = Path(self._unpack(row[0]))
            if path.is_relative_to(store):
                path.unlink(missing_ok=True)
                self.delete_files([str(path)])

    # -- folders and files -----------------------------------------------------------------
    def add_root(self, path: str) -> None:
        with self.batch():
            self._db.execute("INSERT OR IGNORE INTO roots VALUES (?)", (self._pack(path),))

    def roots(self) -> list[str]:
        rows = self._db.execute("SELECT path FROM roots ORDER BY path").fetchall()
        return [self._unpack(row[0]) for row in rows]

    def put_files(self, files: Iterable[FileRecord]) -> None:
        columns = ("path", "size", "mtime_ns", "content_hash", "track_id")
        rows = [
            (self._pack(item.path), item.size, item.mtime_ns, item.content_hash, item.track_id)
            for item in files
        ]
        if rows:
            with self.batch():
                self._db.executemany(_upsert("files", columns, "path"), rows)
                self._touch()

    def list_files(self) -> list[FileRecord]:
        rows = self._db.execute("SELECT * FROM files ORDER BY rowid").fetchall()
        return [FileRecord(self._unpack(row["path"]), *tuple(row)[1:]) for row in rows]

    def delete_files(self, paths: Iterable[str]) -> None:
        with self.batch():
            self._db.executemany(
                "DELETE FROM files WHERE path = ?", [(self._pack(path),) for path in paths]
            )
            self._touch()

    def put_quarantine(self, records: Iterable[QuarantineRecord]) -> None:
        columns = [item.name for item in dataclasses.fields(QuarantineRecord)]
        rows = [(self._pack(item.path), *dataclasses.astuple(item)[1:]) for item in records]
        with self.batch():
            self._db.executemany(_upsert("quarantine", columns, "path"), rows)

    def list_quarantine(self) -> list[QuarantineRecord]:
        rows = self._db.execute("SELECT * FROM quarantine ORDER BY path").fetchall()
        return [QuarantineRecord(self._unpack(row["path"]), *tuple(row)[1:]) for row in rows]

    def delete_quarantine(self, paths: Iterable[str]) -> None:
        with self.batch():
            self._db.executemany(
                "DELETE FROM quarantine WHERE path = ?", [(self._pack(path),) for path in paths]
            )

    # -- settings of the library -----------------------------------------------------------
    def get_setting(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def put_setting(self, name: str, value: str) -> None:
        with self.batch():
            self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    # -- jobs ------------------------------------------------------------------------------
    def put_job(self, job: JobRecord) -> None:
        values = dataclasses.asdict(job)
        values |= {"params": json.dumps(job.params), "result": json.dumps(job.result)}
        with self.batch():
            self._db.execute(
                _upsert("jobs", _JOB_COLUMNS, "job_id"), [values[name] for name in _JOB_COLUMNS]
            )

    def get_job(self, job_id: str) -> JobRecord:
        row = self._db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobError(f"There is no job {job_id!r}.")
        return _job(row)

    def update_job(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        with self.batch():
            job = change(self.get_job(job_id))
            self.put_job(job)
        return job

    def list_jobs(self, *, kind: str | None = None, limit: int = 20) -> list[JobRecord]:
        rows = self._db.execute(
            "SELECT * FROM jobs WHERE ? IS NULL OR kind = ? ORDER BY created_at DESC, rowid DESC"
            " LIMIT ?",
            (kind, kind, limit),
        ).fetchall()
        return [_job(row) for row in rows]


def _job(row: sqlite3.Row) -> JobRecord:
    values = dict(row)
    values |= {
        "params": json.loads(values["params"]),
        "result": json.loads(values["result"]),
        "cancel_requested": bool(values["cancel_requested"]),
    }
    return JobRecord(**values)


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
            parts.append(f"fold({column}) {operator} ({', '.join('?' * len(wanted))})")
            values += [text.casefold() for text in wanted]
    for composer, work in where.not_works:
        parts.append("NOT (fold(composer) = ? AND fold(work) = ?)")
        values += [composer.casefold(), work.casefold()]
    for column, (low, high) in (("year", where.year), ("duration", where.duration)):
        for operator, bound in ((">=", low), ("<=", high)):
            if bound is not None:
                parts.append(f"{column} {operator} ?")
                values.append(bound)
    return " AND ".join(parts), values
