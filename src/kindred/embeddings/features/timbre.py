"""Timbre: the shape of the spectrum and how it moves.

The summary of a window holds mean and standard deviation of 20 mel-frequency cepstral coefficients
(Davis and Mermelstein, 1980) and the deviation of their change, the spectral centroid, spread and
roll-off in octaves, flatness, and octave-band contrast (Jiang et al., 2002). Frames more than 50 dB
under the window's level are left out: they hold the room, not the instrument.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kindred.embeddings.features.spectrum import FREQUENCIES, Floats, Spectrum

N_MELS = 64
N_MFCC = 20
#: Edges of the contrast bands, Hz.
CONTRAST_EDGES = (32.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 10_000.0)
#: Every how many frames contrast is measured; sorting is dear and its mean hardly changes.
CONTRAST_STEP = 4
#: Columns of a frame: log-mel, then centroid, spread, roll-off, flatness, level, then contrast.
N_COLUMNS = N_MELS + 5 + len(CONTRAST_EDGES) - 1
#: Names of the dimensions, in order.
NAMES = (
    *(f"mfcc{i} mean" for i in range(N_MFCC)),
    *(f"mfcc{i} std" for i in range(N_MFCC)),
    *(f"mfcc{i} change" for i in range(N_MFCC)),
    *(f"{name} mean" for name in ("centroid", "spread", "roll-off", "flatness")),
    *(f"{name} std" for name in ("centroid", "spread", "roll-off", "flatness")),
    *(f"contrast {low:.0f} Hz" for low in CONTRAST_EDGES[:-1]),
)


def mel_filterbank(n_mels: int, frequencies: Floats) -> Floats:
    """Triangular filters of unit area, evenly spaced on the mel scale (O'Shaughnessy, 1987).

    mel(f) = 2595 log10(1 + f / 700)

    Returns
    -------
    float32 [bins, n_mels]
        Each column sums to 1, so that white noise has the same power in every band.
    """
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (frequencies[0], frequencies[-1]))
    edges = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.clip(np.minimum(rising, falling), 0, None)
    # The lowest filters are narrower than a bin: each takes the bin nearest to its centre.
    nearest = np.abs(frequencies[:, None] - edges[1:-1]).argmin(axis=0)
    bank[nearest, np.arange(n_mels)] = np.maximum(bank[nearest, np.arange(n_mels)], 1e-3)
    return np.asarray(bank / bank.sum(axis=0), np.float32)


def _cosines(n_in: int, n_out: int) -> Floats:
    """Orthonormal type-II cosine transform, float32 [n_in, n_out]."""
    angles = np.pi * (np.arange(n_in)[:, None] + 0.5) * np.arange(n_out) / n_in
    basis = np.cos(angles) * np.sqrt(2 / n_in)
    basis[:, 0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


_MEL = mel_filterbank(N_MELS, FREQUENCIES)
_DCT = _cosines(N_MELS, N_MFCC)
_OCTAVES = np.log2(FREQUENCIES / 1000).astype(np.float32)
#: Columns 1, octave, octave^2: sums from which centroid and spread follow.
_MOMENTS: Floats = np.stack([np.ones_like(_OCTAVES), _OCTAVES, _OCTAVES**2], axis=1)
_BANDS = np.searchsorted(FREQUENCIES, CONTRAST_EDGES)


def analyse(spectrum: Spectrum) -> Floats:
    """Columns of each frame of one window.

    Returns
    -------
    float32 [T, N_COLUMNS]
        Natural-log mel power, centroid, spread and roll-off in octaves around 1 kHz, flatness and
        level as natural logs, contrast of each band in nepers.
    """
    power, magnitude, log_power = spectrum.power, spectrum.magnitude, spectrum.log_power
    out = np.empty((len(power), N_COLUMNS), np.float32)
    np.log(power @ _MEL, out=out[:, :N_MELS])
    total, first, second = (magnitude @ _MOMENTS).T
    centroid = first / total
    spread = np.sqrt(np.maximum(second / total - centroid**2, 0))
    cumulative = np.cumsum(magnitude, axis=1)
    beyond = np.count_nonzero(cumulative < 0.85 * cumulative[:, -1:], axis=1)
    rolloff = _OCTAVES[np.minimum(beyond, len(_OCTAVES) - 1)]
    mean_power = power.mean(axis=1)
    flatness = log_power.mean(axis=1) - np.log(mean_power)
    columns = (centroid, spread, rolloff, flatness, np.log(mean_power))
    out[:, N_MELS : N_MELS + 5] = np.stack(columns, axis=1)
    contrast = _contrast(log_power[::CONTRAST_STEP])
    out[:, N_MELS + 5 :] = np.repeat(contrast, CONTRAST_STEP, axis=0)[: len(power)]
    return out


def _contrast(log_power: Floats) -> Floats:
    """Peak less valley of each band: means of its top and bottom fifth, float32 [T, bands]."""
    out = np.empty((len(log_power), len(_BANDS) - 1), np.float32)
    for band, (low, high) in enumerate(pairwise(_BANDS)):
        ordered = np.sort(log_power[:, low:high], axis=1)
        fifth = max(1, (high - low) // 5)
        out[:, band] = ordered[:, -fifth:].mean(axis=1) - ordered[:, :fifth].mean(axis=1)
    return out


def summarise(frames: Floats) -> Floats:
    """Summary of each window.

    Parameters
    ----------
    frames : float32 [n, T, N_COLUMNS]
        From :func:`analyse`.

    Returns
    -------
    float32 [n, len(NAMES)]
    """
    cepstra = frames[..., :N_MELS] @ _DCT
    level = frames[..., N_MELS + 4]
    heard = level > np.log(1e-5)
    # A silent window has no such frame; all of them then count.
    heard |= ~heard.any(axis=1, keepdims=True)
    weight = heard / heard.sum(axis=1, keepdims=True, dtype=np.float32)
    mean, std = _moments(cepstra, weight=weight)
    both = heard[:, 2:] & heard[:, :-2]
    both |= ~both.any(axis=1, keepdims=True)
    change = (cepstra[:, 2:] - cepstra[:, :-2]) / 2
    _, change_std = _moments(change, weight=both / both.sum(axis=1, keepdims=True))
    shape_mean, shape_std = _moments(frames[..., N_MELS : N_MELS + 4], weight=weight)
    contrast, _ = _moments(frames[..., N_MELS + 5 :], weight=weight)
    parts = (mean, std, change_std, shape_mean, shape_std, contrast)
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _moments(values: Floats, *, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and standard deviation over frames: [n, T, k], [n, T] -> [n, k] twice."""
    weight = weight.astype(np.float32)
    mean = np.einsum("ntk,nt->nk", values, weight)
    centred = values - mean[:, None]
    return mean, np.sqrt(np.einsum("ntk,nt->nk", centred * centred, weight))
