"""The listeners' surface in a process of its own, or beside the pages."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from kindred.api import logs
from kindred.api.listening.app import HEADERS, listening_app, refuse
from kindred.audit.sittings import Sittings
from kindred.errors import KindredError

_UNAVAILABLE = "That does not work at the moment. Nothing is lost; try again a little later."


class Lazily:
    """The surface, built when the first listener comes: a library without audits gets no files.

    Parameters
    ----------
    sittings : callable
        Makes what listeners may do; called in a thread, once.
    """

    def __init__(self, sittings: Callable[[], Sittings]) -> None:
        self.sittings = sittings
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is None:
            try:
                self.app = listening_app(await run_in_threadpool(self.sittings))
            except KindredError as error:
                logs.requests.warning("refused", extra={"fields": {"error": str(error)}})
                answer = refuse(503, "unavailable", _UNAVAILABLE, headers=HEADERS)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


def standalone(sittings: Sittings) -> Starlette:
    """``/listen`` and nothing else, as `kindred audit serve` serves it."""
    return Starlette(routes=[Mount("/listen", listening_app(sittings))])


def serve(sittings: Sittings, *, host: str, port: int) -> None:
    """Serve the sittings alone until interrupted.

    Raises
    ------
    ConfigError
        When the address is taken.
    """
    import uvicorn

    from kindred.api.serving import check_address

    check_address(host, port)
    uvicorn.run(
        standalone(sittings),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
