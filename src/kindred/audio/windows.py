"""Cutting a stream of samples into fixed windows.

Windows start every ``hop`` samples from the first one on, so that the same audio always gives the
same windows. A last window that is not full is completed by repeating what it has; it is left out
when it holds less than a tenth of a window and is not the only one, because a second of music
repeated ten times says more about the cut than about the track.

:func:`spread_windows` keeps a fixed number of those windows, evenly spaced over the track, and
:func:`placed_windows` says where they start.
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


def spread_windows(
    blocks: Iterable[NDArray[np.float32]], *, window: int, hop: int, count: int
) -> NDArray[np.float32]:
    """Choose ``count`` of the windows of :func:`iter_windows`, evenly spaced over the stream.

    The stream is read once and its length need not be known: every window is kept until there are
    more than ``4 * count``, then every second one, and so on. Which windows are chosen depends on
    how many there are and on nothing else. A chosen window lies at most a quarter of the spacing
    from its exact place, beyond what the grid of windows allows.

    Parameters
    ----------
    blocks : iterable of float32 [m]
        Consecutive samples, in blocks of any length.
    window, hop : int
        Samples in a window and between the starts of two windows.
    count : int
        Windows wanted; memory is bounded by four times as many.

    Returns
    -------
    float32 [n, window]
        In order; ``n == count`` unless the stream has fewer windows, then all of them.

    Raises
    ------
    ValueError
        When ``window``, ``hop`` or ``count`` is not positive.
    """
    return placed_windows(blocks, window=window, hop=hop, count=count)[1]


def placed_windows(
    blocks: Iterable[NDArray[np.float32]], *, window: int, hop: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The windows of :func:`spread_windows`, and before them the sample where each starts.

    Returns
    -------
    int64 [n], float32 [n, window]
    """
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    kept: list[tuple[int, NDArray[np.float32]]] = []
    stride = 1
    for index, windows in enumerate(iter_windows(blocks, window=window, hop=hop, batch=1)):
        if index % stride:
            continue
        kept.append((index * hop, windows[0]))
        if len(kept) > 4 * count:
            kept, stride = kept[::2], 2 * stride
    if len(kept) > count:
        # The middles of `count` equal shares, so that neither end of the track weighs more.
        kept = [kept[(2 * share + 1) * len(kept) // (2 * count)] for share in range(count)]
    if not kept:
        return np.zeros(0, np.int64), np.zeros((0, window), np.float32)
    return np.array([start for start, _ in kept]), np.stack([each for _, each in kept])
