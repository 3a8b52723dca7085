"""Tags written by mutagen come back from every format; covers and thumbnails."""

from __future__ import annotations

import base64
import io
import struct
import unicodedata
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import aiff, flac, id3, mp3, mp4, oggopus, oggvorbis, wave
from PIL import Image

from kindred.audio.tags import MAX_COVER, MAX_TEXT, Tags, clean, read_tags, thumbnail
from tests.odd_files import RATE, png, sine, write_av

BACK, FRONT = png(side=8), png(side=16)

WANTED = Tags(
    title="Größe, Prélude",
    artist="Martha; Nelson",
    album="Œuvres",
    album_artist="Various",
    composer="Antonín Dvořák",
    work="Op. 72",
    genre="Classical",
    year=1987,
    track_no=3,
    extra={
        "performer": "Duo",
        "conductor": "Carlos",
        "key": "Em",
        "bpm": "96",
        "label": "DG",
        "isrc": "DEF058700001",
        "musicbrainz_trackid": "b1a9c0e9-d987-4042-ae91-78d6a3267d69",
        "musicbrainz_albumid": "f205627f-b70a-409d-adbe-66289b614e80",
    },
    cover=FRONT,
)
TRACK_ID, ALBUM_ID = WANTED.extra["musicbrainz_trackid"], WANTED.extra["musicbrainz_albumid"]
COMMENTS = {
    "title": unicodedata.normalize("NFD", WANTED.title), "artist": ["Martha", "Nelson"],
    "album": WANTED.album, "albumartist": "Various", "composer": WANTED.composer,
    "work": "Op. 72", "genre": "Classical", "date": "1987-05-01", "tracknumber": "3/12",
    "performer": "Duo", "conductor": "Carlos", "initialkey": "Em", "bpm": "96", "label": "DG",
    "isrc": "DEF058700001", "musicbrainz_trackid": TRACK_ID, "musicbrainz_albumid": ALBUM_ID,
}  # fmt: skip


def tag_id3(tags: id3.ID3) -> None:
    text = {
        "TIT2": COMMENTS["title"], "TPE1": ["Martha", "Nelson"], "TALB": WANTED.album,
        "TPE2": "Various", "TCOM": WANTED.composer, "TCON": "(32)", "TDRC": "1987-05-01",
        "TRCK": "3/12", "TPE3": "Carlos", "TKEY": "Em", "TBPM": "96", "TPUB": "DG",
        "TSRC": "DEF058700001",
    }  # fmt: skip
    for name, value in text.items():
        tags.add(getattr(id3, name)(encoding=3, text=value))
    for name, value in (
        ("WORK", "Op. 72"),
        ("PERFORMER", "Duo"),
        ("MusicBrainz Album Id", ALBUM_ID),
    ):
        tags.add(id3.TXXX(encoding=3, desc=name, text=value))
    tags.add(id3.UFID(owner="http://musicbrainz.org", data=TRACK_ID.encode()))
    tags.add(id3.APIC(encoding=3, mime="image/png", type=4, desc="b", data=BACK))
    tags.add(id3.APIC(encoding=3, mime="image/png", type=3, desc="f", data=FRONT))


def tag_mp4(file: mp4.MP4) -> None:
    file.update({
        "©nam": COMMENTS["title"], "©ART": ["Martha", "Nelson"], "©alb": WANTED.album,
        "aART": "Various", "©wrt": WANTED.composer, "©wrk": "Op. 72", "©gen": "Classical",
        "©day": "1987", "trkn": [(3, 12)], "tmpo": [96],
        "covr": [mp4.MP4Cover(FRONT, mp4.MP4Cover.FORMAT_PNG)],
    })  # fmt: skip
    for name, value in {
        "PERFORMER": "Duo", "CONDUCTOR": "Carlos", "initialkey": "Em", "LABEL": "DG",
        "ISRC": "DEF058700001", "MusicBrainz Track Id": TRACK_ID, "MusicBrainz Album Id": ALBUM_ID,
    }.items():  # fmt: skip
        file[f"----:com.apple.iTunes:{name}"] = [mp4.MP4FreeForm(value.encode())]


