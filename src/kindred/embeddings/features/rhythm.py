"""Rhythm: when things start, how regularly, and at which tempi.

Onset strength is spectral flux with a maximum filter over frequency, which ignores vibrato (Böck
and Widmer, 2013). Its autocorrelation is read on a logarithmic grid of tempi, where a change of
tempo is a shift; the magnitudes of the grid's Fourier transform therefore hardly depend on tempo
(scale transform; Holzapfel and Stylianou, 2011).
"""

from __future__ import annotations

import numpy as np

from kindred.embeddings.features.spectrum import FRAME_RATE, Floats
from kindred.embeddings.features.timbre import N_MELS

#: Beats a minute of the grid, evenly spaced in log tempo.
TEMPI = np.geomspace(30, 300, 24)
#: Orders kept of the grid's Fourier transform.
N_ORDERS = 6
#: Natural-log mel power under which nothing counts as an onset (-40 dB).
QUIET = np.float32(np.log(1e-4))
#: Mel bands from which "low", "middle" and "high" flux are summed.
_THIRDS = ((0, 16), (16, 40), (40, N_MELS))
NAMES = (
    *(f"pulse {tempo:.0f} bpm" for tempo in TEMPI),
    *(f"pulse order {k}" for k in range(1, N_ORDERS + 1)),
    "pulse clarity",
    "onset rate",
    "onset strength",
    "onset contrast",
    "onset accent",
    "interval mean",
    "interval spread",
    "accent spread",
    "flux low",
    "flux high",
)


def _lag_kernels(frames: int) -> Floats:
    """Weights that read an autocorrelation of ``frames`` lags on the grid, float32 [frames, 24].

    Each tempo takes a Gaussian in log lag, as wide as the grid's step, so that a tempo between two
    grid points excites both.
    """
    lags = np.arange(frames)
    centres = 60 * FRAME_RATE / TEMPI
    step = np.log(TEMPI[1] / TEMPI[0])
    distance = np.log(np.maximum(lags, 1e-3)[:, None] / centres) / (0.6 * step)
    kernels = np.exp(-0.5 * distance**2)
    return np.asarray(kernels / np.maximum(kernels.sum(axis=0), 1e-9), np.float32)


def onset_strength(log_mel: Floats) -> Floats:
    """Rise of each band over its neighbourhood in the frame before.

    Parameters
    ----------
    log_mel : float32 [n, T, N_MELS]

    Returns
    -------
    float32 [n, T - 1, 3]
        Mean rise in nepers over the low, middle and high bands.
    """
    heard = np.maximum(log_mel, QUIET)
    before = heard[:, :-1].copy()
    np.maximum(before[..., 1:], heard[:, :-1, :-1], out=before[..., 1:])
    np.maximum(before[..., :-1], heard[:, :-1, 1:], out=before[..., :-1])
    rise = np.maximum(heard[:, 1:] - before, 0)
    return np.stack([rise[..., low:high].mean(axis=2) for low, high in _THIRDS], axis=2)


def summarise(log_mel: Floats) -> Floats:
    """Summary of each window.

    Parameters
    ----------
    log_mel : float32 [n, T, N_MELS]
        Natural-log mel power, as the first columns of :func:`.timbre.analyse`.

    Returns
    -------
    float32 [n, len(NAMES)]
    """
    from scipy.fft import irfft, rfft

    bands = onset_strength(log_mel)
    envelope = np.asarray(bands.mean(axis=2), np.float32)
    frames = envelope.shape[1]
    local = envelope - _moving_mean(envelope, size=round(FRAME_RATE))
    # The zeros keep the far end from wrapping round into the short lags.
    transform = rfft(local, n=1024, axis=1)
    correlation = irfft(transform * transform.conj(), n=1024, axis=1)[:, : frames // 2]
    correlation *= frames / (frames - np.arange(frames // 2, dtype=np.float32))
    correlation /= correlation[:, :1] + np.float32(1e-3)
    pulse = correlation @ _lag_kernels(frames // 2)
    orders = np.abs(rfft(pulse, axis=1))[:, 1 : N_ORDERS + 1]
    fastest = int(60 * FRAME_RATE / TEMPI[-1])
    clarity = correlation[:, fastest : int(60 * FRAME_RATE / TEMPI[0])].max(axis=1)
    mean = envelope.mean(axis=1)
    accent = np.sort(envelope, axis=1)[:, -max(1, frames // 20) :].mean(axis=1)
    flux = bands.mean(axis=1)
    flux_share = flux / (flux.sum(axis=1, keepdims=True) + np.float32(1e-3))
    rate, interval, interval_spread, accent_spread = _onset_statistics(envelope, local=local)
    single = (
        clarity,
        rate,
        np.log(mean + 1e-3),
        np.log((accent + 1e-3) / (mean + 1e-3)),
        accent,
        interval,
        interval_spread,
        accent_spread,
    )
    parts = (pulse, orders, np.stack(single, axis=1), flux_share[:, [0, 2]])
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _moving_mean(values: Floats, *, size: int) -> Floats:
    """Mean of ``size`` neighbours; near the ends, of those there are."""
    n, length = values.shape
    total = np.concatenate((np.zeros((n, 1)), np.cumsum(values, axis=1, dtype=np.float64)), axis=1)
    low = np.maximum(np.arange(length) - size // 2, 0)
    high = np.minimum(np.arange(length) + size // 2 + 1, length)
    return np.asarray((total[:, high] - total[:, low]) / (high - low), np.float32)


def _onset_statistics(envelope: Floats, *, local: Floats) -> tuple[Floats, ...]:
    """Log onsets a second, mean and spread of the log interval, spread of log accents; each [n].

    An onset is the largest of five frames and stands out of the second around it by half the
    window's deviation and by .05 nepers.
    """
    n, frames = envelope.shape
    padded = np.pad(local, ((0, 0), (2, 2)), constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1).max(axis=2)
    least = np.maximum(0.5 * local.std(axis=1, keepdims=True), np.float32(0.05))
    row, column = np.nonzero((local >= highest) & (local > least))
    onsets = np.bincount(row, minlength=n)
    rate = np.log1p(onsets / (frames / FRAME_RATE))
    same = row[1:] == row[:-1]
    interval = np.log(np.maximum(np.diff(column), 1) / FRAME_RATE)[same]
    owner = row[1:][same]
    typical, spread = _grouped(interval, owner, n=n)
    _, accent = _grouped(np.log(envelope[row, column] + 1e-3), row, n=n)
    # Fewer than three onsets have no rhythm to speak of: long and as irregular as chance.
    few = onsets < 3
    typical[few], spread[few], accent[few] = np.log(5.0), 0.8, 0.0
    return tuple(np.asarray(v, np.float32) for v in (rate, typical, spread, accent))


def _grouped(values: Floats, owner: np.ndarray, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the values of each of ``n`` owners."""
    count = np.maximum(np.bincount(owner, minlength=n), 1)
    mean = np.bincount(owner, values, n) / count
    variance = np.bincount(owner, (values - mean[owner]) ** 2, n) / count
    return mean, np.sqrt(variance)
