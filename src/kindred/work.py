"""What long work shares: how it tells how far it is, and what its results are called."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

#: Called with how much is done, of how much, and words.
Progress = Callable[[int, int, str], None]


def within(progress: Progress | None, low: int, high: int, words: str = "") -> Progress:
    """Progress of a part that takes ``low`` to ``high`` per cent of the whole.

    With ``words`` it is told at once that the part begins.
    """

    def report(done: int, total: int, words: str) -> None:
        if progress:
            progress(round(low + (high - low) * done / max(total, 1)), 100, words)

    if words:
        report(0, 1, words)
    return report


def new_id(now: datetime) -> str:
    """A name that sorts by time, to the millisecond, and that nothing else made then has."""
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{uuid.uuid4().hex[:4]}"
