"""What a listener's page sends, bounded while it is read, and how often it may send."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import anyio
from starlette.requests import ClientDisconnect, Request

from kindred.api.errors import Refusal

MAX_BYTES = 64 << 10
#: A page that sends nothing for so many seconds is given up.
IDLE_SECONDS = 20.0
#: Digits of a whole number; no count or time has more.
_DIGITS = 15


async def received(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises
    ------
    Refusal
        413 when it is larger than 64 KiB, 415 when it is not called JSON, 422 when it is no object
        of JSON, 400 when it does not come whole, 408 when it stops coming.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "not-json", "Send JSON, as application/json.")
    body, stream = bytearray(), request.stream()
    try:
        while True:
            with anyio.fail_after(IDLE_SECONDS):
                chunk = await anext(stream, None)
            if chunk is None:
                break
            body += chunk
            if len(body) > MAX_BYTES:
                raise Refusal(413, "too-large", f"That is more than {MAX_BYTES >> 10} KiB.")
    except TimeoutError as error:
        raise Refusal(408, "timeout", "The rest did not come. Send it again.") from error
    except ClientDisconnect as error:
        raise Refusal(400, "aborted", "It did not come whole.") from error
    try:
        found = json.loads(body, parse_constant=_refuse, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, "not-json", "This is no JSON.") from error
    if not isinstance(found, dict):
        raise Refusal(422, "not-json", "Send an object of JSON.")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("this number is too large")
    return int(digits)


class Pace:
    """How many requests one link may make in a while; a sitting needs far fewer."""

    def __init__(
        self, limit: int = 300, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._while, self._made = 0, Counter[str]()

    def check(self, token: str) -> None:
        """Count a request; raises :class:`Refusal` (429) when there were too many."""
        now = int(self._clock() / self.seconds)
        if now != self._while:
            self._while, self._made = now, Counter()
        self._made[token[:200]] += 1
        if self._made[token[:200]] > self.limit:
            headers = {"Retry-After": str(int(self.seconds))}
            raise Refusal(429, "too-fast", "That is too fast. Wait a moment.", headers)
