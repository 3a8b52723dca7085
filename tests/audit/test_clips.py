"""Clips as listeners get them, measured from the bytes that are sent."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import TIT2, TPE1
from mutagen.mp3 import MP3

from kindred.audit import clips
from kindred.audit.clips import RATE, ClipMaker, cut, encode, faded, loudness, true_peak
from kindred.audit.study import Clip, Study
from kindred.errors import AudioError, AuditError, TrackNotFound
from tests.audit.studies import make_item, make_study

SECONDS = 3.0
RECIPE: dict[str, Any] = {"seconds": SECONDS, "fade": 0.05, "match_loudness": True}


def _music(seconds: float, *, gain: float = 0.2, rate: int = RATE) -> np.ndarray:
    """Chords that come and go, another one on each side, with a little noise: float32 [n, 2]."""
    time = np.arange(round(seconds * rate)) / rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.9 * time)
    left = sum(np.sin(2 * np.pi * tone * time) for tone in (220.0, 277.2, 329.6))
    right = sum(np.sin(2 * np.pi * tone * time + 1) for tone in (220.0, 440.5, 659.3))
    noise = np.random.default_rng(1).normal(size=(len(time), 2)) * 0.05
    return (gain * (np.stack([left, right], 1) * swell[:, None] / 3 + noise)).astype(np.float32)


def _clicks(seconds: float) -> np.ndarray:
    """Quiet but for one hard click a second: its peaks forbid -23 LUFS."""
    audio = _music(seconds, gain=0.001)
    audio[RATE // 2 :: RATE] = 0.9
    return audio


class Folder:
    """Files in a folder, named after their tracks."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.maker = ClipMaker(self.path, home / "clips")

    def path(self, track_id: str) -> Path:
        found = list(self.home.glob(f"{track_id}.*"))
        if not found:
            raise TrackNotFound(track_id)
        return found[0]

    def write(self, name: str, audio: np.ndarray, rate: int = RATE, **options: Any) -> Path:
        path = self.home / name
        soundfile.write(path, audio, rate, **options)
        return path

    def made(self, track_id: str, start: float = 0.0, **recipe: Any) -> Path:
        return self.maker.path(Clip(track_id, start, SECONDS), **(RECIPE | recipe))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _heard(path: Path) -> np.ndarray:
    return clips._decoded(path.read_bytes())


def test_every_clip_has_one_size_and_one_loudness_and_no_word_in_it(folder: Folder) -> None:
    folder.write("stereo.wav", _music(9, gain=0.9))
    folder.write("quiet.flac", _music(9, gain=0.004))
    folder.write("mono.wav", _music(9)[:, 0])
    folder.write("slow.wav", _music(9, rate=22_050), rate=22_050)
    folder.write("studio.wav", _music(9, rate=96_000), rate=96_000, subtype="FLOAT")
    folder.write("six.wav", np.repeat(_music(9), 3, axis=1), subtype="PCM_24")
    folder.write("short.flac", _music(2.5))
    folder.write("tagged.mp3", _music(9), format="MP3")
    tags = MP3(folder.home / "tagged.mp3")
    tags.add_tags()
    tags.tags.add(TIT2(text="Secret Title"))
    tags.tags.add(TPE1(text="Secret Composer"))
    tags.save()
    made = [
        folder.made(name, 1.5)
        for name in ("stereo", "quiet", "mono", "slow", "studio", "six", "tagged")
    ]
    made.append(folder.made("short", 0.25))
    assert len({path.stat().st_size for path in made}) == 1
    for path in made:
        content = path.read_bytes()
        assert content[:2] == b"\xff\xfb"  # a frame from the first byte on: no tag before it
        for word in (b"Secret", b"ID3", b"TAG", b"Xing", b"Info", b"Lavc", b"Lavf", b"TIT2"):
            assert word not in content
        assert not mutagen.File(path).tags
        info = MP3(path).info
        assert (info.bitrate, info.sample_rate, info.channels) == (192_000, 44_100, 2)
        heard = _heard(path)
        assert abs(len(heard) / RATE - SECONDS) < 0.1
        assert loudness(heard) == pytest.approx(-23.0, abs=0.3)
        assert true_peak(heard) <= -1.0


