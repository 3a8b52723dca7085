"""Loudness: agrees with the standard's reference tone and with an independent meter."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray

from kindred.audio.loudness import LoudnessMeter
from tests.embeddings.sounds import clicks, noise, sine

Audio = NDArray[np.float32]


def loudness(audio: Audio, *, rate: int = 22_050, block: int = 10_000) -> float | None:
    meter = LoudnessMeter(rate)
    for start in range(0, len(audio), block):
        meter.add(audio[start : start + block])
    return meter.loudness()


def uneven(rate: int) -> Audio:
    """Loud, silent, soft and very soft parts: both gates have something to leave out."""
    levels = (1.0, 0.0, 0.3, 0.01)
    return np.concatenate([g * noise(rate, seed=i, seconds=4) for i, g in enumerate(levels)])


def test_a_full_scale_tone_of_997_hz_is_at_minus_3_01() -> None:
    for rate in (22_050, 44_100, 48_000):
        assert loudness(2 * sine(rate, frequency=997), rate=rate) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("sound", ["low", "middle", "high", "noise", "soft", "clicks", "uneven"])
def test_an_independent_meter_agrees(rate: int, sound: str) -> None:
    audio = {
        "low": lambda: sine(rate, frequency=40),
        "middle": lambda: sine(rate, frequency=440),
        "high": lambda: sine(rate, frequency=8_000),
        "noise": lambda: noise(rate),
        "soft": lambda: np.float32(1e-2) * noise(rate),
        "clicks": lambda: clicks(rate, bpm=97),
        "uneven": lambda: uneven(rate),
    }[sound]()
    ours = loudness(audio, rate=rate)
    for filters in ("K-weighting", "DeMan"):
        meter = pyloudnorm.Meter(rate, filter_class=filters)
        assert ours == pytest.approx(meter.integrated_loudness(audio.astype(float)), abs=0.1)


def test_how_a_stream_is_cut_makes_no_difference() -> None:
    audio = uneven(22_050)
    whole = loudness(audio, block=len(audio))
    assert whole is not None
    for block in (777, 2_205, 50_000):
        assert loudness(audio, block=block) == pytest.approx(whole, abs=1e-4)


def test_half_the_amplitude_is_six_decibels_less() -> None:
    audio = noise(22_050)
    loud, soft = loudness(audio), loudness(audio / 2)
    assert loud is not None
    assert soft is not None
    assert loud - soft == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_what_lies_under_the_gates_does_not_count() -> None:
    audio = noise(22_050)
    soft = np.concatenate((audio, 1e-2 * noise(22_050, seconds=60))).astype(np.float32)
    assert loudness(soft) == pytest.approx(loudness(audio), abs=0.1)


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(0, np.float32),
        np.zeros(220_500, np.float32),
        sine(22_050, seconds=0.39),
        sine(22_050) * np.float32(1e-4),
        np.full(220_500, 0.5, np.float32),
    ],
    ids=["nothing", "silence", "under 400 ms", "under -70 LUFS", "a constant offset"],
)
def test_no_loudness_is_made_up(audio: Audio) -> None:
    assert loudness(audio) is None
