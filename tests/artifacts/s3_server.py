"""An S3 store on this machine: moto's, spoken to over HTTP, with faults on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import moto.backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class Request(NamedTuple):
    """What was asked for; ``range`` is the header's text."""

    method: str
    path: str
    query: str
    range: str

    @property
    def key(self) -> str:
        """The object's key."""
        return self.path.lstrip("/").partition("/")[2]


#: What to do with a request: nothing (None), ``"drop"`` the connection, ``"deny"`` it, or cut the
#: answer's body after a number of bytes.
Fault = Callable[[Request], str | int | None]

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"


class S3Server:
    """Listens on a free port of the loopback.

    Moto stores for the whole process, so a server starts empty unless it is to ``keep`` what the
    one before it held.
    """

    def __init__(self, *, keep: bool = False) -> None:
        if not keep:
            moto.backends.get_backend("s3").reset()
        self.requests: list[Request] = []
        self.fault: Fault = lambda request: None
        self._running = True
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=MotoRequestHandler
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._running

    def stop(self) -> None:
        """Stop listening; connections are refused from now on."""
        if self._running:
            self._running = False
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def seen(self, method: str, word: str = "") -> list[Request]:
        """Requests of a kind whose path or query holds a word."""
        return [
            request
            for request in self.requests
            if request.method == method and word in f"{request.path}?{request.query}"
        ]

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ["QUERY_STRING"],
            environ.get("HTTP_RANGE", ""),
        )
        self.requests.append(request)
        fault = self.fault(request) if self._running else "drop"  # kept-alive connections end too
        if fault == "drop":
            _hang_up(environ)
        if fault == "deny":
            start("403 Forbidden", [("Content-Length", str(len(_DENIED)))])
            return [_DENIED]
        body = self._moto(environ, start)
        return body if fault is None else _cut(body, int(fault), environ)


def _cut(body: Iterable[bytes], size: int, environ: dict[str, Any]) -> Iterator[bytes]:
    for part in body:
        yield part[:size]
        size -= len(part)
        if size <= 0:
            _hang_up(environ)


def _hang_up(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError
