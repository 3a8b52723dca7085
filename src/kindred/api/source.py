"""The port between the routes and what answers them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from kindred.api.gallery import Gallery
from kindred.api.listing import Listing
from kindred.search.query import Clip, SimilarQuery, SimilarResult
from kindred.storage.records import Track


class Source(Protocol):
    """Answers for the routes; safe to share between threads.

    Attributes
    ----------
    hears : bool
        Whether it has a model that embeds audio.
    max_upload_bytes : int
        Largest audio taken.
    """

    hears: bool
    max_upload_bytes: int

    def health(self) -> dict[str, Any]:
        """See :class:`~kindred.api.models.Health`."""

    def models(self) -> list[dict[str, Any]]:
        """See :class:`~kindred.api.models.Model`."""

    def listing(self) -> Listing:
        """The tracks as they are now."""

    def get_tracks(self, track_ids: Sequence[str]) -> list[Track]:
        """Those that exist, in the order asked for."""

    def cover(self, track_id: str) -> bytes | None:
        """A track's cover art; raises :class:`~kindred.errors.TrackNotFound`."""

    def similar(self, query: SimilarQuery) -> SimilarResult:
        """Answer a query."""

    def gallery(self) -> Gallery:
        """The tracks with a vector, and who wrote them."""

    def reports(self) -> list[dict[str, Any]]:
        """Evaluations of retrieval with their run's id and time, newest first."""

    def embed(self, path: Path, name: str) -> Clip:
        """Embed audio."""
