"""Work by several threads that is counted in bytes, reported, and stopped when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

THREADS = 8

T = TypeVar("T")


class Cancelled(Exception):
    """The work was asked to stop; what was done so far is kept."""


class Meter:
    """Counts what several threads do.

    Parameters
    ----------
    total : int
        Bytes in all.
    progress : callable, optional
        Called with (bytes done, bytes in all, name of the file), by one thread at a time.
    cancelled : callable
        Asked after every piece.
    """

    def __init__(
        self,
        total: int,
        progress: Callable[[int, int, str], None] | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self.done, self.total = 0, total
        self._progress, self._cancelled = progress, cancelled
        self._lock, self._stopped = threading.Lock(), False

    def add(self, size: int, name: str) -> None:
        """Count bytes; raises :class:`Cancelled` when the work is to stop."""
        with self._lock:
            self.done += size
            if self._stopped:
                raise Cancelled
            if self._progress:
                self._progress(self.done, self.total, name)
            if self._cancelled():
                self._stopped = True
                raise Cancelled

    def in_threads(self, tasks: Iterable[Callable[[], T]]) -> list[T]:
        """Run tasks, several at once, and return what they give in the order they end.

        The first error, or Ctrl-C, stops the others at their next piece.
        """

        def run(task: Callable[[], T]) -> T:
            if self._stopped:
                raise Cancelled
            return task()

        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(run, task) for task in tasks]
            try:
                return [future.result() for future in as_completed(futures)]
            except BaseException:
                self._stopped = True
                pool.shutdown(cancel_futures=True)
                raise
