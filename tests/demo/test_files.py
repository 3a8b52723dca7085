"""Files: formats, tags, covers, and what cannot be written."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import mutagen
import numpy as np
import pytest
from PIL import Image

from kindred.audio.tags import read_tags
from kindred.demo import demo_tracks
from kindred.demo.cover import SIDE, draw_cover
from kindred.demo.files import write_track
from kindred.demo.tracks import COMMENT, FORMATS, Track

COVER = draw_cover("Chorales and a Prelude")


def made(kind: str, *, channels: int = 2, rate: int = 44_100) -> tuple[Track, np.ndarray]:
    track = next(track for track in demo_tracks() if "Déploration" in track.title)
    track = replace(
        track, format=kind, path=f"a/b/01 x.{kind}", channels=channels, sample_rate=rate
    )
    at = np.arange(2 * rate) / rate
    sound = 0.3 * np.stack([np.sin(2 * np.pi * 440 * at), np.sin(2 * np.pi * 660 * at)], axis=1)
    return track, sound.astype(np.float32)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_field_can_be_read_back(tmp_path: Path, kind: str) -> None:
    track, sound = made(kind)
    size = write_track(tmp_path, track=track, sound=sound, cover=COVER)
    path = tmp_path / track.path
    assert path.stat().st_size == size
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    tags = read_tags(path)
    for field in ("title", "artist", "album", "album_artist", "composer", "work", "genre", "year"):
        assert getattr(tags, field) == getattr(track, field), field
    assert tags.track_no == track.number
    assert tags.cover == COVER
    assert not tags.problem
    assert COMMENT in str(mutagen.File(path).tags.pprint())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("channels", "rate"), [(1, 44_100), (2, 48_000)])
def test_sound_comes_back(tmp_path: Path, kind: str, channels: int, rate: int) -> None:
    track, sound = made(kind, channels=channels, rate=rate)
    write_track(tmp_path, track=track, sound=sound, cover=COVER)
    info = mutagen.File(tmp_path / track.path).info
    assert (info.channels, info.sample_rate) == (channels, rate)
    assert info.length == pytest.approx(2, abs=0.1)


def test_a_cover_is_a_square_jpeg_of_its_album() -> None:
    assert draw_cover("Chorales and a Prelude") == COVER
    assert draw_cover("Two Quartets") != COVER
    for album in {track.album for track in demo_tracks()}:
        data = draw_cover(album)
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
            assert len(picture.resize((64, 64)).getcolors(4096) or []) > 50
        assert 15_000 < len(data) < 110_000


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kindred.errors import KindredError

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    track, sound = made("wav")
    with pytest.raises(KindredError, match="No space left on device") as caught:
        write_track(tmp_path, track=track, sound=sound, cover=COVER)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "a" / "b").iterdir()) == []
