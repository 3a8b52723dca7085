"""Sounds made by formula, so that what the encoders should say of them is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def sine(rate: int, *, frequency: float = 440.0, seconds: float = 10.0) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def noise(rate: int, *, seed: int = 0, seconds: float = 10.0) -> Audio:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * rate))).astype(np.float32)


def clicks(rate: int, *, bpm: float, seconds: float = 10.0, seed: int = 0) -> Audio:
    """Short bursts of noise on every beat over a quiet hiss."""
    rng = np.random.default_rng(seed)
    audio = 1e-4 * rng.standard_normal(round(seconds * rate))
    burst = rng.standard_normal(rate // 50) * np.exp(-np.arange(rate // 50) / (rate / 200))
    for beat in np.arange(0, seconds - 0.05, 60 / bpm):
        start = round(beat * rate)
        audio[start : start + len(burst)] += 0.5 * burst
    return audio.astype(np.float32)


def notes(
    rate: int,
    chords: list[tuple[int, ...]],
    *,
    step: float = 0.5,
    decay: float = 3.0,
    brightness: float = 0.6,
    seconds: float = 10.0,
) -> Audio:
    """Chords of MIDI pitches one after another, over and over.

    ``brightness`` is the ratio of each harmonic's amplitude to that of the one below.
    """
    audio = np.zeros(round(seconds * rate))
    time = np.arange(round(step * rate)) / rate
    envelope = np.exp(-decay * time) * np.minimum(1, time / 0.005)
    for index in range(int(seconds / step)):
        tone = np.zeros_like(time)
        for pitch in chords[index % len(chords)]:
            base = 440 * 2 ** ((pitch - 69) / 12)
            for harmonic in range(1, 9):
                if base * harmonic < rate / 2.2:
                    level = brightness ** (harmonic - 1)
                    tone += level * np.sin(2 * np.pi * base * harmonic * time + harmonic)
        start = round(index * step * rate)
        piece = (envelope * tone)[: len(audio) - start]
        audio[start : start + len(piece)] += piece
    return (0.5 * audio / np.abs(audio).max()).astype(np.float32)


def odd(rate: int) -> dict[str, Audio]:
    """Windows that break encoders: silence, a click, an offset, full scale, a short loop."""
    length = 10 * rate
    click = np.zeros(length, np.float32)
    click[length // 3] = 1.0
    square = np.where(np.arange(length) // (rate // 200) % 2, 1.0, -1.0).astype(np.float32)
    return {
        "silence": np.zeros(length, np.float32),
        "click": click,
        "offset": np.full(length, 0.7, np.float32),
        "noise": noise(rate),
        "square": square,
        "loop": np.resize(noise(rate, seconds=3), length),
        "whisper": sine(rate) * np.float32(1e-9),
        "not a number": np.full(length, np.nan, np.float32),
    }