def picture(data: bytes, kind: int) -> flac.Picture:
    made = flac.Picture()
    made.type, made.mime, made.data = kind, "image/png", data
    return made


def write_tagged(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    if suffix == "m4a":
        write_av(path, sine(), codec="aac", container="ipod")
    elif suffix == "opus":
        soundfile.write(path, sine(rate=48_000), 48_000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, sine(), RATE)
    kinds = {"mp3": mp3.MP3, "wav": wave.WAVE, "aiff": aiff.AIFF, "m4a": mp4.MP4, "flac": flac.FLAC,
             "ogg": oggvorbis.OggVorbis, "opus": oggopus.OggOpus}  # fmt: skip
    file = kinds[suffix](path)
    if suffix in {"mp3", "wav", "aiff"}:
        file.add_tags()
        tag_id3(file.tags)
    elif suffix == "m4a":
        tag_mp4(file)
    else:
        file.update(COMMENTS)
        pictures = [picture(BACK, 4), picture(FRONT, 3)]
        if suffix == "flac":
            for item in pictures:
                file.add_picture(item)
        else:
            file["metadata_block_picture"] = [
                base64.b64encode(item.write()).decode() for item in pictures
            ]
    file.save()
    return path


@pytest.mark.parametrize("suffix", ["mp3", "wav", "aiff", "m4a", "flac", "ogg", "opus"])
def test_tags_come_back_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = write_tagged(tmp_path, suffix)
    assert read_tags(path) == WANTED
    assert read_tags(path.rename(tmp_path / "no ending")) == WANTED


def test_a_file_without_tags_says_nothing(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg", "mp3", "aiff"):
        soundfile.write(tmp_path / f"a.{suffix}", sine(), RATE)
        assert read_tags(tmp_path / f"a.{suffix}") == Tags()


def test_only_an_old_id3v1_tag_is_read_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", sine(), RATE)
    with open(tmp_path / "a.mp3", "ab") as file:
        file.write(b"TAG" + b"Prelude".ljust(30, b"\0") + b"Anna".ljust(30, b"\0") + bytes(65))
    assert read_tags(tmp_path / "a.mp3").title == "Prelude"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_riff_info_is_read_in_both_encodings(tmp_path: Path, encoding: str) -> None:
    soundfile.write(tmp_path / "a.wav", sine(), RATE)
    items = b""
    for name, text in ((b"INAM", "Händel"), (b"IART", "Anna"), (b"ICRD", "1999"), (b"ITRK", "7")):
        raw = text.encode(encoding) + b"\0"
        items += name + struct.pack("<I", len(raw)) + raw + b"\0" * (len(raw) % 2)
    chunk = b"LIST" + struct.pack("<I", 4 + len(items)) + b"INFO" + items
    data = (tmp_path / "a.wav").read_bytes() + chunk
    (tmp_path / "a.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert read_tags(tmp_path / "a.wav") == Tags(
        title="Händel", artist="Anna", year=1999, track_no=7
    )


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("  Fugue\n in\tG ", "Fugue in G"),
        ("a\x00b\x07c\x9fd", "abcd"),
        ("e\u0301", "é"),
        ("\ud800x", "x"),
        ("👩\u200d🎤", "👩\u200d🎤"),
        ("x" * 5_000_000, "x" * MAX_TEXT),
        ("", ""),
    ],
)
def test_text_is_made_fit_to_store(raw: str, wanted: str) -> None:
    assert clean(raw) == wanted


