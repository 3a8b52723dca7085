"""Kindred's layered descriptors: a clip as segments by families of descriptors by dimensions.

Conventions: clips are 12 s of mono float32 at 22,050 Hz; gain and offset drop out, as every clip is
brought to unit RMS first. A segment is 300 frames (3 s), one every 50 (0.5 s), 18 in all. Every
layer is a family with its own unit and named dimensions (:data:`NAMES`), filled up with zeros to
48. A clip's numbers depend on that clip alone, and the same clip gives the same bits.

The layers:

``onsets``
    How often notes begin: rate, intervals between onsets and their histogram, onset strength.
``pulse``
    Autocorrelation of onset strength at 48 lags from 0.09 to 2.2 s, evenly spaced as logarithms.
``shift 0.5 s``, ``shift 1 s``, ``shift 2 s``
    Correlation of the pulse with the one so long before, over 21 shifts along the axis of lags. A
    change of tempo moves all lags by one factor, which is a shift there, whatever the rhythm (the
    idea of the log-lag tempogram; Jensen, Christensen and Jensen, "A tempo-insensitive distance
    measure for cover song identification", 2009).
``level``
    Of one second around the segment's middle against the clip's: energy, percentiles, bands, peaks
    of notes; and its slope.
``swell``
    How far loudness swells over phrases, of the whole clip and so the same for every segment; see
    :mod:`kindred.expressive.swells`.
``articulation``
    What the level does from an onset to the next: dip, share held, slope; silence; steps of level.
``timbre``
    Means and deviations of 20 mel-frequency cepstral coefficients.
``shape``
    Centroid, spread, roll-off, flatness and contrast of the spectrum.
``texture``
    A control: pitch classes and how many of them sound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.features import timbre
from kindred.embeddings.features.spectrum import FREQUENCIES, SAMPLE_RATE, Spectrum
from kindred.expressive import swells
from kindred.expressive.clips import SECONDS
from kindred.expressive.onsets import FRAME_RATE, Floats, Frames, analyse

#: Raised whenever a number changes.
REVISION = 2
#: Samples of a clip.
SAMPLES = round(SECONDS * SAMPLE_RATE)
#: Frames of a segment, from one to the next, and of the second around its middle.
SEGMENT, STEP, SECOND = 300, 50, 100
SEGMENTS, DIMS = 18, 48
LAGS = np.geomspace(0.09, 2.2, 48)
#: Steps along :data:`LAGS` that two pulses are moved against each other: up to a factor of two.
MOST_SHIFT = 10
#: Segments between the pulses of the shift layers.
SHIFTS = (1, 2, 4)
#: Edges of the histogram of intervals between onsets, seconds.
INTERVALS = np.geomspace(0.06, 2.0, 13)
#: What counts as the interval where fewer than three notes begin in a segment, seconds.
NO_INTERVAL = 1.5
#: Octave bands of the level layer, Hz.
LEVEL_EDGES = (60, 120, 240, 480, 960, 1920, 3840, 9000)


def _shift(lag: int) -> str:
    return f"shift {lag / 2:g} s"


_N_MFCC = timbre.N_MFCC
_SHAPES = ("centroid", "spread", "roll-off", "flatness", "level")
_CONTRAST = tuple(f"contrast {low:.0f} Hz" for low in timbre.CONTRAST_EDGES[:-1])
_SHIFT_NAMES = tuple(f"moved by {step}" for step in range(-MOST_SHIFT, MOST_SHIFT + 1))
#: Names of each layer's dimensions, in order; the rest up to :data:`DIMS` are zero.
NAMES: dict[str, tuple[str, ...]] = {
    "onsets": (
        *("log rate", "mean log interval", "median log interval", "deviation of log interval"),
        *("log mean strength", "log deviation of strength", "share salient", "changes of salience"),
        *(f"intervals from {low:.2f} s" for low in INTERVALS[:-1]),
    ),
    "pulse": tuple(f"lag {1000 * lag:.0f} ms" for lag in LAGS),
    **{_shift(lag): _SHIFT_NAMES for lag in SHIFTS},
    "level": (
        *("energy", "90th percentile", "median", "peak", "mean of notes", "highest note"),
        *(f"band from {low} Hz" for low in LEVEL_EDGES[:-1]),
        *("slope over 3 s", "deviation over 3 s", "centroid"),
    ),
    "swell": swells.NAMES,
    "articulation": (
        *("median dip", "mean dip", "median held", "mean held", "median slope"),
        *("share 20 dB down", "share 30 dB down"),
        *(f"step of level, percentile {rank}" for rank in (1, 5, 95, 99)),
        *("share falling 1 dB", "share falling 2 dB"),
    ),
    "timbre": (
        *(f"mfcc{i} mean" for i in range(1, _N_MFCC)),
        *(f"mfcc{i} deviation" for i in range(_N_MFCC)),
    ),
    "shape": (
        *(f"{name} mean" for name in (*_SHAPES, *_CONTRAST)),
        *(f"{name} deviation" for name in (*_SHAPES, *_CONTRAST)),
    ),
    "texture": (*(f"pitch class {i}" for i in range(12)), "entropy", "share of the strongest"),
}
LAYERS: tuple[str, ...] = tuple(NAMES)


def describe(clip: Floats) -> Floats:
    """Layers of one clip.

    Parameters
    ----------
    clip : float32 [264600]
        At 22,050 Hz, of any gain; values that are not finite count as 0.

    Returns
    -------
    float32 [SEGMENTS, len(LAYERS), DIMS]

    Raises
    ------
    ValueError
        When the clip has another length.
    """
    if clip.shape != (SAMPLES,):
        raise ValueError(f"A clip has {SAMPLES} samples in one row, got {clip.shape}.")
    frames = analyse(clip)
    columns = timbre.analyse(_every_other(frames.power))
    start = np.arange(SEGMENTS) * STEP
    window = start[:, None] + np.arange(SEGMENT)
    pulse = pulses(frames.salience[window])
    families = {
        "onsets": _onsets(frames, window),
        "pulse": pulse,
        "level": _level(frames, columns, window),
        "swell": np.tile(swells.swells(frames), (SEGMENTS, 1)),
        "articulation": _articulation(frames, window),
        "timbre": _timbre(columns, window[:, ::2] // 2),
        "shape": _shape(columns, window[:, ::2] // 2),
        "texture": _texture(frames.power, window),
    }
    families |= {_shift(lag): shifts(pulse, lag=lag) for lag in SHIFTS}
    out = np.zeros((SEGMENTS, len(LAYERS), DIMS), np.float32)
    for layer, name in enumerate(LAYERS):
        out[:, layer, : len(NAMES[name])] = families[name]
    return out


def pulses(salience: Floats, lags: NDArray[np.float64] = LAGS) -> Floats:
    """Autocorrelation of onset strength, at most 1.

    Parameters
    ----------
    salience : float32 [n, SEGMENT]
    lags : float [m]
        Seconds, under those of a segment.

    Returns
    -------
    float32 [n, m]
    """
    from scipy.fft import irfft, rfft

    values = np.clip(salience, -1, 4)
    values = (values - values.mean(axis=1, keepdims=True)) * np.hanning(values.shape[1])
    spectrum = rfft(values, 1024, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    correlation = irfft(power, axis=1)[:, : SEGMENT - 1]
    correlation /= correlation[:, :1] + 1e-6
    at = lags * FRAME_RATE
    low = at.astype(int)
    part = at - low
    between = correlation[:, low] * (1 - part) + correlation[:, low + 1] * part
    return np.asarray(between, np.float32)


def shifts(pulse: Floats, *, lag: int) -> Floats:
    """Correlation of each pulse with the one ``lag`` segments before, over shifts of the lags.

    Parameters
    ----------
    pulse : float32 [n, len(LAGS)]

    Returns
    -------
    float32 [n, 2 * MOST_SHIFT + 1]
        The first ``lag`` rows repeat the first one that there is.
    """
    centred = pulse - pulse.mean(axis=1, keepdims=True)
    now, before = centred[lag:], centred[:-lag]
    size = pulse.shape[1]
    out = np.empty((len(now), 2 * MOST_SHIFT + 1), np.float32)
    for column, step in enumerate(range(-MOST_SHIFT, MOST_SHIFT + 1)):
        one = now[:, max(step, 0) : size + min(step, 0)]
        other = before[:, max(-step, 0) : size - max(step, 0)]
        norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1) + 1e-9)
        out[:, column] = (one * other).sum(axis=1) / norm
    return np.concatenate([np.repeat(out[:1], lag, axis=0), out])


def _every_other(power: Floats) -> Spectrum:
    half = power[::2]
    return Spectrum(power=half, magnitude=np.sqrt(half), log_power=np.log(half))


def _onsets(frames: Frames, window: NDArray[np.int64]) -> Floats:
    strength, salience = frames.strength[window], frames.salience[window]
    seconds = SEGMENT / FRAME_RATE
    rows = []
    for first, last in zip(window[:, 0], window[:, -1], strict=True):
        onsets = frames.onsets[(frames.onsets >= first) & (frames.onsets <= last)]
        logs = np.log(np.diff(onsets) / FRAME_RATE)
        if len(logs) < 2:
            logs = np.log(np.full(2, NO_INTERVAL))
        counts, _ = np.histogram(logs, np.log(INTERVALS))
        moments = (logs.mean(), np.median(logs), logs.std())
        share = np.sqrt(counts / len(logs))
        rows.append(np.concatenate([[np.log1p(len(onsets) / seconds), *moments], share]))
    first_four, histogram = np.split(np.array(rows), [4], axis=1)
    others = (
        np.log(strength.mean(axis=1) + 1e-3),
        np.log(strength.std(axis=1) + 1e-3),
        (salience > 0).mean(axis=1),
        np.abs(np.diff(np.sign(salience), axis=1)).mean(axis=1),
    )
    return np.concatenate([first_four, np.stack(others, axis=1), histogram], axis=1)


def _level(frames: Frames, columns: Floats, window: NDArray[np.int64]) -> Floats:
    half = (SEGMENT - SECOND) // 2
    middle = window[:, half : half + SECOND]
    level = frames.level[middle]
    energy = 10 * np.log10(np.mean(10 ** (level / 10), axis=1))
    ranks = np.percentile(level, (90, 50, 100), axis=1)
    bands = _band_levels(frames.power)
    three = frames.level[window]
    time = (np.arange(SEGMENT) - (SEGMENT - 1) / 2) / FRAME_RATE
    slope = three @ time / (time**2).sum()
    kernel = SECOND // 2
    smooth = np.lib.stride_tricks.sliding_window_view(three, kernel, axis=1).mean(axis=2)
    centroid = columns[:, timbre.N_MELS][middle // 2].mean(axis=1)
    peaks = np.array([_peaks(frames, row[0], row[-1] + 1) for row in middle])
    parts = (energy, *ranks, *peaks.T, *bands[middle].mean(axis=1).T)
    return np.stack([*parts, slope, smooth.std(axis=1), centroid], axis=1)


def _peaks(frames: Frames, first: int, last: int) -> tuple[float, float]:
    """Mean and highest peak of the notes that begin in some frames, else the highest level."""
    begins = (frames.notes.start >= first) & (frames.notes.start < last)
    peaks = frames.notes.peak[begins]
    if not len(peaks):
        peaks = frames.level[first:last].max(keepdims=True)
    return float(peaks.mean()), float(peaks.max())


def _band_levels(power: Floats) -> Floats:
    """Level of octave bands against each band's own mean over the clip, dB, float32 [T, bands]."""
    edges = np.searchsorted(FREQUENCIES, LEVEL_EDGES)
    bands = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    level = 10 * np.log10(np.maximum(bands, bands.mean(axis=0) * 1e-4))
    return np.asarray(level - level.mean(axis=0), np.float32)


