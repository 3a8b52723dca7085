"""People's performances: what is measured in notes, and files that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from kindred.demo.performance import Event
from kindred.demo.score import Note, Score
from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, LEVELS
from kindred.expressive.clips import SECONDS, Recipe
from kindred.expressive.human import MOST, SCORE, excerpt, read_performances, survey
from kindred.expressive.note_measures import BOUNDS, calibrated, levels, measure
from kindred.expressive.perform import perform, warped
from kindred.expressive.plan import make_plan
from kindred.expressive.render import render_clip

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
#: Quarters and eighths in two parts, 3.5 onsets a second in all.
SCORE_NOTES = Score(
    tuple(
        note
        for bar in range(80)
        for note in (
            Note(0, 40 + bar % 5, 4.0 * bar, 2.0),
            Note(0, 43 + bar % 5, 4.0 * bar + 2, 2.0),
            *(
                Note(1, 60 + (3 * bar + step) % 12, 4.0 * bar + step / 2, 0.5)
                for step in range(0, 8, 1)
            ),
        )
    ),
    2,
    ((0.0, 320.0),),
    False,
)


def played(level: int, seconds: float = 50.0) -> tuple[Event, ...]:
    recipe = Recipe("score", 0, (2, level, level, level, 0), PROGRAMS)
    return perform(SCORE_NOTES, recipe, seconds=seconds).events


def beats(level: int) -> list[float]:
    depth = ASPECTS[1].steps[level]
    return [warped(number * 0.6, depth=depth, phase=0.0) for number in range(90)]


def write_midi(path: Path, events: tuple[Event, ...], *, drums: bool = False) -> Path:
    midi = pretty_midi.PrettyMIDI(resolution=960)
    for channel in sorted({event.channel for event in events}):
        instrument = pretty_midi.Instrument(0, is_drum=drums)
        instrument.notes = [
            pretty_midi.Note(event.velocity, event.pitch, event.start, event.end)
            for event in events
            if event.channel == channel
        ]
        midi.instruments.append(instrument)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(path))
    return path


def write_beats(path: Path, times: list[float]) -> None:
    path.write_text("".join(f"{time:.4f}\t{time:.4f}\tb\n" for time in times), "utf-8")


@pytest.mark.parametrize("level", range(LEVELS))
def test_levels_are_found_in_the_notes(tmp_path: Path, level: int) -> None:
    write_midi(tmp_path / "played.mid", played(level))
    write_beats(tmp_path / "played_annotations.txt", beats(level))
    clips = read_performances(tmp_path)
    assert len(clips) == 2
    for clip in clips:
        assert abs(clip.level("tempo") - 2) <= 1
        assert clip.levels[1:4] == (level, level, level)
        assert clip.recipe.levels[:4] == (-1, -1, -1, -1)
        assert clip.levels[4] == clip.recipe.levels[4]


def test_phrasing_is_found_without_beats(tmp_path: Path) -> None:
    for level in (0, 4):
        write_midi(tmp_path / str(level) / "played.mid", played(level))
    found = {clip.work: clip.level("phrasing") for clip in read_performances(tmp_path)}
    assert found["0/played"] == 0
    assert found["4/played"] >= 3


def test_bounds_rise_with_the_levels() -> None:
    for name, bounds in BOUNDS.items():
        assert len(bounds) == LEVELS - 1
        assert list(bounds) == sorted(bounds), name
    assert levels({"tempo": 0, "phrasing by beats": 0, "dynamics": 0, "articulation": 0}) == (
        0,
        0,
        0,
        0,
    )
    assert levels({"tempo": 9, "phrasing by onsets": 1, "dynamics": 30, "articulation": 2}) == (
        4,
        4,
        4,
        4,
    )


@pytest.mark.slow
def test_bounds_are_those_of_rendered_performances() -> None:
    for name, bounds in calibrated().items():
        assert bounds == pytest.approx(BOUNDS[name], rel=0.02), name


def test_measures_of_a_scale_are_those_computed_by_hand() -> None:
    scale = [Event(0, 60 + at % 3, 70, at * 0.25, at * 0.25 + 0.2) for at in range(48)]
    values = measure(scale)
    assert values["tempo"] == pytest.approx(4)
    assert values["articulation"] == pytest.approx(0.8)
    assert values["dynamics"] == pytest.approx(0)
    assert values["phrasing by onsets"] == pytest.approx(0, abs=1e-9)
    assert measure(scale, [0, 1, 2, 4])["phrasing by beats"] == pytest.approx(
        np.std(np.log([1, 1, 2]))
    )


def test_excerpts_begin_with_a_note_after_a_quarter_of_the_piece(tmp_path: Path) -> None:
    events = played(0)
    write_midi(tmp_path / "played.mid", events)
    one, two = read_performances(tmp_path)
    last = events[-1].start
    heard = [excerpt(clip.recipe, tmp_path, seconds=SECONDS).events for clip in (one, two)]
    assert heard[0][0].start == heard[1][0].start == 0
    wanted = [event for event in events if last / 4 <= event.start < last / 4 + SECONDS - 1]
    pitches = {(event.pitch, event.velocity) for event in heard[0]}
    assert {(event.pitch, event.velocity) for event in wanted} <= pitches
    assert one.performance == two.performance
    assert (one.recipe.excerpt, two.recipe.excerpt) == (0, 1)


def test_people_are_rendered_on_the_instrument_of_the_recipe(tmp_path: Path) -> None:
    write_midi(tmp_path / "played.mid", played(2))
    clip = read_performances(tmp_path)[0]
    sound = render_clip(clip.recipe, human=tmp_path)
    np.testing.assert_array_equal(render_clip(clip.recipe, human=tmp_path), sound)
    other = replace(clip.recipe, levels=(-1, -1, -1, -1, (clip.levels[4] + 1) % LEVELS))
    assert not np.array_equal(render_clip(other, human=tmp_path), sound)


def test_the_pedal_holds_notes(tmp_path: Path) -> None:
    short = [Event(0, 60 + at % 12, 70, at * 0.5, at * 0.5 + 0.1) for at in range(100)]
    dry = write_midi(tmp_path / "dry" / "played.mid", tuple(short))
    midi = pretty_midi.PrettyMIDI(str(dry))
    midi.instruments[0].control_changes = [
        pretty_midi.ControlChange(64, value, at * 0.5 + when)
        for at in range(100)
        for value, when in ((127, 0.05), (0, 0.45))
    ]
    (tmp_path / "held").mkdir()
    midi.write(str(tmp_path / "held" / "played.mid"))
    found = {clip.work: clip.level("articulation") for clip in read_performances(tmp_path)}
    assert found == {"dry/played": 0, "held/played": 3}


def test_a_plan_takes_people_into_the_test(tmp_path: Path) -> None:
    write_midi(tmp_path / "played.mid", played(1))
    clips = [clip for clip in make_plan("tiny", human=tmp_path) if clip.set == "human"]
    assert tuple(clips) == read_performances(tmp_path)
    assert {clip.split for clip in clips} == {"test"}


def test_the_table_and_scores_say_which_files_are_of_one_work(tmp_path: Path) -> None:
    write_midi(tmp_path / "asap" / "one.mid", played(1))
    write_midi(tmp_path / "asap" / "two.midi", played(3))
    write_midi(tmp_path / "asap" / SCORE, played(0))
    write_midi(tmp_path / "other.MID", played(4))
    (tmp_path / "works.csv").write_text(
        "\ufefffile,work,composer\nother.MID,Étude,Frédéric Chopin\n", "utf-8"
    )
    found = survey(tmp_path)
    assert {clip.work for clip in found.clips} == {"asap", "Étude"}
    assert {clip.composer for clip in found.clips} == {"", "Frédéric Chopin"}
    assert found.left_out == (("asap/midi_score.mid", "a score, not a performance"),)


def test_the_same_file_twice_is_one_performance(tmp_path: Path) -> None:
    path = write_midi(tmp_path / "a.mid", played(1))
    (tmp_path / "b.mid").write_bytes(path.read_bytes())
    assert {clip.work for clip in read_performances(tmp_path)} == {"a"}


def test_files_that_cannot_be_used_are_listed_with_the_reason(tmp_path: Path) -> None:
    good = write_midi(tmp_path / "good.mid", played(2)).read_bytes()
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "text.mid").write_text("no music")
    (tmp_path / "cut.mid").write_bytes(good[: len(good) // 2])
    write_midi(tmp_path / "none.mid", ())
    write_midi(tmp_path / "drums.mid", played(3), drums=True)
    write_midi(tmp_path / "short.mid", played(2, seconds=12.0))
    write_midi(tmp_path / "late.mid", played(1))
    write_beats(tmp_path / "late.beats.txt", [3.0, 2.0, 1.0])
    write_midi(tmp_path / "words.mid", played(4))
    (tmp_path / "words.beats.txt").write_text("one\ntwo\n")
    (tmp_path / "notes.txt").write_text("not a MIDI file by name")
    found = survey(tmp_path)
    assert {clip.work for clip in found.clips} == {"good"}
    reasons = dict(found.left_out)
    assert set(reasons) == {
        f"{name}.mid"
        for name in ("empty", "text", "cut", "none", "drums", "short", "late", "words")
    }
    for name in ("empty", "text", "cut"):
        assert "not a MIDI file that can be read" in reasons[f"{name}.mid"]
    for name in ("none", "drums"):
        assert reasons[f"{name}.mid"] == "it has no notes but drums"
    assert "too short" in reasons["short.mid"]
    assert "do not follow each other in time" in reasons["late.mid"]
    assert "words.beats.txt cannot be read" in reasons["words.mid"]


def test_damaged_bytes_are_refused_or_read_but_never_a_crash(tmp_path: Path) -> None:
    good = write_midi(tmp_path / "good.mid", played(2)).read_bytes()
    chance = np.random.default_rng(0)
    for number in range(60):
        damaged = np.frombuffer(good, np.uint8).copy()
        places = chance.integers(0, len(damaged), 8)
        damaged[places] = chance.integers(0, 256, 8)
        (tmp_path / f"damaged{number}.mid").write_bytes(damaged.tobytes())
    found = survey(tmp_path)
    assert len(found.left_out) + len({clip.performance for clip in found.clips}) == 61


def test_a_folder_without_performances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpressiveError, match=r"there is no \.mid or \.midi file"):
        read_performances(tmp_path)
    with pytest.raises(ExpressiveError, match="There is no folder of performances"):
        read_performances(tmp_path / "nowhere")
    (tmp_path / "text.mid").write_text("no music")
    with pytest.raises(ExpressiveError, match=r"text\.mid: not a MIDI file"):
        make_plan("tiny", human=tmp_path)


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    write_midi(tmp_path / "played.mid", played(1))
    (tmp_path / "works.csv").write_text("name,piece\nplayed.mid,One\n")
    with pytest.raises(ExpressiveError, match="columns are file, work and composer"):
        survey(tmp_path)


def test_a_recipe_without_its_folder_or_file_is_refused(tmp_path: Path) -> None:
    path = write_midi(tmp_path / "played.mid", played(1))
    recipe = read_performances(tmp_path)[0].recipe
    with pytest.raises(ExpressiveError, match="none was given"):
        render_clip(recipe)
    path.unlink()
    with pytest.raises(ExpressiveError, match="Give the folder of MIDI files"):
        render_clip(recipe, human=tmp_path)


def test_more_performances_than_are_wanted_are_left_out_by_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST > 2
    monkeypatch.setattr("kindred.expressive.human.MOST", 2)
    for level in range(4):
        write_midi(tmp_path / f"{level}.mid", played(level))
    found = survey(tmp_path)
    assert len({clip.performance for clip in found.clips}) == 2
    assert [why for _, why in found.left_out] == ["2 performances are enough"] * 2
