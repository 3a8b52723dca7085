"""No file, however broken, does anything but decode or raise its AudioError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kindred.audio.content import sha256_of
from kindred.audio.decode import decode, open_audio, probe
from kindred.audio.tags import read_tags
from kindred.errors import AudioError
from tests.odd_files import make_odd_files, png, sine, write_av


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("odd")
    return folder, make_odd_files(folder)


def outcome(path: Path) -> tuple[str, str]:
    try:
        audio = decode(path, sample_rate=22_050)
    except AudioError as error:
        return error.code, str(error)
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert np.isfinite(audio).all()
    return "track", ""


def test_each_odd_file_becomes_a_track_or_its_code(
    odd: tuple[Path, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, expected = odd
    expected = {name: code for name, code in expected.items() if name != "inner/up"}
    got = {name: outcome(folder / name) for name in expected}
    assert {name: code for name, (code, _) in got.items()} == expected
    assert all(reason.endswith(".") for code, reason in got.values() if code != "track")
    captured = capfd.readouterr()
    assert captured.err == ""  # no decoder speaks to the terminal
    assert captured.out == ""


def test_there_are_many_kinds(odd: tuple[Path, dict[str, str]]) -> None:
    folder, expected = odd
    assert len(expected) >= 60
    assert {path.name for path in folder.iterdir()} - {"inner"} == set(expected) - {"inner/up"}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty.mp3", "0 bytes"),
        ("text.mp3", "text"),
        ("page.mp3", "HTML"),
        ("archive.mp3", "zip"),
        ("picture.flac", "PNG"),
        ("notes.mp3", "MIDI"),
        ("score.mp3", "PDF"),
        ("list.mp3", "playlist"),
        ("._plain.mp3", "macOS"),
        ("film.m4a", "video without sound"),
        ("folder.mp3", "folder"),
        ("pipe.wav", "pipe"),
        ("itself.wav", "circle"),
        ("nearly-half-a-second.wav", "0.490 s"),
        ("nan.wav", "0.0 s"),
        ("cut.wav", "1.5 s of 3.0 s"),
        ("quick.m4a", "of 3.0 s"),
    ],
)
def test_the_reason_names_what_is_wrong(
    odd: tuple[Path, dict[str, str]], name: str, word: str
) -> None:
    assert word in outcome(odd[0] / name)[1]


def test_tags_and_hash_of_an_odd_file_never_raise_but_for_opening(
    odd: tuple[Path, dict[str, str]],
) -> None:
    folder, expected = odd
    for name, code in expected.items():
        if code in {"empty", "not-a-file", "broken-link", "no-permission", "link-loop"}:
            for read in (read_tags, sha256_of):
                with pytest.raises(AudioError):
                    read(folder / name)
        else:
            read_tags(folder / name)
            assert len(sha256_of(folder / name)) == 64


def test_a_huge_title_is_cut_and_a_large_cover_kept(odd: tuple[Path, dict[str, str]]) -> None:
    tags = read_tags(odd[0] / "tagged.mp3")
    assert tags.title == "T" * 1_000
    assert tags.cover == png(side=1_000, noise=True)


def test_an_id3_header_longer_than_its_file_is_a_problem_said(
    odd: tuple[Path, dict[str, str]],
) -> None:
    tags = read_tags(odd[0] / "broken-id3.mp3")
    assert tags.title == ""
    assert "cannot be read" in tags.problem


def test_the_content_is_named_not_the_suffix(odd: tuple[Path, dict[str, str]]) -> None:
    names = {
        "really-wav.mp3": "wav", "really-mp3.wav": "mp3", "music.txt": "wav", "plain.aac": "aac",
        "flac without ending": "flac", "lossless.m4a": "alac", "plain.m4a": "m4a",
        "plain.opus": "opus", "plain.ogg": "ogg", "plain.aiff": "aiff",
    }  # fmt: skip
    assert {name: probe(odd[0] / name).format for name in names} == names


@pytest.mark.parametrize("suffix", ["mp3", "wav", "raw", "vox", "gsm", "mat"])
def test_noise_under_any_name_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise.{suffix}"
    for seed in range(20):
        path.write_bytes(np.random.default_rng(seed).bytes(20_000))
        with pytest.raises(AudioError) as caught:
            decode(path, sample_rate=48_000)
        assert caught.value.code in {"not-audio", "damaged", "too-short"}


@pytest.mark.parametrize(
    "kind",
    [
        "plain.mp3",
        "plain.m4a",
        "plain.flac",
        "plain.ogg",
        "plain.wav",
        "plain.aiff",
        "plain.opus",
        "lossless.m4a",
        "plain.aac",
    ],
)
def test_overwritten_bytes_give_audio_or_an_audio_error(
    odd: tuple[Path, dict[str, str]], tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (odd[0] / kind).read_bytes()
    path = tmp_path / kind
    rng = np.random.default_rng(7)
    for _ in range(25):
        data = bytearray(whole)
        length = int(rng.integers(1, 400))
        # Half of the blows strike the header.
        at = int(rng.integers(0, 600 if rng.random() < 0.5 else len(data) - length))
        data[at : at + length] = rng.bytes(length)
        path.write_bytes(data)
        outcome(path)
        read_tags(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["../secret", "/dev/null\0", "gone.wav", "x" * 300])
def test_a_name_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError) as caught:
        open_audio(str(tmp_path / "in" / name) if name[0] != "/" else name, sample_rate=8_000)
    assert caught.value.code == "not-a-file"


def test_a_device_is_refused() -> None:
    with pytest.raises(AudioError, match="device"):
        probe("/dev/zero")


def test_an_mp4_that_points_at_another_file_opens_nothing(tmp_path: Path) -> None:
    """A playlist in any of ffmpeg's dialects must not reach the good file beside it."""
    good = write_av(tmp_path / "good.mp3", sine(), codec="libmp3lame", container="mp3")
    for number, text in enumerate((
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{good}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{good}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n#{good}\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        f"<SMIL><audio src='{good}'/></SMIL>",
    )):  # fmt: skip
        path = tmp_path / f"list{number}.mp3"
        path.write_text(text)
        with pytest.raises(AudioError) as caught:
            decode(path, sample_rate=48_000)
        assert caught.value.code == "not-audio"
