"""Waiting for a store that does not answer, as only long work can: minutes, until it is awake."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kindred.errors import StorageUnavailable

T = TypeVar("T")
_FIRST, _LONGEST = 0.2, 15.0


@dataclass(frozen=True)
class Patience:
    """Makes calls again while a store cannot be reached; each must be safe to make twice.

    Parameters
    ----------
    seconds : float
        Waited at most for one call; a database that slept takes some minutes to resume.
    cancelled : callable
        Whether somebody asked to stop; then nothing is waited for.
    notice : callable
        Told, in words, what is waited for.
    """

    seconds: float = 600.0
    cancelled: Callable[[], bool] = lambda: False
    notice: Callable[[str], None] = lambda text: None
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, call: Callable[[], T]) -> T:
        """Make a call until it succeeds.

        Raises
        ------
        StorageUnavailable
            What the last attempt raised.
        """
        waited, pause = 0.0, _FIRST
        while True:
            try:
                return call()
            except StorageUnavailable as error:
                wait = max(float(getattr(error, "retry_after", None) or 0.0), pause)
                if self.cancelled() or waited + wait > self.seconds:
                    raise
                self.notice(f"waiting: {error}")
            self.sleep(wait)
            waited, pause = waited + wait, min(2 * pause, _LONGEST)
