"""The HTTP API under ``/api`` and the audio under ``/audio``.

Audio is named by track, never by path: only a file that the library holds for that track, and that
lies in the library or in a folder that was ingested, is ever opened. Ranges are answered with 206.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

import kindred
from kindred.audio.playable import playable
from kindred.embeddings import registry
from kindred.errors import AudioError, KindredError, QueryError, StorageError, TrackNotFound
from kindred.search.query import MAX_K, SimilarQuery
from kindred.services import Services
from kindred.storage.records import Track

TrackId = Annotated[str, Path(max_length=200)]


def track_dict(track: Track) -> dict[str, Any]:
    """A track as the API and `kindred tracks --json` give it."""
    return {
        "track_id": track.track_id,
        "title": track.title,
        "composer": track.composer,
        "album": track.album,
        "artist": track.artist,
        "path": track.path,
        "duration": track.duration,
    }


def create_api(services: Services) -> FastAPI:
    """Build the FastAPI application that is mounted at ``/api``."""
    api = FastAPI(title="Kindred", version=kindred.__version__)

    @api.exception_handler(KindredError)
    async def _refused(request: Request, error: Exception) -> JSONResponse:
        status = 404 if isinstance(error, TrackNotFound) else 400
        if isinstance(error, StorageError):
            status = 503
        body = {"error": {"type": type(error).__name__, "message": str(error)}}
        return JSONResponse(body, status_code=status)

    @api.get("/health")
    def health() -> dict[str, Any]:
        """Whether the library opens, how many tracks it has and which encoder is in use."""
        active = services.active_encoder()
        return {
            "status": "ok",
            "version": kindred.__version__,
            "tracks": services.storage.count_tracks(),
            "encoder": active.name,
            "encoder_reason": active.reason,
            "storage": services.storage.name,
        }

    @api.get("/models")
    def models() -> dict[str, Any]:
        """The encoders there are and whether each can be used now."""
        listed = []
        for info in registry.available():
            status = registry.encoder_status(info.name, services.settings)
            listed.append(
                {"name": info.name, "title": info.title, "dims": info.dims, "ready": status.ready}
            )
        return {"models": listed}

    @api.get("/tracks")
    def tracks(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, Any]:
        """The tracks, by id."""
        found = services.storage.list_tracks()
        page = found[offset : offset + limit]
        return {"total": len(found), "tracks": [track_dict(track) for track in page]}

    @api.get("/tracks/{track_id}")
    def track(track_id: TrackId) -> dict[str, Any]:
        """One track."""
        return track_dict(services.storage.get_track(track_id))

    @api.get("/tracks/{track_id}/nearest")
    def nearest(track_id: TrackId, k: Annotated[int, Query(ge=1, le=MAX_K)] = 10) -> dict[str, Any]:
        """The tracks that sound most like one."""
        return services.similar(SimilarQuery(plus=(track_id,), k=k)).to_dict()

    @api.get("/tracks/{track_id}/cover")
    def cover(track_id: TrackId) -> Response:
        """The track's cover art as it came."""
        image = services.storage.get_cover(track_id)
        if image is None:
            raise HTTPException(404, "This track has no cover art.")
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        return Response(image, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    return api


def audio_route(services: Services) -> Route:
    """Build the route ``/audio/{track_id}``."""

    def find(track_id: str) -> tuple[str, str]:
        track = services.storage.get_track(track_id)
        path, media_type = playable(
            services.storage.audio_path(track_id),
            format=track.format,
            content_hash=track.content_hash,
            cache=services.settings.library / "playable",
        )
        return str(path), media_type

    async def audio(request: Request) -> Response:
        try:
            path, media_type = await run_in_threadpool(find, request.path_params["track_id"])
        except (QueryError, TrackNotFound, StorageError, AudioError) as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=404)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
        return FileResponse(path, media_type=media_type, headers=headers)

    endpoint: Callable[[Request], Awaitable[Response]] = audio
    return Route("/audio/{track_id}", endpoint, methods=["GET", "HEAD"])
