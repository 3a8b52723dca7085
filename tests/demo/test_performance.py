"""Performances: length, level, timing, instruments."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from kindred.demo.ensembles import BY_NAME, ENSEMBLES, Ensemble
from kindred.demo.performance import LONGEST, ONSETS_PER_SECOND, SHORTEST, perform
from kindred.demo.score import Note, Score


def scale(*, parts: int = 1, notes: int = 32, value: float = 0.5, cut: bool = False) -> Score:
    """A scale up and down in each part, a third lower in each next one."""
    steps = (0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2)
    played = [
        Note(part, 72 - 4 * part + steps[index % len(steps)], index * value, value)
        for index in range(notes)
        for part in range(parts)
    ]
    end = notes * value
    return Score(tuple(played), parts, ((0, end / 2), (end / 2, end)), cut)


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda ensemble: ensemble.name)
@pytest.mark.parametrize("score", [scale(), scale(parts=5, notes=90), scale(notes=300, cut=True)])
def test_a_performance_fits(ensemble: Ensemble, score: Score) -> None:
    for seed in range(5):
        played = perform(score, ensemble, chance=Random(seed))
        assert SHORTEST <= played.seconds <= LONGEST
        assert max(event.start for event in played.events) > 0.85 * SHORTEST - 4
        assert all(24 <= event.velocity <= 118 for event in played.events)
        assert set(played.pans) == set(played.programs)
        assert all(38 <= pan <= 90 for pan in played.pans.values())
        assert 9 not in played.programs  # General MIDI's drums


def test_no_channel_holds_a_pitch_twice() -> None:
    played = perform(scale(parts=3, notes=200), BY_NAME["Kindred Organ"], chance=Random(3))
    for channel in played.programs:
        for pitch in range(128):
            notes = [e for e in played.events if (e.channel, e.pitch) == (channel, pitch)]
            assert all(one.end < two.start for one, two in pairwise(notes))


def test_note_values_do_not_set_the_tempo() -> None:
    """Palestrina's notes look twice as long as Bach's; their onset rates must not."""
    rates = []
    for value in (0.25, 0.5, 2.0):
        score = scale(notes=400, value=value, cut=True)
        played = perform(score, BY_NAME["Kindred Piano"], chance=Random(7))
        rates.append(len({round(event.start, 3) for event in played.events}) / played.seconds)
    assert max(rates) / min(rates) < 1.6
    assert all(0.5 < rate / ONSETS_PER_SECOND < 3 for rate in rates)


def test_a_short_tune_is_repeated_section_by_section() -> None:
    tune = scale(notes=40, value=1)
    played = perform(tune, BY_NAME["Kindred Harp"], chance=Random(1))
    top = [event.pitch for event in played.events if event.channel == 0]
    assert top[:20] == top[20:40]
    assert top[40:60] == top[60:80] != top[:20]


def test_the_same_chance_gives_the_same_performance() -> None:
    one, two, other = (
        perform(scale(), BY_NAME["Kindred Winds"], chance=Random(seed)) for seed in (1, 1, 2)
    )
    assert one == two != other
