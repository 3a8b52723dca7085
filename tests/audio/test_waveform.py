"""Waveforms whose peaks are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kindred.audio.waveform import PeakMeter


def peaks(signal: np.ndarray, *, columns: int = 240, block: int = 5_000) -> np.ndarray:
    meter = PeakMeter(columns)
    for start in range(0, signal.size, block):
        meter.add(signal[start : start + block])
    return np.frombuffer(meter.peaks(), np.uint8)


def test_a_staircase_gives_its_steps() -> None:
    steps = np.linspace(0, 1, 240)
    signal = np.repeat(steps, 4_096).astype(np.float32)
    np.testing.assert_array_equal(peaks(signal), np.round(steps * 255))


def test_the_peak_is_255_at_its_place_whatever_the_level_and_sign() -> None:
    signal = np.zeros(1_000_000, np.float32)
    signal[500_010] = -0.001
    got = peaks(signal)
    assert got[120] == 255
    assert got.sum() == 255


@given(st.integers(1, 200_000), st.integers(1_000, 30_000))
def test_there_is_a_byte_a_column_for_any_length(length: int, block: int) -> None:
    signal = np.ones(length, np.float32)
    np.testing.assert_array_equal(peaks(signal, columns=50, block=block), np.full(50, 255))


def test_blocks_do_not_matter() -> None:
    signal = np.random.default_rng(1).standard_normal(700_001).astype(np.float32)
    wanted = peaks(signal, block=700_001)
    for block in (1_000, 33_333, 96_000):
        np.testing.assert_array_equal(peaks(signal, block=block), wanted)


def test_silence_and_nothing_are_zeros() -> None:
    assert peaks(np.zeros(9_999, np.float32)).tolist() == [0] * 240
    assert PeakMeter(7).peaks() == bytes(7)


def test_memory_is_bounded() -> None:
    meter = PeakMeter()
    for _ in range(400):
        meter.add(np.ones(48_000, np.float32))
    assert meter._cells.size <= 32 * 240
    assert meter._rest.size < meter._cell


def test_columns_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        PeakMeter(0)