def test_both_sides_are_heard_and_the_place_is_exact(folder: Folder) -> None:
    audio = np.zeros((8 * RATE, 2), np.float32)
    audio[round(3.2 * RATE) :, 0] = 0.5
    folder.write("sides.wav", audio, subtype="FLOAT")
    part = cut(folder.path("sides"), start=3.0, seconds=2.0)
    assert part.shape == (2 * RATE, 2)
    assert np.flatnonzero(part[:, 0])[0] == round(0.2 * RATE)
    assert not part[:, 1].any()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_a_clip_is_the_same_music_in_every_format(folder: Folder, name: str) -> None:
    audio = _music(7)
    folder.write(name, audio)
    part = cut(folder.path("a"), start=2.5, seconds=3.0)
    want = audio[round(2.5 * RATE) : round(5.5 * RATE)]
    assert np.corrcoef(part[:, 1], want[:, 1])[0, 1] > 0.98


def test_fades_are_raised_cosines_at_both_ends() -> None:
    plain = np.ones((RATE, 2), np.float32)
    out = faded(plain, 0.1)
    size = round(0.1 * RATE)
    assert out[0, 0] < 1e-4
    assert out[size // 2, 0] == pytest.approx(0.5, abs=1e-3)
    assert (out[size:-size] == 1).all()
    assert np.allclose(out, out[::-1])
    assert (plain == 1).all()
    assert (faded(plain, 0.0) == 1).all()
    assert faded(plain[:10], 1.0).max() <= 1


def test_where_peaks_forbid_it_the_clip_is_softer_and_that_is_noted(folder: Folder) -> None:
    frames, _, lowered = encode(_clicks(SECONDS), seconds=SECONDS, match_loudness=True)
    heard = clips._decoded(frames)
    assert -1.4 <= true_peak(heard) <= -1.0
    assert lowered == pytest.approx(-23.0 - loudness(heard), abs=0.2)
    assert lowered > 3


def test_a_loudness_that_jumps_where_it_should_be_is_met_as_near_as_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def jumping(audio: np.ndarray) -> float:
        """Gating: a block more or less counts, and no gain gives -23."""
        level = loudness(audio)
        return level + (0.2 if level > -23 else -0.2)

    monkeypatch.setattr(clips, "loudness", jumping)
    frames, _, lowered = encode(_music(SECONDS), seconds=SECONDS, match_loudness=True)
    assert lowered == 0
    assert jumping(clips._decoded(frames)) == pytest.approx(-23, abs=0.5)


def test_without_matching_levels_stay_as_far_apart_as_they_were(folder: Folder) -> None:
    folder.write("loud.wav", _music(5, gain=0.6))
    folder.write("soft.wav", _music(5, gain=0.06))
    loud, soft = (
        loudness(_heard(folder.made(name, match_loudness=False))) for name in ("loud", "soft")
    )
    assert loud - soft == pytest.approx(20.0, abs=0.3)
    hot = np.sign(_music(SECONDS)).astype(np.float32)
    frames, _, lowered = encode(hot, seconds=SECONDS, match_loudness=False)
    assert true_peak(clips._decoded(frames)) <= -1.0
    assert lowered > 0


def test_audio_that_makes_no_clip_is_refused_in_words(folder: Folder) -> None:
    folder.write("silent.wav", np.zeros((9 * RATE, 2), np.float32))
    folder.write("faint.wav", _music(9, gain=1e-6), subtype="FLOAT")
    folder.write("nan.wav", np.full((9 * RATE, 2), np.nan, np.float32), subtype="FLOAT")
    folder.write("short.wav", _music(3))
    (folder.home / "text.mp3").write_text("no audio at all " * 500)
    (folder.home / "empty.mp3").touch()
    for name, start, words in (
        ("silent", 0.0, "-70 LUFS"),
        ("faint", 0.0, "-70 LUFS"),
        ("nan", 0.0, "not numbers"),
        ("short", 2.8, "ends at 3.0 s"),
        ("short", 60.0, "ends at 3.0 s"),
        ("text", 0.0, "cannot be decoded"),
        ("empty", 0.0, "empty"),
    ):
        with pytest.raises(AudioError, match=words):
            folder.made(name, start)
    with pytest.raises(TrackNotFound):
        folder.made("none")
    assert not (folder.home / "clips").exists()


def test_a_clip_is_kept_and_stays_when_its_track_is_away(folder: Folder) -> None:
    folder.write("a.wav", _music(9))
    first = folder.made("a", 1.0)
    stamp = first.stat().st_mtime_ns
    os.remove(folder.path("a"))
    assert folder.made("a", 1.0) == first
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(TrackNotFound):
        folder.made("a", 1.25)


def test_each_recipe_has_its_own_file(folder: Folder) -> None:
    folder.write("a.wav", _music(9))
    made = {
        folder.made("a"),
        folder.made("a", 0.5),
        folder.made("a", seconds=2.0),
        folder.made("a", fade=0.2),
        folder.made("a", match_loudness=False),
    }
    assert len(made) == 5
    assert all(path.exists() for path in made)


def test_threads_that_make_one_clip_at_once_leave_one_whole_file(folder: Folder) -> None:
    folder.write("a.wav", _music(9))
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: folder.made("a"), range(4)))
    assert len(made) == 1
    assert loudness(_heard(made.pop())) == pytest.approx(-23.0, abs=0.3)
    assert len(list((folder.home / "clips").iterdir())) == 2


