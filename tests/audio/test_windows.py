"""Windows: every sample once, the tail by its rule, the same for any blocks and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kindred.audio.windows import MIN_TAIL, iter_windows, spread_windows


def cut(signal: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Blocks of the given sizes, repeated until the signal ends."""
    blocks, at, turn = [], 0, 0
    while at < signal.size:
        size = sizes[turn % len(sizes)]
        blocks.append(signal[at : at + size])
        at, turn = at + size, turn + 1
    return blocks


def plain(signal: np.ndarray, window: int, hop: int) -> np.ndarray:
    """The definition, without a stream."""
    rows = []
    start = 0
    while start + window <= signal.size:
        rows.append(signal[start : start + window])
        start += hop
    tail = signal[start:]
    fresh = signal.size - (start - hop + window if hop < window and rows else start)
    if tail.size and (not rows or fresh >= MIN_TAIL * window):
        rows.append(np.resize(tail, window))
    return np.array(rows, np.float32).reshape(-1, window)


@given(
    length=st.integers(0, 300),
    window=st.integers(1, 60),
    hop=st.integers(1, 90),
    batch=st.integers(1, 7),
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=5),
)
def test_a_stream_is_cut_as_the_whole_would_be(
    length: int, window: int, hop: int, batch: int, sizes: list[int]
) -> None:
    signal = np.arange(1, length + 1, dtype=np.float32)
    kept = signal.copy()
    batches = list(iter_windows(cut(signal, sizes), window=window, hop=hop, batch=batch))
    assert all(len(part) == batch for part in batches[:-1])
    assert all(1 <= len(part) <= batch and part.dtype == np.float32 for part in batches)
    got = np.concatenate(batches) if batches else np.zeros((0, window), np.float32)
    np.testing.assert_array_equal(got, plain(signal, window, hop))
    np.testing.assert_array_equal(signal, kept)


@given(length=st.integers(1, 400), window=st.integers(1, 50), batch=st.integers(1, 9))
def test_windows_side_by_side_give_the_signal_back(length: int, window: int, batch: int) -> None:
    signal = np.arange(length, dtype=np.float32)
    got = np.concatenate(list(iter_windows([signal], window=window, hop=window, batch=batch)))
    joined = got.ravel()[:length]
    np.testing.assert_array_equal(joined, signal[: joined.size])
    lost = length - joined.size
    assert lost < MIN_TAIL * window


@pytest.mark.parametrize(("tail", "windows"), [(0, 2), (9, 2), (10, 3), (99, 3)])
def test_a_tail_counts_from_a_tenth_of_a_window(tail: int, windows: int) -> None:
    signal = np.arange(200 + tail, dtype=np.float32)
    (got,) = iter_windows([signal], window=100, hop=100, batch=8)
    assert len(got) == windows
    if windows == 3:
        np.testing.assert_array_equal(got[2], np.resize(signal[200:], 100))


def test_an_only_window_is_kept_however_short() -> None:
    (got,) = iter_windows([np.array([1, 2, 3], np.float32)], window=8, hop=8, batch=2)
    np.testing.assert_array_equal(got, [[1, 2, 3, 1, 2, 3, 1, 2]])


def test_no_audio_gives_no_window() -> None:
    assert list(iter_windows([], window=4, hop=4, batch=2)) == []
    assert list(iter_windows([np.zeros(0, np.float32)], window=4, hop=4, batch=2)) == []


def test_a_reader_may_reuse_its_block() -> None:
    def blocks() -> object:
        block = np.empty(10, np.float32)
        for start in range(0, 40, 10):
            block[:] = np.arange(start, start + 10)
            yield block

    got = np.concatenate(list(iter_windows(blocks(), window=5, hop=5, batch=6)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(got.ravel(), np.arange(40))


@pytest.mark.parametrize(("window", "hop", "batch"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_sizes_must_be_positive(window: int, hop: int, batch: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        list(iter_windows([], window=window, hop=hop, batch=batch))


@given(
    length=st.integers(0, 4000),
    count=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_chosen_windows_are_spread_evenly_whatever_the_blocks(
    length: int, count: int, sizes: list[int]
) -> None:
    signal = np.arange(length, dtype=np.float32)
    rows = plain(signal, 10, 10)
    got = spread_windows(cut(signal, sizes), window=10, hop=10, count=count)
    assert got.shape == (min(count, len(rows)), 10)
    if len(rows) <= count:
        np.testing.assert_array_equal(got, rows)
        return
    chosen = got[:, 0] / 10  # a window says where it lies
    share = len(rows) / count
    middles = (np.arange(count) + 0.5) * share - 0.5
    # A quarter of a share for the thinning, half a window for the grid, and the thinning's end.
    assert np.abs(chosen - middles).max() <= share / 2 + 0.5
    for row, place in zip(got, chosen.astype(int), strict=True):
        np.testing.assert_array_equal(row, rows[place])


def test_windows_of_a_usual_track_are_chosen_exactly() -> None:
    signal = np.arange(180, dtype=np.float32)  # eighteen windows, of which six
    got = spread_windows([signal], window=10, hop=10, count=6)
    assert (got[:, 0] / 10).tolist() == [1, 4, 7, 10, 13, 16]


def test_no_more_windows_are_held_than_promised() -> None:
    import tracemalloc

    def blocks() -> Iterator[np.ndarray]:
        for start in range(4000):
            yield np.full(1000, start, np.float32)

    tracemalloc.start()
    got = spread_windows(blocks(), window=1000, hop=1000, count=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(got) == 5
    assert peak < (4 * 5 + 12) * 4000


@pytest.mark.parametrize("count", [0, -1])
def test_no_window_at_all_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        spread_windows([], window=10, hop=10, count=count)
