"""What happens to every request: it gets an id, its address is read, it is logged.

The id comes from the header ``X-Request-ID`` where that is a plain word of up to 64 characters, and
is made up otherwise; the response and any error carry it.

Servers decode a path before routes see it, which makes ``/tracks/a%2Fb`` and ``/tracks/a/b`` one.
Here the segments stay encoded, each in one way, and a route's ``track_id`` is decoded at the end.
"""

from __future__ import annotations

import re
import time
import uuid
from urllib.parse import quote, unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kindred.api import logs
from kindred.api.errors import refuse

HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Requests:
    """Middleware; a request that has passed one of its kind keeps its id and is logged once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif "request_id" in scope.setdefault("state", {}):
            await self._answer(scope, receive, send)
        else:
            scope["state"]["request_id"] = _request_id(Headers(scope=scope))
            scope["path"] = _path(scope)
            await self._log(scope, receive, send)

    async def _log(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = scope["state"]["request_id"]
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._answer(scope, receive, named)
        finally:
            fields = {
                "request_id": scope["state"]["request_id"],
                "method": scope["method"],
                "path": _template(scope),
                "status": status,
                "ms": round(1_000 * (time.perf_counter() - started), 2),
                "client": (scope.get("client") or ("",))[0],
            }
            logs.requests.info("request", extra={"fields": fields})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer; what it did not expect is a 500 and goes into the log."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:  # noqa: BLE001
            request_id = scope["state"]["request_id"]
            logs.requests.exception("unexpected", extra={"fields": {"request_id": request_id}})
            if not begun:
                message = f"Something went wrong here. The log tells more under {request_id}."
                response = refuse(scope, 500, "InternalError", message)
                await response(scope, receive, send)


def _request_id(headers: Headers) -> str:
    given = headers.get(HEADER, "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _path(scope: Scope) -> str:
    """The path with all but letters, digits and ``_.-~`` encoded."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    segments = raw.partition(b"?")[0].split(b"/")
    return "/".join(quote(unquote_to_bytes(segment), safe="") for segment in segments)


def _template(scope: Scope) -> str:
    """The route's address, such as ``/api/tracks/{track_id}``; empty where there is none."""
    route = scope.get("route")
    return f"{scope.get('root_path', '')}{route.path}" if isinstance(route, Route) else ""
