"""Dynamics: how loudness moves, in decibels relative to the window's own level.

Everything is measured on the levelled signal, so that gain drops out.
"""

from __future__ import annotations

import numpy as np

from kindred.embeddings.features.spectrum import FRAME_RATE, HOP, Floats

#: Level, dB, below which differences no longer count.
FLOOR_DB = -60.0
PERCENTILES = (5, 10, 25, 50, 75, 90, 95)
#: Bands, Hz, of the level's own spectrum: phrases, beats, notes, tremolo.
MODULATION_EDGES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
NAMES = (
    *(f"level p{p}" for p in PERCENTILES),
    "level std",
    "crest",
    "frame crest",
    "share under -12 dB",
    "share under -30 dB",
    "attack mean",
    "attack p95",
    "decay mean",
    "decay p5",
    "rising share",
    "second std",
    "second range",
    "second change",
    "trend",
    "arch",
    *(f"modulation {low:g} Hz" for low in MODULATION_EDGES[:-1]),
)


def summarise(levelled: Floats) -> Floats:
    """Summary of each window.

    Parameters
    ----------
    levelled : float32 [n, samples]
        From :func:`.spectrum.level`.

    Returns
    -------
    float32 [n, len(NAMES)]
    """
    n, samples = levelled.shape
    frames = samples // HOP
    blocks = levelled[:, : frames * HOP].reshape(n, frames, HOP)
    power = np.einsum("nth,nth->nt", blocks, blocks) / np.float32(HOP)
    level = _decibels(power)
    ordered = np.sort(level, axis=1)
    percentiles = ordered[:, [round(p / 100 * (frames - 1)) for p in PERCENTILES]]
    peak = np.maximum(levelled.max(axis=1), -levelled.min(axis=1))
    slope = np.diff(level, axis=1)
    steps = np.sort(slope, axis=1)
    edge = round(0.05 * (frames - 2))
    seconds = round(frames / FRAME_RATE)
    size = frames // seconds
    second = _decibels(power[:, : seconds * size].reshape(n, seconds, size).mean(axis=2))
    time = np.linspace(-1, 1, seconds, dtype=np.float32)
    bow = (time**2 - np.mean(time**2)).astype(np.float32)
    single = (
        level.std(axis=1),
        20 * np.log10(np.maximum(peak, 1e-3)),
        ordered[:, -1],
        (level < -12).mean(axis=1),
        (level < -30).mean(axis=1),
        np.maximum(slope, 0).mean(axis=1),
        steps[:, -1 - edge],
        np.minimum(slope, 0).mean(axis=1),
        steps[:, edge],
        (slope > 0.5).mean(axis=1),
        second.std(axis=1),
        np.ptp(second, axis=1),
        np.abs(np.diff(second, axis=1)).mean(axis=1),
        second @ time / np.sum(time**2),
        second @ bow / np.sum(bow**2),
    )
    parts = (percentiles, np.stack(single, axis=1), _modulation(level))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _decibels(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), np.float32)


def _modulation(level: Floats) -> Floats:
    """Log deviation of the level within each modulation band, float32 [n, bands]."""
    from scipy.fft import rfft

    frames = level.shape[1]
    taper = np.hanning(frames).astype(np.float32)
    centred = (level - level.mean(axis=1, keepdims=True)) * taper
    energy = np.square(np.abs(rfft(centred, axis=1)))
    frequency = np.arange(energy.shape[1]) * FRAME_RATE / frames
    edges = np.searchsorted(frequency, MODULATION_EDGES)
    bands = np.add.reduceat(energy[:, : edges[-1]], edges[:-1], axis=1)
    return np.asarray(0.5 * np.log(bands / frames**2 * 8 + 1e-2), np.float32)