# -- a whole study -------------------------------------------------------------------------
def _study(folder: Folder, count: int = 3) -> Study:
    study = make_study()
    items = tuple(make_item(str(number), "real") for number in range(count))
    items = tuple(
        replace(
            item,
            reference=Clip("shared", 0.5, SECONDS),
            candidates=tuple(
                replace(one, clip=replace(one.clip, start=1.0, seconds=SECONDS))
                for one in item.candidates
            ),
        )
        for item in items
    )
    folder.write("shared.wav", _music(6))
    for item in items:
        for one in item.candidates:
            folder.write(f"{one.clip.track_id}.wav", _music(6))
    design = replace(study.design, clip_seconds=SECONDS)
    return replace(study, design=design, items=items)


def test_a_study_is_prepared_once_and_again_where_a_track_changed(folder: Folder) -> None:
    study = _study(folder)
    folder.write("track-0-0.wav", _clicks(6))
    told: list[tuple[int, int]] = []
    done = folder.maker.prepare(study, lambda at, of, words: told.append((at, of)))
    assert (done.clips, done.made, done.lowered, done.stopped) == (7, 7, 1, False)
    assert told == [(at, 7) for at in range(1, 8)]
    assert folder.maker.prepare(study).made == 0
    folder.write("track-1-1.wav", _music(7))
    assert folder.maker.prepare(study).made == 1


def test_stopped_or_failed_it_goes_on_where_it_was(folder: Folder) -> None:
    study = _study(folder)
    calls = iter([False, False, True])
    stopped = folder.maker.prepare(study, cancelled=lambda: next(calls, True))
    assert stopped.stopped
    assert stopped.made < 7
    (folder.home / "track-2-0.wav").write_bytes(b"damaged")
    with pytest.raises(AuditError, match="track-2-0, item 2") as failed:
        folder.maker.prepare(study)
    assert "1 of 7" in str(failed.value)
    folder.write("track-2-0.wav", _music(6))
    assert folder.maker.prepare(study).made == 1
