"""The listener's surface, mounted at ``/listen``.

::

    GET  /<token>                 the page; the same bytes for everyone
    GET  /static/<file>           its scripts and style
    GET  /<token>/state           where the listener is
    POST /<token>/<step>          consent, sound-check, begin, shown, answer, back
    GET  /<token>/clip/<name>     a clip of the trial that is asked now

Nothing here may tell a listener more than the view of their own sitting: no header comes from a
file, and an error that was not made for listeners is told in words that are always the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kindred.api import logs
from kindred.api.errors import Refusal
from kindred.api.listening.bodies import Pace, received
from kindred.api.middleware import Requests
from kindred.audit.sittings import Given, NoSuchClip, NotThisTrial, Sittings
from kindred.audit.views import View
from kindred.errors import AuditError, InvitationRefused, KindredError

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " media-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
#: What a file would tell: when it was made, and so whether two clips are one.
_OF_FILES = ("last-modified", "etag")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_TYPES |= {".svg": "image/svg+xml"}

Step = Callable[[str, dict[str, Any]], View]
Endpoint = Callable[[Request], Awaitable[Response]]


def listening_app(sittings: Sittings, *, pace: Pace | None = None) -> Starlette:
    """Build the application.

    Parameters
    ----------
    sittings : Sittings
        What listeners may do; its calls are made in threads.
    pace : Pace or None
        How fast one link may be used.
    """
    static = {
        item.name: (item.read_bytes(), _TYPES[f".{item.name.rpartition('.')[2]}"])
        for item in files("kindred.api.listening").joinpath("static").iterdir()
    }
    pace = pace or Pace()

    async def page(request: Request) -> Response:
        content, media_type = static["listen.html"]
        return Response(content, media_type=media_type)

    async def file(request: Request) -> Response:
        if request.path_params["name"] not in static:
            raise HTTPException(404)
        content, media_type = static[request.path_params["name"]]
        return Response(content, media_type=media_type)

    async def state(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(sittings.view, paced(request)))

    async def clip(request: Request) -> Response:
        name = request.path_params["name"]
        path = await run_in_threadpool(sittings.clip, paced(request), name)
        return FileResponse(path, media_type="audio/mpeg")

    def paced(request: Request) -> str:
        token: str = request.path_params["token"]
        pace.check(token)
        return token

    def step(take: Step) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            token = paced(request)
            body = await received(request)
            try:
                return JSONResponse(await run_in_threadpool(take, token, body))
            except InvitationRefused:
                raise
            except NotThisTrial as error:
                return refuse(409, "not-this-trial", str(error), view=error.view)
            except AuditError as error:
                return refuse(422, "not-taken", str(error))

        return endpoint

    routes = [
        Route("/", page),
        Route("/static/{name}", file),
        Route("/{token}", page),
        Route("/{token}/state", state),
        Route("/{token}/clip/{name}", clip),
    ]
    for name, take in _steps(sittings).items():
        routes.append(Route(f"/{{token}}/{name}", step(take), methods=["POST"]))
    app = Starlette(routes=routes, middleware=[Middleware(Plain), Middleware(Requests)])
    app.router.redirect_slashes = False
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(KindredError, _kindred)
    return app


def _steps(sittings: Sittings) -> dict[str, Step]:
    """The last part of an address -> what it does with a body; what a body lacks is ``None``."""

    def consent(token: str, body: dict[str, Any]) -> View:
        device = body.get("device")
        return sittings.consent(token, device if isinstance(device, dict) else {"?": None})

    def sound_check(token: str, body: dict[str, Any]) -> View:
        return sittings.sound_check(token, body.get("volume_ok") is True, body.get("heard") or ())

    def begin(token: str, body: dict[str, Any]) -> View:
        return sittings.begin(token)

    def shown(token: str, body: dict[str, Any]) -> View:
        return sittings.shown(token, str(body.get("trial")))

    def answer(token: str, body: dict[str, Any]) -> View:
        return sittings.answer(token, Given.from_dict(body))

    def back(token: str, body: dict[str, Any]) -> View:
        try:
            return sittings.back(token)
        except InvitationRefused:
            raise
        except AuditError as error:  # the page is behind: it went on in another window
            raise NotThisTrial(sittings.view(token)) from error

    return {
        "consent": consent,
        "sound-check": sound_check,
        "begin": begin,
        "shown": shown,
        "answer": answer,
        "back": back,
    }


class Plain:
    """Middleware: every answer has the same headers, and none that tells of a file."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name in _OF_FILES:
                    if name in headers:
                        del headers[name]
                headers.update(HEADERS)
            await send(message)

        await self.app(scope, receive, plain)


def refuse(
    status: int,
    code: str,
    message: str,
    *,
    view: View | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer to a request that is refused; ``view`` is where the listener is instead."""
    body = {"error": code, "message": message} | ({"view": view} if view else {})
    return JSONResponse(body, status, headers)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refuse(error.status, error.kind, str(error), headers=error.headers)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "not-found" if error.status_code == 404 else "not-allowed"
    return refuse(error.status_code, code, "There is nothing here.", headers=error.headers)


async def _kindred(request: Request, error: Exception) -> Response:
    if isinstance(error, InvitationRefused):
        return refuse(403, error.code, str(error))
    if isinstance(error, NoSuchClip):
        return refuse(404, "not-found", "There is nothing here.")
    # Its words are for who runs this: they may name a track or a folder.
    fields = {"request_id": request.scope["state"]["request_id"], "error": str(error)}
    logs.requests.warning("refused", extra={"fields": fields})
    message = "That does not work at the moment. Nothing is lost; try again a little later."
    return refuse(503, "unavailable", message)
