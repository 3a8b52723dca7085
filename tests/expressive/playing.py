"""Twelve seconds of tones by formula, so that what the descriptors should say of them is known."""

from __future__ import annotations

import numpy as np

from kindred.expressive.clips import SAMPLE_RATE, SECONDS
from kindred.expressive.scoring import Floats

SAMPLES = round(SECONDS * SAMPLE_RATE)


def tones(times: np.ndarray, *, length: float = 0.1, loud: np.ndarray | None = None) -> Floats:
    """Tones of a scale, each with five harmonics, a quick attack and ``length`` seconds."""
    audio = np.zeros(SAMPLES)
    time = np.arange(round(length * SAMPLE_RATE)) / SAMPLE_RATE
    shape = np.minimum(1, np.minimum(time / 0.005, (length - time) / 0.02).clip(0))
    for index, at in enumerate(times):
        pitch = 262 * 2 ** ((0, 2, 4, 5, 7, 9, 11)[index % 7] / 12)
        tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
        first = round(at * SAMPLE_RATE)
        piece = (tone * shape)[: SAMPLES - first]
        audio[first : first + len(piece)] += piece * (1 if loud is None else loud[index])
    return (0.1 * audio).astype(np.float32)


def steady(rate: float, *, first: float = 0.2) -> np.ndarray:
    """Times of a steady beat, so many a second, to the end of a clip."""
    return np.arange(first, SECONDS - 0.1, 1 / rate)


def swaying(rate: float, *, depth: float, period: float = 4.0) -> np.ndarray:
    """Times of a beat whose tempo swings by a share ``depth``."""
    grid = np.linspace(0, SECONDS, 12_000)
    speed = rate * (1 + depth * np.sin(2 * np.pi * grid / period))
    beats = np.cumsum(speed) * (grid[1] - grid[0])
    return np.interp(np.arange(1, int(beats[-1])), beats, grid)
