"""Work that a thread does beside, only while there is some."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Errand:
    """A daemon thread that runs while there is something to do.

    Parameters
    ----------
    work : callable
        Does what there is; returns the seconds after which to look again, or ``None`` when there is
        nothing more.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self.name, self._work = name, work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = False
        self._stop = threading.Event()

    def start(self) -> None:
        """See that somebody looks."""
        with self._lock:
            self._asked = True
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._asked = False
            pause: float | None = None
            try:
                pause = self._work()
            except Exception:
                if not self._stop.is_set():
                    logger.exception("%s", self.name)
            with self._lock:
                if pause is None and not self._asked:
                    self._thread = None
                    return
            if self._stop.wait(pause or 0.0):
                return

    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    def stop(self, wait: float) -> None:
        """End it, after at most so many seconds."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(wait)
