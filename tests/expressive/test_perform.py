"""Performances: each aspect moves what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kindred.demo.performance import Performance
from kindred.demo.score import Note, Score
from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, LEVELS, UNSEEN_PROGRAMS
from kindred.expressive.clips import Recipe
from kindred.expressive.perform import PHRASE, perform, warped

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
MIDDLE = Recipe("score", 0, (2, 0, 0, 2, 0), PROGRAMS)


def written(notes: int = 160, parts: int = 3) -> Score:
    """Quarters in ``parts`` parts an octave apart, the first the lowest."""
    found = tuple(
        Note(part, 48 + 12 * part + at % 7, float(at), 1.0)
        for at in range(notes)
        for part in range(parts)
    )
    return Score(found, parts, ((0.0, float(notes)),), False)


def played(recipe: Recipe, score: Score | None = None, seconds: float = 12.0) -> Performance:
    return perform(score or written(), recipe, seconds=seconds)


def at_level(recipe: Recipe, aspect: int, level: int) -> Recipe:
    levels = recipe.levels
    return replace(recipe, levels=(*levels[:aspect], level, *levels[aspect + 1 :]))


def starts(performance: Performance, channel: int = 0) -> np.ndarray:
    return np.array([each.start for each in performance.events if each.channel == channel])


@pytest.mark.parametrize("level", range(LEVELS))
def test_tempo_is_onsets_a_second_whatever_is_written(level: int) -> None:
    wanted = 3.5 * ASPECTS[0].steps[level]
    slow = written()
    quick = Score(
        tuple(replace(each, onset=each.onset / 8, duration=1 / 8) for each in slow.notes),
        slow.parts,
        ((0.0, slow.length / 8),),
        False,
    )
    for score in (slow, quick):
        found = starts(played(at_level(MIDDLE, 0, level), score))
        assert 1 / np.median(np.diff(found)) == pytest.approx(wanted, rel=0.03)
        assert len(found) == pytest.approx(12 * wanted, abs=1.5)


@pytest.mark.parametrize("depth", ASPECTS[1].steps)
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.99])
def test_phrasing_bends_time_and_keeps_the_length_of_phrases(depth: float, phase: float) -> None:
    at = np.arange(0, 12, 0.01)
    time = np.array([warped(each, depth=depth, phase=phase) for each in at])
    assert time[0] == 0
    assert (np.diff(time) > 0).all()
    whole = np.array([warped(each + PHRASE, depth=depth, phase=phase) for each in at])
    np.testing.assert_allclose(whole - time, PHRASE)
    speed = np.diff(time) / 0.01
    assert speed.max() == pytest.approx(1 + depth, abs=0.01)
    assert speed.min() == pytest.approx(1 - depth, abs=0.01)


def test_dynamics_swell_over_each_phrase() -> None:
    for level, swell in enumerate(ASPECTS[2].steps):
        recipe = at_level(MIDDLE, 2, level)
        velocity = np.array([each.velocity for each in played(recipe, seconds=60).events])
        assert velocity.mean() == pytest.approx(76, abs=1.5)
        assert velocity.std() == pytest.approx(np.hypot(swell / np.sqrt(2), 3), rel=0.1)
        assert velocity.min() >= 16


@pytest.mark.parametrize("level", range(LEVELS))
def test_articulation_is_the_share_of_a_note_that_sounds(level: int) -> None:
    found = played(at_level(MIDDLE, 3, level))
    lasts = [each.end - each.start for each in found.events]
    assert np.median(lasts) == pytest.approx(ASPECTS[3].steps[level] / 3.5, rel=0.02)


def test_the_shortest_notes_last_fifty_milliseconds() -> None:
    trill = tuple(Note(0, 60 + at % 2, at / 8 if at % 2 else float(at), 1 / 8) for at in range(150))
    score = Score(tuple(sorted(trill, key=lambda each: each.onset)), 1, ((0.0, 150.0),), False)
    found = played(replace(MIDDLE, levels=(4, 0, 0, 0, 0)), score)
    assert min(each.end - each.start for each in found.events) >= 0.05 - 1e-9


def test_one_aspect_leaves_the_others_alone() -> None:
    base = replace(MIDDLE, levels=(2, 2, 2, 2, 0), phase=0.4, seed=5)
    plain = played(base).events
    shorter = played(at_level(base, 3, 0)).events
    assert [each.start for each in shorter] == [each.start for each in plain]
    assert [each.velocity for each in shorter] == [each.velocity for each in plain]
    flat = played(at_level(base, 2, 0)).events
    assert [(each.start, each.end) for each in flat] == [(each.start, each.end) for each in plain]
    faster = played(at_level(base, 0, 4)).events
    assert [each.velocity for each in faster[: len(plain)]] == [each.velocity for each in plain]
    higher = played(replace(base, transpose=4)).events
    assert [replace(each, pitch=each.pitch - 4) for each in higher] == list(plain)
    thinner = played(replace(base, texture=0.5)).events
    assert set(thinner) < set(plain)


def test_timbre_is_the_program_of_every_part() -> None:
    for level in range(LEVELS):
        assert set(played(at_level(MIDDLE, 4, level)).programs.values()) == {PROGRAMS[level]}
    unseen = replace(at_level(MIDDLE, 4, 3), programs=UNSEEN_PROGRAMS)
    assert set(played(unseen).programs.values()) == {UNSEEN_PROGRAMS[3]}


def test_outer_parts_play_first() -> None:
    for parts, texture, kept in (
        (4, 0.5, {0, 3}),
        (4, 0.75, {0, 2, 3}),
        (3, 0.5, {0, 2}),
        (1, 0.5, {0}),
        (5, 1.0, {0, 1, 2, 3, 4}),
    ):
        found = played(replace(MIDDLE, texture=texture), written(parts=parts))
        assert {each.channel for each in found.events} == kept


def test_parts_that_rest_do_not_leave_an_excerpt_silent() -> None:
    """Of four parts the outer ones come in late, or not at all."""
    score = written(parts=4)
    for enters in (20.0, 1000.0):
        notes = tuple(note for note in score.notes if note.part in {1, 2} or note.onset >= enters)
        late = replace(score, notes=notes)
        found = starts(played(replace(MIDDLE, texture=0.5), late), channel=2)
        assert found[0] < 0.05
        assert np.diff(found).max() < 0.4


def test_the_tenth_part_does_not_play_drums() -> None:
    found = played(MIDDLE, written(parts=11))
    assert 9 not in found.programs
    assert len(found.programs) == 11


def test_an_excerpt_follows_the_one_before() -> None:
    first, second = (
        played(replace(MIDDLE, excerpt=which), seconds=17.0).events for which in (0, 1)
    )
    pitches = [each.pitch for each in (*first, *second) if each.channel == 0]
    assert pitches[0] == 48
    assert second[0].start < 0.05
    assert next(each.pitch for each in second if each.channel == 0) == 48 + 61 % 7


def test_a_short_piece_is_repeated() -> None:
    found = starts(played(replace(MIDDLE, excerpt=1, levels=(4, 4, 4, 4, 4)), written(30)))
    assert found[-1] > 11.5
    assert np.diff(found).max() < 0.6


def test_what_sounds_when_an_excerpt_begins_begins_with_it() -> None:
    notes = (*written(parts=1).notes, Note(1, 36, 50.0, 40.0))
    score = Score(tuple(sorted(notes, key=lambda each: each.onset)), 2, ((0.0, 160.0),), False)
    bass = [each for each in played(replace(MIDDLE, excerpt=1), score).events if each.channel == 1]
    assert bass[0].start < 0.05
    assert bass[0].end - bass[0].start == pytest.approx(0.7 * 29 / 3.5, rel=0.02)


def test_the_seed_moves_velocities_and_starts_a_little() -> None:
    one, same, other = (played(replace(MIDDLE, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    late = starts(one) - starts(other)
    assert 0 < np.abs(late).max() < 0.02


@pytest.mark.parametrize("levels", [(2, 2, 2, 2), (2, 2, 2, 2, 5), (-1, -1, -1, -1, 0)])
def test_levels_that_are_none_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ExpressiveError, match="levels 0 to 4 of tempo, phrasing"):
        played(replace(MIDDLE, levels=levels))


def test_a_score_with_hardly_a_note_is_refused() -> None:
    with pytest.raises(ExpressiveError, match="3 onsets is too short"):
        played(MIDDLE, written(3))
