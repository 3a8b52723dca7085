"""Performances: a score played with a tempo, phrasing, rubato and articulation of its own.

Conventions: times in seconds from the first note, velocities 1-127, one channel a part. All chance
comes from the ``Random`` that is passed in.

Palestrina's note values look doubled, and note density alone gives a composer away. So the tempo
does not come from the score: it is set so that a piece has about :data:`ONSETS_PER_SECOND` distinct
onsets a second, with a log-normal jitter of 18% that is drawn without looking at the composer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random

from kindred.demo.ensembles import Ensemble, Instrument
from kindred.demo.score import Score

ONSETS_PER_SECOND = 3.2
_TEMPO_JITTER = 0.18
SHORTEST, LONGEST = 30.5, 44.5  # seconds of a track
_TAIL = 2.0  # seconds that the last chord may ring
_DRUMS = 9  # the channel that General MIDI keeps for them


@dataclass(frozen=True)
class Event:
    """A note as played: start and end in seconds."""

    channel: int
    pitch: int
    velocity: int
    start: float
    end: float


@dataclass(frozen=True)
class Performance:
    """What the synthesiser plays.

    Attributes
    ----------
    events : tuple of Event
    programs, pans : dict of int
        General MIDI program and pan (0-127, 64 is the middle) of each channel.
    seconds : float
        Length to render, 30.5-44.5.
    """

    events: tuple[Event, ...]
    programs: dict[int, int]
    pans: dict[int, int]
    seconds: float


@dataclass(frozen=True)
class _Voice:
    """A channel with its General MIDI program, and the shift of its part in semitones."""

    channel: int
    program: int
    shift: int


def perform(score: Score, ensemble: Ensemble, *, chance: Random) -> Performance:
    """Play a score.

    Parameters
    ----------
    score : Score
    ensemble : Ensemble
        Instruments are given to the parts from the highest to the lowest.
    chance : random.Random
        The same state gives the same performance.
    """
    tempo = ONSETS_PER_SECOND * math.exp(chance.gauss(0, _TEMPO_JITTER)) / score.density
    limit = chance.uniform(34.0, LONGEST)
    form = _form(score, tempo)
    length = sum(end - start for start, end in form)
    complete = length / tempo + _TAIL <= limit
    voices = _voices(score, ensemble, chance)
    phrase = max(2.0, 2 * round(chance.uniform(5, 8) * tempo / 2))
    time = _time_map(tempo, phrase, chance.uniform(0.03, 0.28), length if complete else math.inf)
    level, arch = chance.uniform(64, 84), chance.uniform(7, 20)
    legato = chance.uniform(0.62, 1.03)
    events: list[Event] = []
    at = 0.0
    for turn, (start, end) in enumerate(form):
        again = -7 if turn and form[turn - 1] == (start, end) else 0  # the echo of a repeat
        for note in score.notes:
            if not start <= note.onset < end:
                continue
            onset = at + note.onset - start
            lasts = min(note.duration, end - note.onset)
            begin, stop = time(onset), time(onset + lasts)
            rise = arch * (math.sin(math.pi * (onset % phrase) / phrase) - 0.6)
            late = max(0.0, chance.gauss(0.008, 0.006))
            for order, voice in enumerate(voices[note.part]):
                velocity = level + rise + again - 8 * order + chance.gauss(0, 3)
                velocity += 7 if voice.channel == 0 else 0
                events.append(
                    Event(
                        voice.channel,
                        note.pitch + voice.shift,
                        round(min(118, max(24, velocity))),
                        begin + late,
                        begin + late + max(0.07, (stop - begin) * legato),
                    )
                )
        at += end - start
    seconds = min(limit, max(time(length) + _TAIL, SHORTEST)) if complete else limit
    programs = {voice.channel: voice.program for part in voices.values() for voice in part}
    return Performance(
        without_overlaps([event for event in events if event.start < seconds]),
        programs,
        _pans(sorted(programs), chance),
        seconds,
    )


def _form(score: Score, tempo: float) -> list[tuple[float, float]]:
    """The sections as played: once through if that is long enough, else AABB, over and over."""
    if score.cut or score.length / tempo + _TAIL >= SHORTEST:
        return list(score.sections)
    played: list[tuple[float, float]] = []
    seconds = _TAIL
    for section in cycle(section for section in score.sections for _ in range(2)):
        if seconds >= SHORTEST:
            break
        played.append(section)
        seconds += (section[1] - section[0]) / tempo
    return played


def _voices(score: Score, ensemble: Ensemble, chance: Random) -> dict[int, list[_Voice]]:
    """Give each part its voices; channel 0 has the top part."""
    pitches: dict[int, list[int]] = {}
    for note in score.notes:
        pitches.setdefault(note.part, []).append(note.pitch)
    order = sorted(pitches, key=lambda part: -sum(pitches[part]) / len(pitches[part]))
    last = len(ensemble.instruments) - 1
    voices: dict[int, list[_Voice]] = {}
    for rank, part in enumerate(order):
        instrument = ensemble.instruments[round(rank * last / max(1, len(order) - 1))]
        channel = rank + (rank >= _DRUMS)
        shift = _octaves(pitches[part], instrument)
        voices[part] = [_Voice(channel, instrument.program, shift)]
    if len(order) == 1 and chance.random() < 0.7:
        # A tune alone is doubled an octave lower, as players do when two of them meet.
        instrument = ensemble.instruments[last]
        low = [pitch + voices[order[0]][0].shift - 12 for pitch in pitches[order[0]]]
        shift = voices[order[0]][0].shift - 12 + _octaves(low, instrument)
        voices[order[0]].append(_Voice(1, instrument.program, shift))
    return voices


def _octaves(pitches: list[int], instrument: Instrument) -> int:
    """The shift by octaves that leaves the fewest notes outside the range, the smallest first."""

    def outside(shift: int) -> int:
        return sum(not instrument.low <= pitch + shift <= instrument.high for pitch in pitches)

    return min((0, 12, -12, 24, -24), key=outside)


def _time_map(tempo: float, phrase: float, depth: float, end: float) -> Callable[[float], float]:
    """Map quarters to seconds: slower at the seams of phrases, and before the end."""

    def time(at: float) -> float:
        whole, part = divmod(at / phrase, 1)
        warped = whole + part + depth * math.sin(2 * math.pi * part) / (2 * math.pi)
        ritard = max(0.0, min(at, end) - (end - 4)) ** 2 / 24 if end < math.inf else 0.0
        return (warped * phrase + ritard) / tempo

    return time


def without_overlaps(events: list[Event]) -> tuple[Event, ...]:
    """End a note where the same pitch starts again: a channel has each of its pitches once."""
    events = sorted(events, key=lambda event: (event.start, event.channel, event.pitch))
    follows: dict[tuple[int, int], float] = {}
    kept: list[Event] = []
    for event in reversed(events):
        key = (event.channel, event.pitch)
        end = min(event.end, follows.get(key, math.inf) - 0.002)
        if end - event.start > 0.02:  # else two parts of one channel are in unison
            kept.append(replace(event, end=end))
            follows[key] = event.start
    return tuple(reversed(kept))


def _pans(channels: list[int], chance: Random) -> dict[int, int]:
    """Seat the parts from side to side, lightly."""
    width = chance.choice((-26, 26))
    last = max(1, len(channels) - 1)
    return {
        channel: 64 + round(width * (2 * rank / last - 1) if len(channels) > 1 else 0)
        for rank, channel in enumerate(channels)
    }