@pytest.mark.parametrize(
    ("date", "year"),
    [("1987", 1987), ("1987-05-01", 1987), ("19870501", 1987), ("1 May 2003", 2003),
     ("0000", None), ("12", None), ("99999", None), ("soon", None), ("(P) 1685", 1685)],
)  # fmt: skip
def test_the_year_is_the_first_plausible_four_digits(
    tmp_path: Path, date: str, year: int | None
) -> None:
    soundfile.write(tmp_path / "a.flac", sine(), RATE)
    flac_file = flac.FLAC(tmp_path / "a.flac")
    flac_file["date"] = date
    flac_file.save()
    assert read_tags(tmp_path / "a.flac").year == year


@pytest.mark.parametrize(
    ("text", "number"),
    [("3/12", 3), ("07", 7), ("0", None), ("A3", None), ("123456", None), ("", None)],
)
def test_the_track_number_is_what_stands_before_the_slash(
    tmp_path: Path, text: str, number: int | None
) -> None:
    soundfile.write(tmp_path / "a.flac", sine(), RATE)
    flac_file = flac.FLAC(tmp_path / "a.flac")
    flac_file["tracknumber"] = text
    flac_file.save()
    assert read_tags(tmp_path / "a.flac").track_no == number


@pytest.mark.parametrize("suffix", ["mp3", "wav", "aiff", "m4a", "flac", "ogg", "opus"])
def test_broken_tags_are_empty_and_say_so_or_are_read_in_part(tmp_path: Path, suffix: str) -> None:
    whole = write_tagged(tmp_path, suffix).read_bytes()
    rng = np.random.default_rng(11)
    problems = 0
    for _ in range(40):
        data = bytearray(whole)
        at = int(rng.integers(0, 3_000))
        data[at : at + 40] = rng.bytes(40)
        (tmp_path / "b").write_bytes(data)
        tags = read_tags(tmp_path / "b")
        problems += bool(tags.problem)
        if tags.problem:
            assert tags == Tags(problem=tags.problem)
    for size in (13, 50, 400, 1_500):
        (tmp_path / "b").write_bytes(whole[:size])
        read_tags(tmp_path / "b")


def test_a_broken_picture_does_not_cost_the_title(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", sine(), RATE)
    file = mutagen.File(tmp_path / "a.ogg")
    file["title"] = "Fugue"
    file["metadata_block_picture"] = ["AAAA", "not base 64"]
    file.save()
    assert read_tags(tmp_path / "a.ogg") == Tags(title="Fugue")


def test_a_cover_over_16_mb_is_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", sine(), RATE)
    tags = id3.ID3()
    tags.add(id3.APIC(mime="image/png", type=3, data=bytes(MAX_COVER + 1)))
    tags.add(id3.APIC(mime="image/png", type=4, desc="b", data=BACK))
    tags.save(tmp_path / "a.mp3")
    assert read_tags(tmp_path / "a.mp3").cover == BACK


def image(mode: str, kind: str, size: tuple[int, int] = (300, 200)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 1 if mode in {"1", "P", "L"} else None).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"),
     ("1", "BMP"), ("RGB", "WEBP"), ("I;16", "TIFF")],
)  # fmt: skip
def test_a_thumbnail_is_a_small_square_webp(mode: str, kind: str) -> None:
    small = thumbnail(image(mode, kind), size=96)
    assert small is not None
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (96, 96))


def test_a_thumbnail_shows_the_middle() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    small = thumbnail(out.getvalue(), size=50)
    assert small is not None
    with Image.open(io.BytesIO(small)) as picture:
        assert np.asarray(picture.convert("L")).mean() > 240


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        FRONT[:40],
        image("RGB", "JPEG")[:500],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_what_is_no_picture_has_no_thumbnail(data: bytes) -> None:
    assert thumbnail(data) is None


@pytest.mark.parametrize("size", [(9_000, 9_000), (13_000, 13_000), (20_000, 20_000)])
def test_a_decompression_bomb_has_no_thumbnail(size: tuple[int, int]) -> None:
    assert thumbnail(image("1", "PNG", size)) is None
