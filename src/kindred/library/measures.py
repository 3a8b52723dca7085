"""Tempo, key and loudness of a track, measured from its audio.

The descriptors of every window already hold a pulse spectrum and a pitch-class profile, so an
ingest with ``descriptors`` measures as it reads and nothing is decoded or transformed twice. The
results stand in ``Track.extra`` as text, under :data:`FIELDS`; an empty text means that there was
nothing to measure, a missing one that nobody measured yet.

- **Tempo**: the strongest pulse of the mean over the windows, weighed by a log-normal prior around
  120 beats a minute (Ellis, 2007). A pulse and its double look alike: half or twice the tempo that
  a listener taps is a common answer. The grid is 10 % wide and read between its points; steady
  clicks come out within 2 %.
- **Key**: the one of 24 whose profile (Temperley, 2007, from the Kostka-Payne corpus) correlates
  best with the mean pitch-class profile, as Krumhansl and Schmuckler do it. Modal music, and music
  that changes key, gets the nearest major or minor key.
- **Loudness**: see :mod:`kindred.audio.loudness`; of the mono mix, below 11 kHz.

References: D. Ellis, "Beat tracking by dynamic programming", JNMR 36(1), 2007. D. Temperley, *Music
and Probability*, MIT Press, 2007. C. Krumhansl, *Cognitive Foundations of Musical Pitch*, 1990.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audio.loudness import LoudnessMeter
from kindred.embeddings.descriptors import DIMENSIONS
from kindred.embeddings.features.rhythm import TEMPI
from kindred.embeddings.features.spectrum import SAMPLE_RATE
from kindred.storage.records import Track

#: Names in ``Track.extra``.
TEMPO, KEY, CLARITY, LOUDNESS = FIELDS = (
    "measured_tempo",
    "measured_key",
    "measured_key_clarity",
    "measured_loudness",
)
#: Seconds of a window; the descriptors repeat what is shorter, which would make up a pulse.
WINDOW = 10
#: Weaker pulses are no beat. At 0.1 the demo's tempi were right up to octaves in 7 of 10 tracks.
_LEAST_PULSE = 0.1
_PRIOR, _PRIOR_OCTAVES = 120.0, 0.9
#: A flat profile (noise) has no key, and neither has one that resembles none this much: all of the
#: demo does, and one in eight drums of one fixed sound.
_LEAST_SPREAD, _LEAST_CLARITY = 0.2, 0.7

_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)
#: The 24 keys as they are named throughout: major from C up, then minor.
KEYS = (
    *(f"{tonic} major" for tonic in ("C", "D-flat", "D", "E-flat", "E", "F")),
    *(f"{tonic} major" for tonic in ("F-sharp", "G", "A-flat", "A", "B-flat", "B")),
    *(f"{tonic} minor" for tonic in ("C", "C-sharp", "D", "E-flat", "E", "F")),
    *(f"{tonic} minor" for tonic in ("F-sharp", "G", "G-sharp", "A", "B-flat", "B")),
)
_PROFILES = np.array([np.roll(mode, tonic) for mode in (_MAJOR, _MINOR) for tonic in range(12)])

_PULSE = [at for at, name in enumerate(DIMENSIONS) if name.endswith(" bpm")]
_PITCHES = [at for at, name in enumerate(DIMENSIONS) if name.startswith("harmony: pitch class ")]
_ONSET_RATE = DIMENSIONS.index("rhythm: onset rate")


@dataclass(frozen=True)
class Measures:
    """What was measured of a track.

    Attributes
    ----------
    tempo : float or None
        Beats a minute, up to octaves; None when there is no beat.
    key : str
        One of :data:`KEYS`; empty when there is none.
    key_clarity : float
        Correlation with the key's profile, in [0, 1]; 0 without a key.
    loudness : float or None
        LUFS; None when it is too soft for the gate.
    """

    tempo: float | None = None
    key: str = ""
    key_clarity: float = 0.0
    loudness: float | None = None

    def to_extra(self) -> dict[str, str]:
        """As ``Track.extra`` keeps it."""
        return {
            TEMPO: "" if self.tempo is None else f"{self.tempo:.1f}",
            KEY: self.key,
            CLARITY: f"{self.key_clarity:.2f}" if self.key else "",
            LOUDNESS: "" if self.loudness is None else f"{self.loudness:.1f}",
        }


class TrackMeter:
    """Measures one track while it is read; the two streams may come from two threads."""

    def __init__(self) -> None:
        self._loudness = LoudnessMeter(SAMPLE_RATE)
        self._samples = 0
        self._windows: list[NDArray[np.float32]] = []

    def hear(self, block: NDArray[np.float32]) -> None:
        """Take in the next samples, float32 [n], mono at 22,050 Hz."""
        self._samples += len(block)
        self._loudness.add(block)

    def add(self, raw: NDArray[np.float32]) -> None:
        """Take in the raw descriptors of the next windows, float32 [n, dims]."""
        self._windows.append(raw)

    def measures(self) -> Measures:
        """The measures, once all is heard; tempo and key from whole windows only."""
        loudness = self._loudness.loudness()
        whole = self._samples // (WINDOW * SAMPLE_RATE)
        if not whole:
            return Measures(loudness=loudness)
        mean = np.concatenate(self._windows)[:whole].mean(axis=0, dtype=np.float64)
        onsets = float(np.expm1(mean[_ONSET_RATE]))  # a second
        tempo = _tempo(mean[_PULSE]) if onsets >= TEMPI[0] / 60 else None
        return Measures(tempo, *_key(mean[_PITCHES]), loudness)


def _tempo(pulse: NDArray[np.float64]) -> float | None:
    """Tempo of a pulse spectrum on the grid of the descriptors, float64 [24]."""
    octaves = np.log2(TEMPI)
    prior = np.exp(-0.5 * ((octaves - np.log2(_PRIOR)) / _PRIOR_OCTAVES) ** 2)
    best = 1 + int(np.argmax((pulse * prior)[1:-1]))
    if pulse[best] < _LEAST_PULSE:
        return None
    before, top, after = pulse[best - 1 : best + 2]
    # Vertex of the parabola through the three points, where they make a peak.
    bend = before - 2 * top + after
    offset = np.clip(0.5 * (before - after) / bend, -0.5, 0.5) if bend < 0 else 0.0
    return float(2 ** (octaves[best] + offset * (octaves[1] - octaves[0])))


def _key(profile: NDArray[np.float64]) -> tuple[str, float]:
    """Key and clarity of a pitch-class profile from C up, float64 [12]."""
    if profile.std() < _LEAST_SPREAD * profile.mean():
        return "", 0.0
    # The root keeps one long or loud note from deciding alone.
    correlation = np.corrcoef(np.sqrt(profile), _PROFILES)[0, 1:]
    best = int(np.argmax(correlation))
    clarity = float(correlation[best])
    return (KEYS[best], clarity) if clarity >= _LEAST_CLARITY else ("", 0.0)


# -- what a track carries ------------------------------------------------------------------------
def measured_extra(extra: Mapping[str, str]) -> dict[str, str]:
    """The part of ``Track.extra`` that was measured; empty when nobody measured the track yet."""
    return {name: extra[name] for name in FIELDS if name in extra}


def measured(track: Track) -> Measures:
    """What was measured of a track; nothing where nobody did."""
    extra = track.extra
    key = extra.get(KEY, "")
    return Measures(
        tempo=_number(extra.get(TEMPO, "")),
        key=key if key in KEYS else "",
        key_clarity=_number(extra.get(CLARITY, "")) or 0.0,
        loudness=_number(extra.get(LOUDNESS, "")),
    )


def tempo_of(track: Track) -> float | None:
    """Beats a minute: what the file's tag says where it can be read, else what was measured."""
    match = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(?:bpm)?", track.extra.get("bpm", "").strip(), re.I)
    tagged = float(match[1].replace(",", ".")) if match else 0.0
    return tagged if 20 <= tagged <= 400 else measured(track).tempo


