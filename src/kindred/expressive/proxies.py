"""What stands for the aspects where no notes are known: eight numbers heard in a clip's audio.

Five are the proxies of :data:`~kindred.expressive.aspects.ASPECTS`, in that order. Three are what a
scorer must not live on: loudness, duration and centroid, the shortcuts that a probe tries.

The intervals between beats are read from the pulse of each segment as a path of lags that changes
slowly (dynamic programming, as in Ellis, "Beat tracking by dynamic programming", 2007). Which
metrical level it follows does not matter: only its deviation is kept, as a logarithm.
"""

from __future__ import annotations

import numpy as np

from kindred.audio.loudness import LoudnessMeter
from kindred.embeddings.features.spectrum import FREQUENCIES, SAMPLE_RATE
from kindred.expressive.layered import SEGMENT, STEP, pulses
from kindred.expressive.onsets import FRAME_RATE, QUIET, Floats, Frames, analyse

#: Raised whenever a number changes.
REVISION = 2
#: Names of the numbers, in order.
NAMES = (
    *("tempo", "phrasing", "dynamics", "articulation", "timbre"),
    *("loudness", "seconds", "log centroid"),
)
#: Loudness given to what a meter calls silent: its absolute gate, LUFS.
SILENT = -70.0
#: Sound is what lies at most so far under the clip's loudest 30 ms, dB.
SOUND_DB = 40.0
#: Intervals at which beats are looked for, seconds.
BEATS = np.geomspace(0.2, 1.5, 100)
#: What a path pays for a change of one step of that scale between segments, in correlation.
STEADY = 0.02


def proxies(audio: Floats, sample_rate: int) -> Floats:
    """Proxies of clips.

    Parameters
    ----------
    audio : float32 [n, samples]
        Of at least 4 s; values that are not finite count as 0.
    sample_rate : int
        Hz; other rates than 22,050 are resampled.

    Returns
    -------
    float32 [n, 8]
        In the order of :data:`NAMES`: onsets a second; deviation of the log interval between beats,
        nepers; deviation of the level smoothed over a second, dB; median dip of the level between
        onsets, dB; mean spectral centroid, octaves around 1 kHz; integrated loudness, LUFS; seconds
        from the first sound to the last; log centroid of the mean spectrum, Hz. All finite.

    Raises
    ------
    ValueError
        When the clips are shorter than 4 s.
    """
    if audio.ndim != 2 or audio.shape[1] < 4 * sample_rate:
        raise ValueError(f"Clips are [n, samples] of at least 4 s, got {audio.shape}.")
    rows = [_proxies(clip, sample_rate) for clip in audio]
    return np.array(rows, np.float32).reshape(len(audio), len(NAMES))


def _proxies(clip: Floats, sample_rate: int) -> tuple[float, ...]:
    clip = np.nan_to_num(clip, nan=0.0, posinf=0.0, neginf=0.0)
    if sample_rate != SAMPLE_RATE:
        import soxr

        clip = soxr.resample(clip, sample_rate, SAMPLE_RATE)
    frames = analyse(clip)
    level, dips = frames.level, frames.notes.dip
    second = round(FRAME_RATE)
    # The mean of powers, not of levels: those would tell of the gaps between short notes.
    smooth = 10 * np.log10(np.convolve(10 ** (level / 10), np.full(second, 1 / second), "valid"))
    sounds = (level > level.max() - SOUND_DB) & (level > QUIET)
    magnitude = np.sqrt(frames.power)
    heard = magnitude[sounds] if sounds.any() else magnitude
    centroid = (heard @ np.log2(FREQUENCIES / 1000)) / heard.sum(axis=1)
    mean = magnitude.mean(axis=0)
    return (
        len(frames.onsets) / len(level) * FRAME_RATE,
        beat_deviation(frames),
        float(smooth.std()),
        float(np.median(dips)) if len(dips) else 0.0,
        float(centroid.mean()),
        _loudness(clip),
        float(np.ptp(np.flatnonzero(sounds)) + 1) / FRAME_RATE if sounds.any() else 0.0,
        float(np.log(mean @ FREQUENCIES / mean.sum())),
    )


def beat_deviation(frames: Frames) -> float:
    """Standard deviation of the log interval between beats over a clip's segments, nepers."""
    start = np.arange(0, len(frames.level) - SEGMENT + 1, STEP)
    pulse = pulses(frames.salience[start[:, None] + np.arange(SEGMENT)], BEATS)
    step = np.arange(len(BEATS))
    price = STEADY * np.abs(step[:, None] - step)
    best, came = pulse[0], []
    for row in pulse[1:]:
        options = best - price  # to a lag (rows) from a lag (columns)
        came.append(options.argmax(axis=1))
        best = options.max(axis=1) + row
    path = [int(best.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return float(np.log(BEATS[path]).std())


def _loudness(clip: Floats) -> float:
    meter = LoudnessMeter(SAMPLE_RATE)
    meter.add(np.clip(clip, -1e6, 1e6))
    loudness = meter.loudness()
    return SILENT if loudness is None else loudness
