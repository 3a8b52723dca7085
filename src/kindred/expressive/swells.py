"""How far loudness swells over phrases: waves fitted to a clip's loudness.

Three curves are looked at: the peak of every note, the level smoothed over a second, and that of
what lies over 1 kHz. To each, a line and a wave are fitted by least squares, at twelve periods from
2.2 to 7 s. Peaks of notes say most: they leave out rests, and how long notes last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.features.spectrum import FREQUENCIES
from kindred.expressive.onsets import FRAME_RATE, Floats, Frames

#: Periods of waves, seconds.
PERIODS = np.geomspace(2.2, 7.0, 12)
CURVES = ("peaks of notes", "level", "level over 1 kHz")
#: What is told of each curve, dB.
NAMES = tuple(
    f"{name} of {curve}"
    for curve in CURVES
    for name in ("deviation", *(f"wave of {p:.1f} s" for p in PERIODS), "greatest wave")
)
#: Fewer notes have no swell to speak of: a wave and a line have four numbers of their own.
_FEWEST = 8
_QUIETEST = 1e-7


def swells(frames: Frames) -> Floats:
    """Deviation and waves of the three curves of a clip, dB: float32 [len(NAMES)]."""
    second = round(FRAME_RATE)
    taper = np.hanning(second + 2)[1:-1]
    taper /= taper.sum()
    at = np.arange(0, len(frames.level) - second + 1, second // 10)

    def smooth(power: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(10 * np.log10(np.convolve(power, taper, "valid")[at] + _QUIETEST))

    high = frames.power[:, np.searchsorted(FREQUENCIES, 1000) :].sum(axis=1)
    rest = len(at)
    curves = (
        (frames.notes.start / FRAME_RATE, frames.notes.peak),
        (at / FRAME_RATE, smooth(10 ** (frames.level / 10))),
        (at / FRAME_RATE, smooth(high[: len(frames.level)])[:rest]),
    )
    return np.concatenate([_waves(times, values) for times, values in curves])


def _waves(times: NDArray[np.floating], values: NDArray[np.floating]) -> Floats:
    """Deviation, amplitude of a wave of each period, and the greatest; float32 [14]."""
    if len(times) < _FEWEST:
        return np.zeros(len(PERIODS) + 2, np.float32)
    centred = times - times.mean()
    amplitudes = []
    for period in PERIODS:
        angle = 2 * np.pi * centred / period
        terms = np.stack([np.ones_like(centred), centred, np.sin(angle), np.cos(angle)], axis=1)
        fit = np.linalg.lstsq(terms, values, rcond=None)[0]
        amplitudes.append(np.hypot(fit[2], fit[3]))
    return np.array([values.std(), *amplitudes, max(amplitudes)], np.float32)
