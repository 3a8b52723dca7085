"""Work shared out to processes of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import TypeVar

from kindred.errors import KindredError

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks at whether to stop.
_LOOK = 0.3


def shared_out(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[T, R]]:
    """Do work on items side by side, and yield each item with its result as it is done.

    The processes end when the generator is closed, when this process dies and when it is
    cancelled, at once and in the middle of an item: the work must bear being killed.

    Parameters
    ----------
    work : callable
        A function of a module, as it is looked up by name in processes that begin from nothing.
    items : iterable
    workers : int, optional
        Processes; by default one a core, at most 8. One works in this process.
    cancelled : callable
        When it says so nothing more is yielded; ask it again afterwards.
    tick : callable
        Called a few times a second while nothing is done; what it raises ends the work.

    Raises
    ------
    KindredError
        When a process was killed by somebody else.
    """
    items = list(items)
    workers = min(workers or min(8, os.cpu_count() or 1), len(items))
    if workers <= 1:
        for item in items:
            if cancelled():
                return
            yield item, work(item)
        return
    # Spawned, not forked: the caller may run threads.
    context = get_context("spawn")
    told, here = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(told,))
    try:
        futures: dict[Future[R], T] = {pool.submit(work, item): item for item in items}
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if cancelled():
                return
            tick()
            for future in done:
                yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise KindredError(
            "A process that did part of the work was killed, perhaps for want of memory. Start"
            " again: it goes on where it stopped."
        ) from error
    finally:
        here.close()
        pool.shutdown(cancel_futures=True)
        told.close()


def _begin(told: Connection) -> None:
    """Leave Ctrl-C to the parent, and end when it closes its end of the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(told,), daemon=True).start()


def _end_with(told: Connection) -> None:
    told.poll(None)
    os._exit(1)
