"""A double of the Astra DB / HCD Data API (Tables) on loopback, faults included.

::

    with DataApiDouble() as double:
        database = DataAPIClient(environment=Environment.HCD).get_database(
            double.url, token=double.token, keyspace="default_keyspace"
        )
        double.fail("503-resuming", times=2)

astrapy talks to it over real HTTP, at the paths of Astra DB and of self-hosted servers. What is
answered follows the open-source Data API; texts of errors are ours, codes are its own. To try the
app by hand: ``python -m tests.doubles.data_api --port 8181 --latency 0.02``.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any, NamedTuple, cast
from unittest import mock

from tests.doubles.data_api_commands import Database, Knobs
from tests.doubles.data_api_types import Refusal, database_refusal

MAX_BODY_BYTES = 20 * 2**20

#: Errors of the database behind the API: they come as HTTP 200.
SERVER_ERRORS = (
    "UNAVAILABLE_DATABASE",
    "TIMEOUT_READING_DATA",
    "TIMEOUT_WRITING_DATA",
    "FAILED_READ_REQUEST",
    "FAILED_WRITE_REQUEST",
    "FAILED_TO_CONNECT_TO_DATABASE",
)
#: Kinds of fault. ``dropped`` closes the connection before anything is done; ``commit-then-drop``
#: closes it and ``commit-then-timeout`` stays silent after the command was carried out.
FAULTS = (
    "401",
    "413",
    "429",
    "503-resuming",
    "dropped",
    "commit-then-drop",
    "commit-then-timeout",
    "not-json",
    *SERVER_ERRORS,
)
_STATUS: dict[str, tuple[int, dict[str, Any]]] = {
    "401": (401, {"errors": [Refusal("UNAUTHENTICATED_REQUEST", "invalid token").as_error()]}),
    "413": (413, {"message": "Request entity too large"}),
    "429": (429, {"message": "Too many requests"}),
    "503-resuming": (503, {"message": "Resuming your database, please try again shortly."}),
}


class Call(NamedTuple):
    """One request: the rows it sent or got, and the fault it met (or ``""``)."""

    command: str
    table: str
    rows: int
    fault: str


class DataApiDouble(Knobs):
    """The service: start it with ``with`` or :meth:`start`.

    Parameters
    ----------
    token : str
        Accepted in the header ``Token``, beside that of ``username`` and ``password``.
    keyspaces : tuple of str
        Keyspaces that exist from the start.
    port : int
        0 takes a free port; it is kept over :meth:`stop` and :meth:`start`.
    latency : float
        Seconds added to each request.
    **knobs
        See :class:`Knobs`; like ``latency`` they may be changed while running.
    """

    def __init__(
        self,
        *,
        token: str = "AstraCS:double",
        username: str = "cassandra",
        password: str = "cassandra",
        keyspaces: tuple[str, ...] = ("default_keyspace",),
        port: int = 0,
        latency: float = 0.0,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.token, self.username, self.password = token, username, password
        self.latency = latency
        #: Every request so far, in the order of their answers.
        self.log: list[Call] = []
        self._database = Database(keyspaces, self)
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._paused = False
        self._queue: list[tuple[str, str | None]] = []
        self._rates: dict[str, float] = {}
        self._random = random.Random(0)

    @property
    def url(self) -> str:
        """The endpoint to give to a client."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.log)

    def start(self) -> DataApiDouble:
        """Listen; data of an earlier run is still there."""
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, cut every connection and wait for what is under way."""
        if self._server is None or self._thread is None:
            return
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> DataApiDouble:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def fail(self, fault: str, *, times: int = 1, command: str | None = None) -> None:
        """Let the next requests meet a fault; ``command`` spares all others.

        Raises
        ------
        ValueError
            ``fault`` is none of :data:`FAULTS`.
        """
        _check(fault)
        self._queue += [(fault, command)] * times

    def fail_randomly(self, rates: Mapping[str, float], *, seed: int = 0) -> None:
        """Let each request meet each fault with its probability; ``{}`` ends it.

        Raises
        ------
        ValueError
            A fault is none of :data:`FAULTS`.
        """
        for fault in rates:
            _check(fault)
        self._rates, self._random = dict(rates), random.Random(seed)

    def pause(self) -> None:
        """Hibernate: answer 503 to everything, as a free database does."""
        self._paused = True

    def resume(self) -> None:
        """Wake up from :meth:`pause`."""
        self._paused = False

    def handle(self, handler: _Handler) -> None:
        """Answer one request; called by the HTTP server."""
        size = int(handler.headers.get("Content-Length") or 0)
        if size > MAX_BODY_BYTES:
            # Read on, so that the client hears the answer instead of a broken pipe.
            while size > 0 and (part := handler.rfile.read(min(size, 2**20))):
                size -= len(part)
            payload: dict[str, Any] = {}
            too_large = True
        else:
            payload, too_large = _parse(handler.rfile.read(size)), False
        keyspace, table = _place(handler.path)
        command, body = next(iter(payload.items()), ("", {}))
        if self.latency:
            self._stopping.wait(self.latency)
        with self._lock:
            fault = "413" if too_large else self._next_fault(command, handler.headers["Token"])
            answer: dict[str, Any] = {}
            if fault in SERVER_ERRORS:
                answer = {"errors": [database_refusal("on demand", fault).as_error()]}
            elif not fault or fault.startswith("commit-"):
                answer = self._run(keyspace, table, command, body)
            rows = _rows(body) or _rows(answer.get("data") or {})
            self.log.append(Call(command, table, rows, fault))
        if fault in ("dropped", "commit-then-drop", "commit-then-timeout"):
            handler.close_connection = True
            if fault == "commit-then-timeout":
                handler.connection.recv(1)  # until the client gives up, or we are stopped
        elif fault == "not-json":
            handler.answer(200, b"<html>upstream says hello</html>")
        else:
            status, content = _STATUS.get(fault, (200, answer))
            handler.answer(status, json.dumps(content, separators=(",", ":")).encode())

    def _run(self, keyspace: str, table: str, command: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            if not command:
                raise Refusal("REQUEST_NOT_JSON", "no command")
            return self._database.run(keyspace, table, command, body)
        except Refusal as refusal:
            return {"errors": [refusal.as_error()]}

    def _next_fault(self, command: str, token: str | None) -> str:
        if self._paused:
            return "503-resuming"
        for place, (fault, only) in enumerate(self._queue):
            if only in (None, command):
                del self._queue[place]
                return fault
        for fault, rate in self._rates.items():
            if self._random.random() < rate:
                return fault
        pair = (self.username, self.password)
        coded = ":".join(base64.b64encode(part.encode()).decode() for part in pair)
        return "" if token in (self.token, f"Cassandra:{coded}") else "401"


@contextmanager
def astrapy_clients_closed() -> Iterator[None]:
    """Close the HTTP clients that astrapy opens meanwhile, which it has no way to do.

    Sockets left to the garbage collector are warnings, and errors under pytest.
    """
    from astrapy.utils.api_commander import APICommander

    opened = []
    make = APICommander.__init__

    def remember(self: APICommander, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        opened.append(self.client)

    with mock.patch.object(APICommander, "__init__", remember):
        try:
            yield
        finally:
            for client in opened:
                client.close()


class _Server(HTTPServer):
    """Threads that a stop ends: it cuts their connections and joins them."""

    request_queue_size = 128  # astrapy inserts with 20 connections at once

    def __init__(self, address: tuple[str, int], double: DataApiDouble) -> None:
        self.double = double
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        self._open[request] = thread
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except ConnectionError:
            pass  # the client went away, or we were stopped
        finally:
            self.shutdown_request(request)
            self._open.pop(request, None)

    def cut(self) -> None:
        """End every connection and its thread."""
        for connection, thread in list(self._open.items()):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it ended by itself
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        cast(_Server, self.server).double.handle(self)

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _check(fault: str) -> None:
    if fault not in FAULTS:
        raise ValueError(f"{fault!r} is no fault; there are: {', '.join(FAULTS)}")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _rows(sent_or_got: dict[str, Any]) -> int:
    if sent_or_got.get("document"):
        return 1
    return len(sent_or_got.get("documents") or ())


def _place(path: str) -> tuple[str, str]:
    """Keyspace and table of ``/v1/keyspace/table`` or ``/api/json/v1/keyspace/table``."""
    parts = path.strip("/").split("/")
    parts = parts[parts.index("v1") + 1 :] if "v1" in parts[:3] else []
    keyspace, table = [*parts, "", ""][:2]
    return keyspace, table


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to each request")
    chosen = parser.parse_args(arguments)
    # A shell that puts it in the background has it ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with DataApiDouble(port=chosen.port, latency=chosen.latency) as double:
        print(f"{double.url}  keyspace default_keyspace  token {double.token}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
