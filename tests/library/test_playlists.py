"""Playlists: each format read back by its own rules, with titles and paths that try to break it."""

import csv
import io
import json
import os
import uuid
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kindred.library.playlists import to_csv, to_jspf, to_m3u8
from kindred.storage.records import Track

PLAIN = Track(
    "t1",
    title="Clair de lune",
    artist="Ann",
    composer="Claude Debussy",
    work="Suite bergamasque",
    album="LP",
    track_no=3,
    duration=301.6,
    paths=("/music/a b.mp3",),
)


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_m3u8():
    lines = to_m3u8([PLAIN]).splitlines()
    assert lines == ["#EXTM3U", "#EXTINF:302,Ann - Clair de lune", "/music/a b.mp3"]


def test_m3u8_relative_only_inside_the_folder():
    outside = Track("t2", paths=("/other/x.mp3",))
    lines = to_m3u8([PLAIN, outside], relative_to=Path("/music")).splitlines()
    assert lines[2:] == ["a b.mp3", "#EXTINF:-1,t2", "/other/x.mp3"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/music/a\nb.mp3", "file:///music/a%0Ab.mp3"),
        ("/music/a\u2028b.mp3", "file:///music/a%E2%80%A8b.mp3"),
        ("/music/a.mp3 ", "file:///music/a.mp3%20"),
        (os.fsdecode(b"/music/\xff.mp3"), "file:///music/%FF.mp3"),
        ("/music/#1.mp3", "./#1.mp3"),
        ("/music/http:/x.mp3", "./http:/x.mp3"),
        ("/music/-x.mp3", "./-x.mp3"),
        ("https://example.org/a b.mp3", "https://example.org/a%20b.mp3"),
    ],
)
def test_m3u8_paths_that_a_line_cannot_hold(path, line):
    lines = to_m3u8([Track("t", paths=(path,))], relative_to=Path("/music")).splitlines()
    assert lines[2:] == [line]


def test_m3u8_says_when_a_track_has_no_file():
    assert to_m3u8([Track("t", title="Gone")]) == "#EXTM3U\n# no file: Gone\n"


@pytest.mark.parametrize("title", ["a\nb", "a\r\nb", "a\x85b", "a\u2028b", "a\x0bb", "a\0b"])
def test_a_line_break_in_a_title_stays_on_the_line(title):
    track = Track("t", title=title, paths=("/x.mp3",))
    assert to_m3u8([track]).splitlines() == ["#EXTM3U", "#EXTINF:-1,a b", "/x.mp3"]
    assert json.loads(to_jspf([track], title="L"))["playlist"]["track"][0]["title"] == "a b"


def test_csv():
    [row] = rows(to_csv([PLAIN], similarities={"t1": -0.25}))
    assert row == {
        "position": "1",
        "track_id": "t1",
        "title": "Clair de lune",
        "composer": "Claude Debussy",
        "work": "Suite bergamasque",
        "artist": "Ann",
        "album": "LP",
        "path": "/music/a b.mp3",
        "duration_sec": "301.6",
        "similarity": "-0.250000",
    }
    assert "similarity" not in rows(to_csv([PLAIN]))[0]
    assert rows(to_csv([PLAIN], similarities={}))[0]["similarity"] == ""


@pytest.mark.parametrize(
    "title",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "＝1",
        "'=1",
        "=\n1",
        '=HYPERLINK("x")',
    ],
)
def test_csv_guards_what_looks_like_a_formula(title):
    [row] = rows(to_csv([Track("t", title=title)]))
    assert row["title"] == "'" + title


@pytest.mark.parametrize("title", ["'Round Midnight", "a=b", "1-2", "", 'say "hi", twice\nmore'])
def test_csv_leaves_other_text_alone(title):
    assert rows(to_csv([Track("t", title=title)]))[0]["title"] == title


def test_jspf():
    playlist = json.loads(to_jspf([PLAIN], title="Like\nthis"))["playlist"]
    assert playlist == {
        "title": "Like this",
        "creator": "Kindred",
        "track": [
            {
                "location": ["file:///music/a%20b.mp3"],
                "identifier": ["urn:x-kindred:t1"],
                "title": "Clair de lune",
                "creator": "Ann",
                "album": "LP",
                "trackNum": 3,
                "duration": 301600,
                "annotation": "Claude Debussy: Suite bergamasque",
            }
        ],
    }


def test_jspf_leaves_out_what_is_unknown_and_writes_a_uuid_as_one():
    track_id = str(uuid.uuid5(uuid.NAMESPACE_URL, "x"))
    [track] = json.loads(to_jspf([Track(track_id)], title=""))["playlist"]["track"]
    assert track == {"identifier": [f"urn:uuid:{track_id}"]}


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name and b"/" not in name),
)
def test_no_text_or_file_name_breaks_a_format(text, name):
    path = os.fsdecode(b"/music/f" + name)
    track = Track("t", title=text, artist=text, album=text, composer=text, paths=(path,))
    tracks = [track, PLAIN]

    lines = to_m3u8(tracks).encode().decode().splitlines()
    assert len(lines) == 5
    assert [line[:8] for line in lines[1::2]] == ["#EXTINF:", "#EXTINF:"]
    written = lines[2]
    if written.startswith("file://"):
        written = os.fsdecode(unquote_to_bytes(written.removeprefix("file://")))
    assert written == path

    first, second = rows(to_csv(tracks).encode().decode())
    assert first["title"] in (text, f"'{text}")
    assert second["title"] == PLAIN.title

    first, _ = json.loads(to_jspf(tracks, title=text).encode("ascii"))["playlist"]["track"]
    assert first["location"][0].isascii()
    assert unquote_to_bytes(first["location"][0]) == b"file://" + os.fsencode(path)
