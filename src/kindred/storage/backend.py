"""The storage port. One contract suite (``tests/contracts``) runs on every backend.

Writing the same thing twice changes nothing. Similarity is cosine in [-1, 1], higher is nearer;
ties order by ``track_id``. Lists of tracks order by ``track_id`` unless said otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.records import (
    Embedding,
    FileRecord,
    Hit,
    JobRecord,
    QuarantineRecord,
    Track,
    TrackFilter,
)


class StorageBackend(ABC):
    """Keeps tracks, vectors, audio, seen files, quarantine and jobs."""

    name: str

    # -- life ------------------------------------------------------------------------------
    @abstractmethod
    def close(self) -> None:
        """Release every connection."""

    @abstractmethod
    def batch(self) -> AbstractContextManager[None]:
        """Group writes: all of them last, or none, where the engine has transactions."""

    @abstractmethod
    def version(self) -> int:
        """A number that grows whenever tracks or vectors change, in any process."""

    # -- tracks ----------------------------------------------------------------------------
    @abstractmethod
    def put_tracks(self, tracks: Iterable[Track]) -> None:
        """Insert tracks, or replace those with the same ``track_id``."""

    @abstractmethod
    def get_track(self, track_id: str) -> Track:
        """Return one track; raise :class:`~kindred.errors.TrackNotFound`."""

    @abstractmethod
    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        """Return the tracks that exist, in the order asked for."""

    @abstractmethod
    def find_track_by_hash(self, content_hash: str) -> Track | None:
        """Return the track with these bytes."""

    @abstractmethod
    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        """Return every track that passes the filter."""

    @abstractmethod
    def count_tracks(self) -> int:
        """Number of tracks."""

    @abstractmethod
    def delete_tracks(self, track_ids: Iterable[str]) -> None:
        """Remove tracks with their vectors, file records and stored audio."""

    # -- covers ----------------------------------------------------------------------------
    @abstractmethod
    def put_cover(self, track_id: str, image: bytes, thumbnail: bytes) -> None:
        """Keep a track's cover art as it came, and a small WebP of it."""

    @abstractmethod
    def get_cover(self, track_id: str) -> bytes | None:
        """Return the cover art as it came."""

    @abstractmethod
    def get_thumbnails(self, track_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the small WebP pictures of the tracks that have one."""

    # -- embeddings ------------------------------------------------------------------------
    @abstractmethod
    def put_embeddings(self, space: EmbeddingSpace, embeddings: Iterable[Embedding]) -> None:
        """Insert or replace vectors; a wrong shape raises :class:`SpaceMismatch`."""

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
        """Return every space that has vectors, and how many tracks it has."""

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

    # -- audio -----------------------------------------------------------------------------
    @abstractmethod
    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        """Copy a file into the store and return its key; the same bytes are kept once."""

    @abstractmethod
    def download_audio(self, track_id: str, target: Path) -> Path:
        """Write a track's audio to ``target``."""

    @abstractmethod
    def audio_path(self, track_id: str) -> Path:
        """Return a local file to play; raise :class:`StorageError` when there is none."""

    @abstractmethod
    def audio_url(self, track_id: str) -> str:
        """Return the URL under which a browser reaches a track's audio."""

    @abstractmethod
    def delete_audio(self, track_id: str) -> None:
        """Remove a track's audio from the store; files elsewhere are never touched."""

    # -- folders and files that were seen --------------------------------------------------
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
    def put_quarantine(self, records: Iterable[QuarantineRecord]) -> None:
        """Record files that cannot be used."""

    @abstractmethod
    def list_quarantine(self) -> list[QuarantineRecord]:
        """Return the quarantined files, by path."""

    @abstractmethod
    def delete_quarantine(self, paths: Iterable[str]) -> None:
        """Take paths out of quarantine."""

    # -- settings of the library -----------------------------------------------------------
    @abstractmethod
    def get_setting(self, name: str) -> str:
        """Return a setting kept with the library, or an empty string."""

    @abstractmethod
    def put_setting(self, name: str, value: str) -> None:
        """Keep a setting with the library."""

    # -- jobs ------------------------------------------------------------------------------
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
