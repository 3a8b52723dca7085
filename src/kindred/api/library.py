"""The routes' answers from the live library."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kindred
from kindred.api.gallery import Gallery
from kindred.api.listing import Listing, LiveListing
from kindred.embeddings import registry
from kindred.search.query import Clip, SimilarQuery, SimilarResult
from kindred.services import Services
from kindred.storage.records import Track


class LibrarySource:
    """A :class:`~kindred.api.source.Source` over the services."""

    hears = True

    def __init__(self, services: Services) -> None:
        self.services = services
        self.max_upload_bytes = services.settings.max_upload_mb << 20
        self._listing = LiveListing(services.storage)
        self._lock = threading.Lock()
        self._gallery: tuple[tuple[int, str], Gallery] | None = None

    def health(self) -> dict[str, Any]:
        active, storage = self.services.active_encoder(), self.services.storage
        return {
            "status": "ok",
            "version": kindred.__version__,
            "source": "library",
            "tracks": storage.count_tracks(),
            "encoder": active.name,
            "encoder_reason": active.reason,
            "storage": storage.name,
            "notice": storage.status().notice,
        }

    def models(self) -> list[dict[str, Any]]:
        active, settings = self.services.active_encoder().name, self.services.settings
        listed = []
        for info in registry.available():
            status = registry.encoder_status(info.name, settings)
            listed.append(
                {
                    "name": info.name,
                    "title": info.title,
                    "dims": info.dims,
                    "ready": status.ready,
                    "active": info.name == active,
                    "notice": status.notice,
                }
            )
        return listed

    def listing(self) -> Listing:
        return self._listing.now()

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        return self.services.storage.get_tracks(track_ids)

    def cover(self, track_id: str) -> bytes | None:
        self.services.storage.get_track(track_id)
        return self.services.storage.get_cover(track_id)

    def similar(self, query: SimilarQuery) -> SimilarResult:
        return self.services.similar(query)

    def gallery(self) -> Gallery:
        """The active encoder's tracks; read again when the library has changed."""
        storage, space = self.services.storage, self.services.space()
        with self._lock:
            key = (storage.version(), space.space_id)
            if self._gallery is None or self._gallery[0] != key:
                embedded = storage.embedded_hashes(space)
                tracks = [t for t in storage.list_tracks() if t.track_id in embedded]
                ids, vectors = storage.get_embeddings(space, [t.track_id for t in tracks])
                there = set(ids)  # one may have been removed since
                tracks = [track for track in tracks if track.track_id in there]
                self._gallery = key, Gallery(space, tracks, vectors)
            return self._gallery[1]

    def reports(self) -> list[dict[str, Any]]:
        runs = sorted(self.services.evaluations.runs(), key=lambda run: run.run_id, reverse=True)
        facts = ("run_id", "created_at")
        return [
            report | {name: run.body[name] for name in facts}
            for run in runs
            for report in run.body["reports"]
        ]

    def embed(self, path: Path, name: str) -> Clip:
        return self.services.embed_clip(path, name=name)
