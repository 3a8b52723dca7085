"""Cutting a stream of samples into fixed windows.

Windows start every ``hop`` samples from the first one on, so that the same audio always gives the
same windows. A last window that is not full is completed by repeating what it has; it is left out
when it holds less than a tenth of a window and is not the only one, because a second of music
repeated ten times says more about the cut than about the track.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

#: Smallest share of a window that is worth a vector of its own.
MIN_TAIL = 0.1


def iter_windows(
    blocks: Iterable[NDArray[np.float32]], *, window: int, hop: int, batch: int
) -> Iterator[NDArray[np.float32]]:
    """Cut a stream of mono blocks into batches of windows, holding one batch at a time.

    Parameters
    ----------
    blocks : iterable of float32 [m]
        Consecutive samples, in blocks of any length.
    window, hop : int
        Samples in a window and between the starts of two windows.
    batch : int
        Most windows yielded at once.

    Yields
    ------
    float32 [n, window]
        ``1 <= n <= batch``; only the last batch may be smaller.

    Raises
    ------
    ValueError
        When ``window``, ``hop`` or ``batch`` is not positive.
    """
    if window < 1 or hop < 1 or batch < 1:
        raise ValueError(f"window, hop and batch must be positive, got {window}, {hop}, {batch}")
    pending: list[NDArray[np.float32]] = []
    buffer = np.zeros(0, np.float32)
    skip = 0  # samples still to drop before the next window starts (hop > window)
    any_window = False
    for block in blocks:
        buffer = np.concatenate((buffer, block))  # a copy: the reader may reuse its block
        start = skip
        while start + window <= buffer.size:
            pending.append(buffer[start : start + window])
            any_window = True
            start += hop
            if len(pending) == batch:
                yield np.stack(pending)
                pending = []
        skip = max(0, start - buffer.size)
        buffer = buffer[min(start, buffer.size) :]
    fresh = buffer.size - max(0, window - hop) if any_window else buffer.size
    if buffer.size and (not any_window or fresh >= MIN_TAIL * window):
        pending.append(np.resize(buffer, window))
    if pending:
        yield np.stack(pending)
