"""Performances to order: a score played at given levels of the aspects.

A score's own tempo is not used, as editions differ in the note values they write: every excerpt is
laid out so that it has :data:`ONSETS_PER_SECOND` distinct onsets a second, its base time. Phrases
of :data:`PHRASE` seconds divide base time; phrasing and dynamics follow them. A phrase's warp and
its swell are a quarter of a phrase apart, so that loud is not where notes are dense.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from random import Random

from kindred.demo.performance import Event, Performance, without_overlaps
from kindred.demo.score import Note, Score
from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.clips import Recipe

ONSETS_PER_SECOND = 3.5
PHRASE = 4.0
#: Onsets of an excerpt: what the fastest tempo plays in a clip and its offset.
EXCERPT_ONSETS = 61
_VELOCITY = 76
_VELOCITY_SPREAD = 3.0
_LATE, _LATE_SPREAD = 0.004, 0.003  # seconds
_SHORTEST = 0.05  # seconds
_LONGEST_REST = 1.0  # base seconds for which all parts may rest when some are left out
_DRUMS = 9  # the channel that General MIDI keeps for them
_CENTRE = 64


def perform(score: Score, recipe: Recipe, *, seconds: float) -> Performance:
    """Play an excerpt of a score.

    Parameters
    ----------
    score : Score
        A piece that is too short for the excerpt is repeated.
    recipe : Recipe
        Its levels, programs, transposition, texture, phase and seed are followed; the rest is the
        renderer's.
    seconds : float
        What to play, from the excerpt's beginning.

    Raises
    ------
    ExpressiveError
        When the recipe has no such level, or the score too few notes.
    """
    steps = _steps(recipe)
    tempo, depth, swell, ratio = steps[:4]
    notes, rate = _excerpt(score, recipe.excerpt)
    playing = _playing(notes, rate, recipe.texture)
    chance = Random(f"{recipe.seed}/{recipe.excerpt}")
    events = []
    for note in notes:
        # Drawn for every note, heard or not: what is left out changes nothing about the others.
        accent = chance.gauss(0, _VELOCITY_SPREAD)
        late = max(0.0, chance.gauss(_LATE, _LATE_SPREAD))
        begin, end = (
            warped(at / rate, depth=depth, phase=recipe.phase) / tempo
            for at in (note.onset, note.onset + note.duration)
        )
        if note.part not in playing or begin >= seconds:
            continue
        turn = 2 * math.pi * (note.onset / rate / PHRASE + recipe.phase)
        velocity = _VELOCITY + swell * math.sin(turn) + accent
        events.append(
            Event(
                note.part if note.part < _DRUMS else note.part + 1,
                note.pitch + recipe.transpose,
                round(min(124, max(16, velocity))),
                begin + late,
                begin + late + max(_SHORTEST, (end - begin) * ratio),
            )
        )
    channels = sorted({event.channel for event in events})
    program = int(steps[4])
    return Performance(
        without_overlaps(events),
        dict.fromkeys(channels, program),
        dict.fromkeys(channels, _CENTRE),
        seconds,
    )


def warped(at: float, *, depth: float, phase: float) -> float:
    """Base seconds as phrased: slower or faster within a phrase, whose length stays the same.

    Time runs at ``1 + depth cos(2 pi u)`` of its speed, where u is the place in the phrase.
    """

    def bend(u: float) -> float:
        return depth * math.sin(2 * math.pi * u) / (2 * math.pi)

    return at + PHRASE * (bend(at / PHRASE + phase) - bend(phase))


def _steps(recipe: Recipe) -> tuple[float, ...]:
    levels = recipe.levels
    if len(levels) != len(ASPECTS) or not all(
        0 <= level < len(aspect.steps) for level, aspect in zip(levels, ASPECTS, strict=True)
    ):
        raise ExpressiveError(
            f"A score is played at levels 0 to 4 of {', '.join(a.key for a in ASPECTS)}, not at"
            f" {levels}."
        )
    ordered = zip(levels[:-1], ASPECTS[:-1], strict=True)
    return (*(aspect.steps[level] for level, aspect in ordered), recipe.programs[levels[-1]])


def _excerpt(score: Score, excerpt: int) -> tuple[list[Note], float]:
    """The notes from an excerpt's beginning on, timed from there, and quarters a base second."""
    first = excerpt * EXCERPT_ONSETS
    distinct = len({round(note.onset, 3) for note in score.notes})
    if distinct < 8:
        raise ExpressiveError(f"A score with {distinct} onsets is too short to be played.")
    turns = range(2 + (first + EXCERPT_ONSETS) // distinct)
    notes = list(chain.from_iterable(_moved(score, turn * score.length) for turn in turns))
    onsets = sorted({round(note.onset, 3) for note in notes})
    start, end = onsets[first], onsets[first + EXCERPT_ONSETS]
    rate = (end - start) * ONSETS_PER_SECOND / EXCERPT_ONSETS
    return [
        # What sounds already when the excerpt begins, begins with it.
        replace(
            note,
            onset=max(0.0, note.onset - start),
            duration=note.onset + note.duration - max(start, note.onset),
        )
        for note in notes
        if note.onset + note.duration > start + 1e-3
    ], rate


def _moved(score: Score, by: float) -> Sequence[Note]:
    return [replace(note, onset=note.onset + by) for note in score.notes]


def _playing(notes: Sequence[Note], rate: float, texture: float) -> frozenset[int]:
    """The parts that play: the highest, the lowest, the second highest and so on.

    Parts that rest throughout the excerpt are not counted, and more parts play than ``texture``
    says where all of them would rest for long.
    """
    seconds = EXCERPT_ONSETS / ONSETS_PER_SECOND
    heard = [note for note in notes if note.onset / rate < seconds]
    pitches: dict[int, list[int]] = {}
    for note in heard:
        pitches.setdefault(note.part, []).append(note.pitch)
    order = sorted(pitches, key=lambda part: -sum(pitches[part]) / len(pitches[part]))
    outer = []
    while order:
        outer.append(order.pop(0))
        order.reverse()
    count = max(1, round(texture * len(outer)))
    while count < len(outer):
        found = [note for note in heard if note.part in outer[:count]]
        if _longest_rest(found, seconds * rate) / rate <= _LONGEST_REST:
            break
        count += 1
    return frozenset(outer[:count])


def _longest_rest(notes: Sequence[Note], end: float) -> float:
    """Quarters for which nothing sounds between 0 and ``end``; notes are in order of onset."""
    until = longest = 0.0
    for note in notes:
        longest = max(longest, note.onset - until)
        until = max(until, note.onset + note.duration)
    return max(longest, end - until)
