"""Asking an application by its messages, where a client would be too polite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Answer(NamedTuple):
    """What came back, and how many messages of the body were taken."""

    status: int
    headers: dict[str, str]
    body: bytes
    taken: int

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


def request(
    app: ASGIApp,
    body: AsyncIterator[Message],
    *,
    path: str = "/api/embed",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request whose body comes as messages."""
    sent: list[Message] = []
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return await anext(body)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], found, whole, taken)


async def chunks(*parts: bytes, end: Message | None = None) -> AsyncIterator[Message]:
    """A body in parts, then its end: by default, that there is no more."""
    for part in parts:
        yield {"type": "http.request", "body": part, "more_body": True}
    yield end or {"type": "http.request", "body": b"", "more_body": False}


async def silence(*parts: bytes) -> AsyncIterator[Message]:
    """Some parts of a body, and then nothing ever."""
    for part in parts:
        yield {"type": "http.request", "body": part, "more_body": True}
    await asyncio.Event().wait()
