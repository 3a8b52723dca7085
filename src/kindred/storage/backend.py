"""The storage ports. One contract suite (``tests/contracts``) runs on every backend.

::

    LibraryStore     what belongs to the library: tracks, vectors, covers, kept audio, documents
    MachineStore     what belongs to this machine: folders and files seen, quarantine, jobs
    StorageBackend   both, as the rest of Kindred uses them
    +-- LocalBackend   one folder keeps both
    +-- SharedBackend  a LibraryStore (Postgres, Astra DB) and this machine's folder

Writing the same thing twice changes nothing. Similarity is cosine in [-1, 1], higher is nearer;
ties order by ``track_id``. Lists of tracks order by ``track_id`` unless said otherwise.

Every write of a library passes through :meth:`LibraryStore.write_rows`, and every row has a digest
and a time (:class:`~kindred.storage.records.Entry`), a deleted one too. That is all that the
outbox, migration and synchronisation need to know of a backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import SpaceMismatch, StorageError, TrackNotFound
from kindred.storage import rows
from kindred.storage.records import (
    Cover,
    Document,
    Embedding,
    Entry,
    FileRecord,
    Hit,
    JobRecord,
    Kind,
    QuarantineRecord,
    Row,
    Track,
    TrackFilter,
    TrackVectors,
)


class LibraryStore(ABC):
    """Keeps what belongs to a library. A backend writes the abstract methods, the rest is here."""

    name: str
    """Kind of the store: ``"local"``, ``"postgres"`` or ``"astra"``."""
    store_audio: bool = True
    """Whether uploaded audio is kept in it."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the library lies, in words for people and without secrets."""

    # -- life ------------------------------------------------------------------------------
    def init(self) -> None:
        """Make the schema where it is missing; again without harm."""
        return

    def check_schema(self) -> None:
        """Raise :class:`StorageError` when the schema is missing or of another version."""
        return

    def size(self) -> int | None:
        """Bytes the library takes, or ``None`` where the engine does not tell."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release every connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @abstractmethod
    def batch(self) -> AbstractContextManager[None]:
        """Group writes: all of them last, or none, where the engine has transactions.

        Whether reads inside see the writes of the batch is up to the backend.
        """

    @abstractmethod
    def version(self) -> int:
        """A number that grows whenever tracks, covers or vectors change, in any process."""

    @abstractmethod
    def library_id(self) -> str:
        """A random name given to the library when it was made; no two have the same."""

    # -- rows ------------------------------------------------------------------------------
    @abstractmethod
    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        """Return what is known of the rows of a kind, tombstones included; all, or some keys'."""

    @abstractmethod
    def read_rows(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        """Return the rows that exist, in the order asked for, and no tombstones."""

    @abstractmethod
    def write_rows(self, changes: Sequence[Row]) -> None:
        """Insert or replace rows, or delete those that come as tombstones.

        A row whose content is there already is left alone, its time too. Vectors are checked by
        :func:`check_vectors` first.
        """

    # -- tracks ----------------------------------------------------------------------------
    def put_tracks(self, tracks: Iterable[Track]) -> None:
        """Insert tracks, or replace those with the same ``track_id``."""
        self.write_rows([rows.make(_storable(track)) for track in tracks])

    def get_track(self, track_id: str) -> Track:
        """Return one track; raise :class:`~kindred.errors.TrackNotFound`."""
        found = self.get_tracks([track_id])
        if not found:
            raise TrackNotFound(track_id)
        return found[0]

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        """Return the tracks that exist, in the order asked for."""
        found = (row.record for row in self.read_rows("tracks", track_ids))
        return [record for record in found if isinstance(record, Track)]

    @abstractmethod
    def find_track_by_hash(self, content_hash: str) -> Track | None:
        """Return the track with these bytes, the first by id."""

    @abstractmethod
    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        """Return every track that passes the filter."""

    @abstractmethod
    def count_tracks(self) -> int:
        """Number of tracks."""

    def delete_tracks(self, track_ids: Iterable[str]) -> None:
        """Remove tracks with their covers, vectors and kept audio."""
        wanted = list(track_ids)
        spaces = [space.space_id for space, _ in self.spaces()]
        owned: list[tuple[Kind, list[str]]] = [
            ("audio", self._kept_for(wanted)),
            ("embeddings", [f"{space}/{track_id}" for space in spaces for track_id in wanted]),
            ("covers", wanted),
            ("tracks", wanted),
        ]
        gone = [
            rows.tombstone(kind, key)
            for kind, keys in owned
            for key, entry in self.entries(kind, keys).items()
            if not entry.deleted
        ]
        if gone:
            self.write_rows(gone)

    # -- covers ----------------------------------------------------------------------------
    def put_cover(self, track_id: str, image: bytes, thumbnail: bytes) -> None:
        """Keep a track's cover art as it came, and a small WebP of it."""
        self.write_rows([rows.make(Cover(track_id, image, thumbnail))])

    def get_cover(self, track_id: str) -> bytes | None:
        """Return the cover art as it came."""
        for row in self.read_rows("covers", [track_id]):
            assert isinstance(row.record, Cover)
            return row.record.image
        return None

    @abstractmethod
    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the small WebP pictures of the tracks that have one."""

    # -- embeddings ------------------------------------------------------------------------
    def put_embeddings(self, space: EmbeddingSpace, embeddings: Iterable[Embedding]) -> None:
        """Insert or replace vectors; a wrong shape raises :class:`SpaceMismatch`."""
        self.write_rows([rows.make(TrackVectors(space, item)) for item in embeddings])

    @abstractmethod
    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        """Return the ids that have a vector, in the order asked for, and float32 [n, dims]."""

    @abstractmethod
    def get_segments(self, space: EmbeddingSpace, track_id: str) -> NDArray[np.float32]:
        """Return a track's window vectors, float32 [n, dims] (n is 0 when there is none)."""

    @abstractmethod
    def embedded_hashes(self, space: EmbeddingSpace) -> dict[str, str]:
        """Return ``{track_id: content_hash}`` of what is embedded in the space."""

    @abstractmethod
    def spaces(self) -> list[tuple[EmbeddingSpace, int]]:
        """Return every space that has vectors, by id, and how many tracks it has."""

    @abstractmethod
    def search_embeddings(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        *,
        k: int,
        where: TrackFilter = TrackFilter(),
        exclude: Sequence[str] = (),
    ) -> tuple[list[Hit], str]:
        """Return the k nearest tracks, nearest first, and the name of the index that answered."""

    # -- audio that the store keeps --------------------------------------------------------
    def _kept_for(self, track_ids: Sequence[str]) -> list[str]:
        """Keys of the kept audio of some tracks, where no other track has the same bytes."""
        if not (kept := [key for key, entry in self.entries("audio").items() if not entry.deleted]):
            return []
        hashes = {track.content_hash for track in self.get_tracks(track_ids)}
        return [
            key
            for key in kept
            if (content_hash := key.partition(".")[0]) in hashes
            and (first := self.find_track_by_hash(content_hash)) is not None
            and first.track_id in track_ids
        ]

    def audio_url(self, track_id: str) -> str:
        """Return the URL under which a browser reaches a track's audio."""
        return f"/audio/{quote(track_id, safe='')}"

    # -- documents: settings, runs, judgements ---------------------------------------------
    def put_document(self, document: Document) -> None:
        """Insert or replace a document."""
        self.write_rows([rows.make(document)])

    def append_document(self, document: Document) -> bool:
        """Insert a document unless there is one under its key; return whether it was inserted.

        So an answer that is sent twice counts once and is never overwritten.
        """
        key = rows.identity(document)[1]
        if key in self.entries("documents", [key]):
            return False
        self.put_document(document)
        return True

    def get_document(self, collection: str, key: str) -> Document | None:
        """Return a document, or ``None``."""
        for row in self.read_rows("documents", [f"{collection}/{key}"]):
            assert isinstance(row.record, Document)
            return row.record
        return None

    @abstractmethod
    def list_documents(self, collection: str) -> list[Document]:
        """Return the documents of a collection, by key."""

    def delete_document(self, collection: str, key: str) -> None:
        """Remove a document."""
        self.write_rows([rows.tombstone("documents", f"{collection}/{key}")])

    def get_setting(self, name: str) -> str:
        """Return a setting kept with the library, or an empty string."""
        found = self.get_document("settings", name)
        return str(found.body["value"]) if found else ""

    def put_setting(self, name: str, value: str) -> None:
        """Keep a setting with the library."""
        self.put_document(Document("settings", name, {"value": value}))


class MachineStore(ABC):
    """Keeps what belongs to this machine and is no use on another."""

    home: Path
    """Folder of the library on this machine."""
    audio_folder: Path
    """Where audio that the library keeps lies on this machine."""

    @abstractmethod
    def audio_path(self, track_id: str) -> Path:
        """Return a local file to play; raise :class:`StorageError` when there is none."""

    @abstractmethod
    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        """Copy a file into the store and return its path; the same bytes are kept once."""

    @abstractmethod
    def download_audio(self, track_id: str, target: Path) -> Path:
        """Write a track's audio to ``target``."""

    @abstractmethod
    def delete_audio(self, track_id: str) -> None:
        """Remove a track's audio from the store; files elsewhere are never touched."""

    @abstractmethod
    def add_root(self, path: str) -> None:
        """Remember a folder (or single file) whose audio the library refers to in place."""

    @abstractmethod
    def roots(self) -> list[str]:
        """Return the remembered folders and files."""

    @abstractmethod
    def put_files(self, files: Iterable[FileRecord]) -> None:
        """Record files as read; each path is added to its track and leaves any other."""

    @abstractmethod
    def list_files(self) -> list[FileRecord]:
        """Return every file on record."""

    @abstractmethod
    def delete_files(self, paths: Iterable[str]) -> None:
        """Forget paths; a track may be left without one."""

    @abstractmethod
    def tracks_without_files(self) -> list[str]:
        """Return the tracks that nothing on this machine can play, unless others may."""

    @abstractmethod
    def put_quarantine(self, records: Iterable[QuarantineRecord]) -> None:
        """Record files that cannot be used."""

    @abstractmethod
    def list_quarantine(self) -> list[QuarantineRecord]:
        """Return the quarantined files, by path."""

    @abstractmethod
    def delete_quarantine(self, paths: Iterable[str]) -> None:
        """Take paths out of quarantine."""

    @abstractmethod
    def put_job(self, job: JobRecord) -> None:
        """Insert or replace a job."""

    @abstractmethod
    def get_job(self, job_id: str) -> JobRecord:
        """Return a job; raise :class:`JobError`."""

    @abstractmethod
    def update_job(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Change a job in one transaction and return what it became."""

    @abstractmethod
    def list_jobs(self, *, kind: str | None = None, limit: int = 20) -> list[JobRecord]:
        """Return jobs, newest first."""


@dataclass(frozen=True)
class StorageStatus:
    """How the library can be reached now; ``notice`` is empty while all is well.

    ``waiting`` counts the writes that the store has still to receive.
    """

    online: bool = True
    notice: str = ""
    waiting: int = 0


class StorageBackend(LibraryStore, MachineStore):
    """A library as the rest of Kindred uses it, on this machine."""

    def status(self) -> StorageStatus:
        """Whether the library can be reached and what is missing until then."""
        return StorageStatus()


def check_vectors(changes: Iterable[Row]) -> None:
    """Raise unless vectors have their space's shape and unit length.

    Raises
    ------
    SpaceMismatch
        When a shape is not the space's.
    StorageError
        When a vector has a number that is not finite, or another length than 1.
    """
    for row in changes:
        if not isinstance(row.record, TrackVectors):
            continue
        space, item = row.record.space, row.record.embedding
        if item.vector.shape != (space.dims,) or item.segments.shape[1:] != (space.dims,):
            raise SpaceMismatch(
                f"Track {item.track_id}: vectors of shape {item.vector.shape} and"
                f" {item.segments.shape} do not belong to {space.model} with {space.dims}"
                " dimensions."
            )
        if not abs(float(np.linalg.norm(item.vector.astype(np.float64))) - 1) < 1e-3:
            raise StorageError(
                f"The vector of track {item.track_id} has not unit length. Its audio may be"
                " silent or damaged; it was not stored."
            )


def check_query(space: EmbeddingSpace, query: NDArray[np.float32]) -> None:
    """Raise :class:`SpaceMismatch` unless a query has the space's shape."""
    if query.shape != (space.dims,):
        raise SpaceMismatch(
            f"A query of shape {query.shape} does not belong to {space.model} with"
            f" {space.dims} dimensions."
        )


def _storable(track: Track) -> Track:
    """A track without what some engine cannot hold: NUL and halves of characters."""
    changes: dict[str, Any] = {
        name: clean
        for name, value in vars(track).items()
        if isinstance(value, str) and (clean := _clean(value)) != value
    }
    extra = {_clean(name): _clean(value) for name, value in track.extra.items()}
    return replace(track, **changes, extra=extra) if changes or extra != track.extra else track


def _clean(text: str) -> str:
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
