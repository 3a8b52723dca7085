"""The HTTP API under ``/api``, the audio under ``/audio`` and small covers under ``/thumbnail``.

Audio is named by track, never by path: only a file that the library holds for that track, and that
lies in the library or in a folder that was ingested, is ever opened. Ranges are answered with 206.
Audio and thumbnails belong to the pages and, like them, ask for no key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Mount, Route

import kindred
from kindred.api import errors
from kindred.api.access import Access
from kindred.api.library import LibrarySource
from kindred.api.middleware import Requests
from kindred.api.models import track_dict
from kindred.api.routes import build_routes
from kindred.api.source import Source
from kindred.audio.playable import playable
from kindred.errors import AudioError, QueryError, StorageError, TrackNotFound
from kindred.services import Services

__all__ = ["audio_route", "create_api", "standalone", "thumbnail_route", "track_dict"]


def create_api(source: Source | Services, access: Access = Access()) -> FastAPI:
    """Build the application that is mounted at ``/api``.

    Parameters
    ----------
    source : Source or Services
        What answers; services stand for the live library.
    access : Access
        Who may ask; everybody by default.
    """
    api = FastAPI(
        title="Kindred",
        version=kindred.__version__,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(api)
    api.add_middleware(Requests)
    if isinstance(source, Services):
        source = LibrarySource(source)
    api.include_router(build_routes(source, access))
    return api


def standalone(api: FastAPI) -> Starlette:
    """The API alone, at ``/api``, as `kindred api` serves it."""
    app = Starlette(routes=[Mount("/api", api)], middleware=[Middleware(Requests)])
    errors.install(app)
    return app


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
    # An id may hold a slash, which servers have decoded by now.
    return Route("/audio/{track_id:path}", endpoint, methods=["GET", "HEAD"])


def clip_route(services: Services) -> Route:
    """Build the route ``/clips/{clip_id}``: the sound of clips rendered for expressive tests."""

    async def clip(request: Request) -> Response:
        try:
            path = services.expressive.clip_path(request.path_params["clip_id"])
        except TrackNotFound as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=404)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
        return FileResponse(path, media_type="audio/flac", headers=headers)

    endpoint: Callable[[Request], Awaitable[Response]] = clip
    return Route("/clips/{clip_id}", endpoint, methods=["GET", "HEAD"])


def thumbnail_route(services: Services) -> Route:
    """Build the route ``/thumbnail/{track_id}``: the small WebP of a cover, or 404."""

    async def thumbnail(request: Request) -> Response:
        track_id = request.path_params["track_id"]
        try:
            found = await run_in_threadpool(services.storage.get_thumbnails, [track_id])
        except (QueryError, StorageError) as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=404)
        if track_id not in found:
            return Response(status_code=404)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
        return Response(found[track_id], media_type="image/webp", headers=headers)

    return Route("/thumbnail/{track_id:path}", thumbnail, methods=["GET", "HEAD"])
