"""Features kept on disk: computed once, whole after a kill, and told when they cannot be made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kindred.errors import ExpressiveError, WeightsMissing
from kindred.expressive import proxies
from kindred.expressive.clips import SAMPLE_RATE, Clip, Recipe
from kindred.expressive.features import extract, load
from kindred.expressive.render import audio_path
from kindred.expressive.scoring import Floats
from kindred.expressive.sources import Layered
from tests.expressive.playing import steady, tones


class Counted(Layered):
    """Our descriptors, kept in this process and counted."""

    forks = False

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def layers(self, batch: Floats) -> Floats:
        self.heard += len(batch)
        return super().layers(batch)


def clip_of(number: int) -> Clip:
    recipe = Recipe(f"score {number}", 0, (2, 0, 0, 2, 0), (0, 6, 19, 48, 71), seed=number)
    work = str(number)
    levels = recipe.levels
    return Clip(recipe.digest, "factorial", "train", work, work, work, work, levels, recipe)


CLIPS = [clip_of(number) for number in range(4)]


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for number, clip in enumerate(CLIPS):
        write(folder, clip, tones(steady(2 + number)))
    return folder


def write(folder: Path, clip: Clip, sound: Floats, *, rate: int = SAMPLE_RATE) -> Path:
    path = audio_path(folder, clip.clip_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, format="FLAC", subtype="PCM_16")
    return path


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def stopping_after(count: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, words: str) -> None:
        assert total == len(CLIPS)
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_features_are_those_of_the_clips_in_their_order(audio: Path, tmp_path: Path) -> None:
    source = Layered()
    extract(CLIPS, audio, tmp_path, source, workers=2)
    features = load([CLIPS[3], CLIPS[0], CLIPS[3]], tmp_path, source)
    sound = np.stack(
        [soundfile.read(audio_path(audio, CLIPS[k].clip_id), dtype="float32")[0] for k in (3, 0, 3)]
    )
    assert features.array.dtype == np.float16
    assert np.array_equal(features.array, source.layers(sound).astype(np.float16))
    assert np.array_equal(features.proxies, proxies.proxies(sound, SAMPLE_RATE))
    assert load([], tmp_path, source).array.shape == (0, *source.shape)


def test_one_process_or_two_give_the_same_bytes(audio: Path, tmp_path: Path) -> None:
    extract(CLIPS, audio, tmp_path / "two", Layered(), workers=2)
    extract(CLIPS[::-1], audio, tmp_path / "one", Layered(), workers=1)
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert [path.name for path in one] == [path.name for path in two]
    assert len(one) == len(CLIPS)
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_run_that_was_ended_goes_on_where_it_stopped(audio: Path, tmp_path: Path) -> None:
    source = Counted()
    with pytest.raises(KeyboardInterrupt):
        extract(CLIPS, audio, tmp_path, source, progress=stopping_after(2))
    with pytest.raises(ExpressiveError, match="2 of 4 clips have no whole features"):
        load(CLIPS, tmp_path, source)
    said: list[tuple[int, int, str]] = []
    extract(CLIPS, audio, tmp_path, source, progress=lambda *each: said.append(each))
    assert source.heard == 4
    assert said[0] == (2, 4, "clips are there already")
    assert [done for done, _, _ in said] == [2, 3, 4]
    extract(CLIPS * 2, audio, tmp_path, source)
    assert source.heard == 4


def test_a_cancelled_run_keeps_what_is_finished(audio: Path, tmp_path: Path) -> None:
    source = Counted()
    extract(CLIPS, audio, tmp_path, source, cancelled=lambda: source.heard == 3)
    assert len(files_of(tmp_path)) == 3


def test_a_file_killed_in_the_middle_of_writing_is_never_read(audio: Path, tmp_path: Path) -> None:
    source = Counted()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(CLIPS[:1], audio, tmp_path, source)
    assert not files_of(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "garbled", "empty", "another shape", "not numbers"])
def test_damaged_files_are_computed_again(audio: Path, tmp_path: Path, damage: str) -> None:
    source = Counted()
    extract(CLIPS, audio, tmp_path, source)
    whole = load(CLIPS, tmp_path, source).array
    path = next(path for path in files_of(tmp_path) if path.stem == CLIPS[1].clip_id)
    data = bytearray(path.read_bytes())
    row = np.zeros(8, np.float32)
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbled":
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "another shape":
        np.savez(path, layers=np.zeros((2, 3, 4), np.float16), proxies=row)
    else:
        np.savez(path, layers=np.full(source.shape, np.nan, np.float16), proxies=row)
    with pytest.raises(ExpressiveError, match=CLIPS[1].clip_id):
        load(CLIPS, tmp_path, source)
    extract(CLIPS, audio, tmp_path, source)
    assert source.heard == 5
    assert np.array_equal(load(CLIPS, tmp_path, source).array, whole)


def test_features_of_another_source_or_revision_are_not_read(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Layered()
    extract(CLIPS, audio, tmp_path, source, workers=1)
    other = Layered()
    other.feature_id = "layers-0"
    with pytest.raises(ExpressiveError, match=r"4 of 4 .* \(layers-0\)"):
        load(CLIPS, tmp_path, other)
    monkeypatch.setattr(proxies, "REVISION", proxies.REVISION + 1)
    with pytest.raises(ExpressiveError, match="4 of 4"):
        load(CLIPS, tmp_path, source)


def test_missing_or_damaged_sound_is_named(audio: Path, tmp_path: Path) -> None:
    absent = clip_of(9)
    with pytest.raises(ExpressiveError, match=rf"{absent.clip_id}.*Render the clips again"):
        extract([absent], audio, tmp_path, Layered(), workers=1)
    path = write(tmp_path / "audio", absent, tones(steady(3)))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ExpressiveError, match=absent.clip_id):
        extract([absent], tmp_path / "audio", tmp_path, Layered(), workers=1)


def test_sound_of_another_length_is_refused_and_of_another_rate_is_not(tmp_path: Path) -> None:
    clip, sound = CLIPS[0], tones(steady(3))
    write(tmp_path / "audio", clip, sound[: 5 * SAMPLE_RATE])
    with pytest.raises(ExpressiveError, match=r"has 5\.00 s of sound, a clip has 12 s"):
        extract([clip], tmp_path / "audio", tmp_path, Layered(), workers=1)
    write(tmp_path / "audio", clip, np.repeat(sound, 2), rate=2 * SAMPLE_RATE)
    extract([clip], tmp_path / "audio", tmp_path, Layered(), workers=1)
    got = load([clip], tmp_path, Layered())
    assert got.proxies[0, 0] == pytest.approx(3, rel=0.1)


def test_values_that_16_bits_do_not_hold_are_refused(audio: Path, tmp_path: Path) -> None:
    class Loud(Counted):
        def layers(self, batch: Floats) -> Floats:
            return super().layers(batch) + np.float32(1e6)

    with pytest.raises(ExpressiveError, match="not finite in 16 bits"):
        extract(CLIPS, audio, tmp_path, Loud())
    assert not files_of(tmp_path)


def test_a_source_that_fails_says_why(audio: Path, tmp_path: Path) -> None:
    class Lost(Counted):
        def layers(self, batch: Floats) -> Floats:
            raise WeightsMissing("The weights are gone.")

    with pytest.raises(WeightsMissing, match="gone"):
        extract(CLIPS, audio, tmp_path, Lost())


def test_a_folder_that_cannot_be_written_is_named(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    with pytest.raises(ExpressiveError, match="cannot be written"):
        extract(CLIPS, audio, tmp_path / "features", Layered(), workers=1)
