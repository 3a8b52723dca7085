"""The routes' answers from an artifact alone: no library, no audio, no model.

Vectors stay mapped from their file, the table of tracks is read once. An artifact that is replaced
on disk is seen by the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import kindred
from kindred.api.gallery import Gallery
from kindred.api.listing import Listing
from kindred.artifacts.read import Artifact
from kindred.embeddings import registry
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError
from kindred.search.query import Clip, Search, SimilarQuery, SimilarResult
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Hit, Track, TrackFilter
from kindred.storage.vectors import top_rows

_MODEL = "An artifact is served, which has no model that could hear audio."


class ArtifactSource:
    """A :class:`~kindred.api.source.Source` over an artifact.

    Raises
    ------
    ArtifactError
        When the artifact's table is damaged.
    """

    hears = False
    max_upload_bytes = 0

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._listing = Listing.of(artifact.tracks)  # reads the table, and fails here if it must
        # The vectors answer all that a search asks of a store, so the search is the library's own.
        store = cast(StorageBackend, _Store(artifact))
        self._search = Search(store, descriptors=artifact.space, reasons=lambda query, row: {})

    def health(self) -> dict[str, Any]:
        manifest = self.artifact.manifest
        return {
            "status": "ok",
            "version": kindred.__version__,
            "source": "artifact",
            "tracks": len(self.artifact.track_ids),
            "encoder": manifest.space.model,
            "encoder_reason": f"the artifact's, made {manifest.created_at}",
            "storage": "artifact",
            "notice": "",
        }

    def models(self) -> list[dict[str, Any]]:
        space = self.artifact.space
        titles = {info.name: info.title for info in registry.available()}
        model = {
            "name": space.model,
            "title": titles.get(space.model, space.model),
            "dims": space.dims,
            "ready": False,
            "active": True,
            "notice": _MODEL,
        }
        return [model]

    def listing(self) -> Listing:
        return self._listing

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        tracks, rows = self.artifact.tracks, self.artifact.rows
        return [tracks[rows[track_id]] for track_id in track_ids if track_id in rows]

    def cover(self, track_id: str) -> bytes | None:
        self.artifact.track(track_id)
        return None

    def similar(self, query: SimilarQuery) -> SimilarResult:
        return self._search.similar(query, self.artifact.space)

    def gallery(self) -> Gallery:
        return self._gallery

    @cached_property
    def _gallery(self) -> Gallery:
        return Gallery(self.artifact.space, self.artifact.tracks, self.artifact.vectors)

    def reports(self) -> list[dict[str, Any]]:
        found = self.artifact.evaluation
        return [] if found is None else [found]

    def embed(self, path: Path, name: str) -> Clip:
        raise EncoderError(_MODEL)


class _Store:
    """What :class:`~kindred.search.query.Search` asks of a store."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._mask = lru_cache(maxsize=64)(self._accepted)

    def get_track(self, track_id: str) -> Track:
        return self.artifact.track(track_id)

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        return [self.artifact.track(track_id) for track_id in track_ids]

    def get_embeddings(
        self, space: EmbeddingSpace, track_ids: Sequence[str]
    ) -> tuple[list[str], NDArray[np.float32]]:
        rows = [self.artifact.rows[track_id] for track_id in track_ids]
        return list(track_ids), self.artifact.vectors[rows].reshape(-1, space.dims)

    def search_embeddings(
        self,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        *,
        k: int,
        where: TrackFilter,
        exclude: Sequence[str],
    ) -> tuple[list[Hit], str]:
        allowed = self._mask(where).copy()
        allowed[[self.artifact.rows[track_id] for track_id in exclude]] = False
        rows, scores = top_rows(self.artifact.vectors, query, k, allowed=allowed)
        ids = self.artifact.track_ids
        return [Hit(ids[row], float(at)) for row, at in zip(rows, scores, strict=True)], "exact"

    def _accepted(self, where: TrackFilter) -> NDArray[np.bool_]:
        """Rows that pass a filter; those of some filters are remembered."""
        if where.is_empty:
            return np.ones(len(self.artifact.track_ids), np.bool_)
        return np.array([where.accepts(track) for track in self.artifact.tracks], np.bool_)