def _articulation(frames: Frames, window: NDArray[np.int64]) -> Floats:
    notes, level = frames.notes, frames.level[window]
    rows = []
    for first, last in zip(window[:, 0], window[:, -1], strict=True):
        own = (notes.start >= first) & (notes.end <= last)
        if own.any():
            dip, held, slope = notes.dip[own], notes.held[own], notes.slope[own]
            medians = np.median(dip), dip.mean(), np.median(held), held.mean(), np.median(slope)
            rows.append(medians)
        else:
            rows.append((0.0, 0.0, 1.0, 1.0, 0.0))
    loud = np.percentile(level, 90, axis=1, keepdims=True)
    change = np.diff(level, axis=1)
    others = (
        (level < loud - 20).mean(axis=1),
        (level < loud - 30).mean(axis=1),
        *np.percentile(change, (1, 5, 95, 99), axis=1),
        (change < -1).mean(axis=1),
        (change < -2).mean(axis=1),
    )
    return np.concatenate([np.array(rows), np.stack(others, axis=1)], axis=1)


def _timbre(columns: Floats, window: NDArray[np.int64]) -> Floats:
    from scipy.fft import dct

    cepstra = dct(columns[:, : timbre.N_MELS], norm="ortho")[:, :_N_MFCC][window]
    return np.concatenate([cepstra.mean(axis=1)[:, 1:], cepstra.std(axis=1)], axis=1)


def _shape(columns: Floats, window: NDArray[np.int64]) -> Floats:
    shape = columns[:, timbre.N_MELS :][window]
    return np.concatenate([shape.mean(axis=1), shape.std(axis=1)], axis=1)


def _texture(power: Floats, window: NDArray[np.int64]) -> Floats:
    """Share of the twelve pitch classes, 60 Hz to 2 kHz, how even they are and how few."""
    classes = np.sqrt(power) @ _CLASSES
    share = classes[window].mean(axis=1)
    share /= share.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(share + 1e-9)).sum(axis=1)
    return np.concatenate([share, np.stack([entropy, share.max(axis=1)], axis=1)], axis=1)


def _pitch_classes() -> Floats:
    pitch = np.round(69 + 12 * np.log2(FREQUENCIES / 440)).astype(int)
    heard = (FREQUENCIES >= 60) & (FREQUENCIES <= 2000)
    bank = np.zeros((len(FREQUENCIES), 12), np.float32)
    bank[np.flatnonzero(heard), pitch[heard] % 12] = 1
    return bank


_CLASSES = _pitch_classes()