def loudness_of(track: Track) -> float | None:
    """Integrated loudness of the mono mix, LUFS."""
    return measured(track).loudness


def key_of(track: Track) -> str:
    """One of :data:`KEYS`: what the file's tag says where it can be read, else what was measured.

    Empty when neither says anything.
    """
    return parse_key(track.extra.get("key", "")) or measured(track).key


def parse_key(text: str) -> str:
    """One of :data:`KEYS` from a spelling people use, or an empty text.

    Read are ``D minor``, ``Dm``, ``Dmin``, ``Bb``, ``F#m``, ``C♯ minor``, ``E-flat major``, and the
    wheels of Camelot (``8A``) and Open Key (``1m``). Keys that sound alike have one name: ``Gb`` is
    F-sharp major. A small letter alone may mean minor or carelessness and is not read, nor are
    German names, whose B is another note.
    """
    text = " ".join(text.split())
    if match := re.fullmatch(r"0?([1-9]|1[0-2])([ABmd])", text, re.I):
        minor = match[2].lower() in "am"
        fifths = int(match[1]) - (8 if match[2].lower() in "ab" else 1)
        return KEYS[12 + (9 + 7 * fifths) % 12 if minor else 7 * fifths % 12]
    match = re.fullmatch(
        r"([A-Ga-g])[ -]?(?:(#|♯|sharp)|(b|♭|flat))?[ -]?(M|[Mm]aj(?:or)?|(m|[Mm]in(?:or)?))?", text
    )
    if not match or (match[1].islower() and not match[4]):
        return ""
    natural = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[match[1].upper()]
    tonic = (natural + bool(match[2]) - bool(match[3])) % 12
    return KEYS[tonic + 12 * bool(match[5])]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,3}(\.\d+)?", text) else None
