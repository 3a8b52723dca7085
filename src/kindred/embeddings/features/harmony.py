"""Harmony: which pitch classes sound, how they stand to each other and how they change.

Pitch classes come from spectral peaks (harmonic pitch class profile; Gómez, 2006), whose frequency
is interpolated between bins and freed of the window's tuning. Twelve dimensions are the mean
profile and so depend on key. All others are the same in every key: magnitudes of the profile's
discrete Fourier transform (Amiot, 2016), whose third, fourth and fifth coefficients are the axes of
tonal-centroid space (Harte et al., 2006), and the pace of their change.
"""

from __future__ import annotations

import numpy as np

from kindred.embeddings.features.spectrum import (
    FRAME_RATE,
    FREQUENCIES,
    N_FFT,
    SAMPLE_RATE,
    Floats,
    Spectrum,
)

#: Range of peaks, Hz. Under 80 Hz two semitones share a bin.
LOWEST, HIGHEST = 80.0, 5000.0
#: Frequency, Hz, at which a peak counts half.
OVERTONES = 600.0
#: Columns of a frame: twelve pitch classes and the share of the spectrum that is peaks.
N_COLUMNS = 13
#: Frames in a block over which profiles are averaged (about .37 s and 1.5 s).
SHORT, LONG = round(0.37 * FRAME_RATE), round(1.5 * FRAME_RATE)
NAMES = (
    *(f"pitch class {i}" for i in range(12)),
    *(f"interval order {k}" for k in range(1, 7)),
    *(f"chord order {k} mean" for k in range(1, 7)),
    *(f"chord order {k} std" for k in range(1, 7)),
    *(f"spread order {k}" for k in range(7)),
    *(f"tonal step {k}" for k in (3, 4, 5)),
    "change .4 s mean",
    "change .4 s std",
    "change 1.5 s mean",
    "peak share mean",
    "peak share std",
    "profile entropy",
)

_FIRST, _LAST = np.searchsorted(FREQUENCIES, (LOWEST, HIGHEST))
_FOURIER = np.exp(-2j * np.pi * np.outer(np.arange(12), np.arange(7)) / 12).astype(np.complex64)


def analyse(spectrum: Spectrum) -> Floats:
    """Pitch-class profile of each frame of one window.

    Returns
    -------
    float32 [T, 13]
        Amplitude in each pitch class from C on, then the share of the amplitude between
        :data:`LOWEST` and :data:`HIGHEST` that stands in peaks.
    """
    log_power = spectrum.log_power[:, _FIRST - 1 : _LAST + 1]
    centre = log_power[:, 1:-1]
    # A peak stands out of its frame (-40 dB) and of the window (-60 dB), or it is noise.
    least = np.maximum(centre.max(axis=1, keepdims=True) - 9.2, np.float32(-13.8))
    is_peak = (centre > log_power[:, :-2]) & (centre >= log_power[:, 2:]) & (centre > least)
    frame, column = np.nonzero(is_peak)
    left, top, right = (log_power[frame, column + shift] for shift in range(3))
    # Vertex of the parabola through three log-power points.
    offset = 0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-6)
    bins = (column + _FIRST) + (FREQUENCIES[0] * N_FFT / SAMPLE_RATE) + np.clip(offset, -0.5, 0.5)
    frequency = bins * (SAMPLE_RATE / N_FFT)
    # Fundamentals lie low and overtones high: without the slope a brighter sound of the same chord
    # would seem another chord.
    amplitude = np.exp(0.5 * top)
    weight = amplitude / (1 + np.square(frequency / OVERTONES))
    pitch = 69 + 12 * np.log2(frequency / 440)
    # Tuning: circular mean of the peaks' distance to the nearest semitone.
    tuning = np.angle(np.sum(weight * np.exp(2j * np.pi * pitch))) / (2 * np.pi)
    pitch = pitch - tuning
    lower = np.floor(pitch)
    share = pitch - lower
    count = len(log_power) * 12
    row = frame * 12
    profile = np.bincount(row + lower.astype(int) % 12, weight * (1 - share), count)
    profile += np.bincount(row + (lower.astype(int) + 1) % 12, weight * share, count)
    out = np.empty((len(log_power), N_COLUMNS), np.float32)
    out[:, :12] = profile.reshape(-1, 12)
    peaks = np.bincount(frame, amplitude, len(log_power))
    out[:, 12] = peaks / spectrum.magnitude[:, _FIRST:_LAST].sum(axis=1)
    return out


def summarise(frames: Floats) -> Floats:
    """Summary of each window.

    Parameters
    ----------
    frames : float32 [n, T, 13]
        From :func:`analyse`.

    Returns
    -------
    float32 [n, len(NAMES)]
    """
    profiles, share = frames[..., :12], frames[..., 12]
    mean = _unit_sum(profiles.mean(axis=1))
    short = _unit_sum(_blocks(profiles, size=SHORT))
    long = _unit_sum(_blocks(profiles, size=LONG))
    mean_orders = np.abs(mean @ _FOURIER)
    coefficients = short @ _FOURIER
    orders = np.abs(coefficients)
    steps = np.abs(np.diff(coefficients[..., 3:6], axis=1)).mean(axis=1)
    spread = short.std(axis=1)
    change = _change(short)
    entropy = -np.sum(mean * np.log(mean + 1e-6), axis=1, keepdims=True)
    parts = (
        mean,
        mean_orders[:, 1:],
        orders[..., 1:].mean(axis=1),
        orders[..., 1:].std(axis=1),
        np.abs(spread @ _FOURIER),
        steps,
        change.mean(axis=1, keepdims=True),
        change.std(axis=1, keepdims=True),
        _change(long).mean(axis=1, keepdims=True),
        share.mean(axis=1, keepdims=True),
        share.std(axis=1, keepdims=True),
        entropy,
    )
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _blocks(values: Floats, *, size: int) -> Floats:
    """Means of ``size`` consecutive frames: [n, T, k] -> [n, T // size, k]."""
    n, frames, k = values.shape
    whole = frames // size * size
    return np.asarray(values[:, :whole].reshape(n, -1, size, k).mean(axis=2), np.float32)


def _unit_sum(profile: Floats) -> Floats:
    """Profiles that sum to 1; one without any pitch becomes flat."""
    profile = profile + np.float32(1e-6)
    return np.asarray(profile / profile.sum(axis=-1, keepdims=True), np.float32)


def _change(profiles: Floats) -> Floats:
    """One less the cosine of each profile and the next: [n, b, 12] -> [n, b - 1]."""
    unit = profiles / np.linalg.norm(profiles, axis=-1, keepdims=True)
    return np.asarray(1 - np.sum(unit[:, 1:] * unit[:, :-1], axis=-1), np.float32)
