"""tracks_metadata.csv: good files in every dialect, every bad row named, every bad file refused."""

import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.errors import ImportRejected
from kindred.library import metadata_csv
from kindred.library.metadata_csv import MetadataRow, read_metadata_csv, write_metadata_csv
from kindred.storage.records import Track

HEADER = "track_id,album_id,track_no,title,composer,audio_path,duration_sec\n"
GOOD = "t1,a1,1,Title,Bach,one.mp3,12.5\n"


@pytest.fixture
def table(tmp_path):
    """Write text or bytes as a file and return its path."""

    def write(content):
        path = tmp_path / "tracks_metadata.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_full_row(table):
    head = (
        "track_id,album_id,track_no,title,composer,audio_path,duration_sec,artist,album,genre,year"
    )
    path = table(f"{head},work,mood\nt1,a1,3,Title,Bach,one.mp3,12.5,Ann,LP,Jazz,1999,W,calm\n")
    [row] = read_metadata_csv(path).rows
    assert row == MetadataRow(
        line=2,
        track_id="t1",
        title="Title",
        composer="Bach",
        audio="one.mp3",
        album_id="a1",
        track_no=3,
        duration=12.5,
        artist="Ann",
        album="LP",
        genre="Jazz",
        year=1999,
        work="W",
        extra={"mood": "calm"},
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects(table, delimiter, bom, end):
    text = (HEADER + GOOD).replace(",", delimiter).replace("\n", end)
    result = read_metadata_csv(table(bom + text.encode()))
    assert result.problems == []
    assert [(row.track_id, row.duration) for row in result.rows] == [("t1", 12.5)]


def test_a_semicolon_file_may_hold_commas_and_decimal_commas(table):
    result = read_metadata_csv(table((HEADER + "t1;;;A, B, C;D, E;x.mp3;1,5\n").replace(
        HEADER, HEADER.replace(",", ";"))))  # fmt: skip
    assert (result.rows[0].title, result.rows[0].duration) == ("A, B, C", 1.5)


@pytest.mark.parametrize("name", ["audio_path", "path", "file", "audio_key", "AUDIO S3-Key"])
def test_audio_header_variants(table, name):
    [row] = read_metadata_csv(table(f'Track ID,Title,"Composer",{name}\nt1,T,C,a/b.mp3\n')).rows
    assert row.audio == "a/b.mp3"
    assert row.extra == {}


def test_of_two_audio_columns_the_path_wins_and_the_key_is_kept(table):
    [row] = read_metadata_csv(table("audio_key,track_id,title,composer,path\nk,t,T,C,p\n")).rows
    assert (row.audio, row.extra) == ("p", {"audio_key": "k"})


def test_quoted_newlines_and_blank_lines_keep_the_line_numbers(table):
    text = HEADER + 't1,,,"two\nlines",C,a.mp3,\n\n,,,no id,C,b.mp3,\nt3,,2.0,T,C,c.mp3,\n'
    result = read_metadata_csv(table(text))
    assert [(row.line, row.title, row.track_no) for row in result.rows] == [
        (2, "two\nlines", None),
        (6, "T", 2),
    ]
    assert result.problems == [(5, "track_id is missing")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",,,T,C,a.mp3,", "track_id is missing"),
        ("t1,,,T,C,a.mp3,", "track_id 't1' is already on line 2"),
        ("a/b,,,T,C,a.mp3,", "track_id must be 1 to 128"),
        ("a b,,,T,C,a.mp3,", "track_id must be 1 to 128"),
        ("ä,,,T,C,a.mp3,", "track_id must be 1 to 128"),
        ("..,,,T,C,a.mp3,", "not only dots"),
        ("x" * 129 + ",,,T,C,a.mp3,", "track_id must be 1 to 128"),
        ("t2,,one,T,C,a.mp3,", "track_no must be a whole number, got 'one'"),
        ("t2,,1.5,T,C,a.mp3,", "track_no must be a whole number, got '1.5'"),
        ("t2,,-1,T,C,a.mp3,", "track_no must not be negative, got '-1'"),
        ("t2,,,T,C,a.mp3,long", "duration_sec must be a number of seconds, got 'long'"),
        ("t2,,,T,C,a.mp3,-1", "duration_sec must not be negative, got '-1'"),
        ("t2,,,T,C,a.mp3,nan", "duration_sec must be a number of seconds"),
        ("t2,,,T,C,a.mp3,1e999", "duration_sec must be a number of seconds"),
        ("t2,,,T,C,a.mp3", "has 6 fields where the header has 7"),
        ("t2,,,T,C,a.mp3,1,2", "has 8 fields where the header has 7"),
        ('t2,,,"T,C,a.mp3,\nt9,,,T,C,a.mp3,', "a quote that opens in this row may not be closed"),
        ("a b,,x,T,C,a.mp3,-1", "track_no must be a whole number, got 'x'; duration_sec must not"),
    ],
)
def test_a_bad_row_is_named_beside_the_good_one(table, row, message):
    result = read_metadata_csv(table(HEADER + GOOD + row + "\n"))
    assert [good.track_id for good in result.rows] == ["t1"]
    [(line, problem)] = result.problems
    assert line == 3
    assert message in problem


def test_an_id_of_a_bad_row_is_taken(table):
    result = read_metadata_csv(table(HEADER + "t1,,x,T,C,a.mp3,\n" + GOOD))
    assert result.rows == []
    assert [line for line, _ in result.problems] == [2, 3]


def test_audio_inside_the_root(table, tmp_path):
    root = tmp_path / "audio"
    (root / "sub").mkdir(parents=True)
    (root / "one.mp3").touch()
    rows = f"a,one.mp3\nb,sub/../one.mp3\nc,{root / 'one.mp3'}\n"
    path = table("track_id,file,title,composer\n" + rows.replace("\n", ",T,C\n"))
    result = read_metadata_csv(path, audio_root=root)
    assert result.problems == []
    assert [row.track_id for row in result.rows] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ("", "the audio path is missing"),
        ("none.mp3", "is not a file in"),
        ("sub", "is not a file in"),
        ("../outside.mp3", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("link.mp3", "lies outside"),
        ("linked/outside.mp3", "lies outside"),
        ("loop", "cannot be looked up"),
        ("x" * 5000, "cannot be looked up"),
    ],
)
def test_audio_that_cannot_be_used(table, tmp_path, audio, message):
    root = tmp_path / "audio"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.mp3").touch()
    (root / "link.mp3").symlink_to(tmp_path / "outside.mp3")
    (root / "linked").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    path = table(f"track_id,file,title,composer\nt,{audio},T,C\n")
    result = read_metadata_csv(path, audio_root=root)
    assert result.rows == []
    assert [line for line, _ in result.problems] == [2]
    assert message in result.problems[0][1]
    assert len(read_metadata_csv(path).rows) == 1  # not looked at without a root


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"\n" + HEADER.encode(), "its first line is blank"),
        (b"ID3\x04\x00\x00\x00\x00", "it is not text: line 1 has a NUL byte"),
        (b"\xff\xd8\xff\xe0 picture", "it is not UTF-8 text (byte 0xff)"),
        ((HEADER + "t,,,M\xfcller,C,a,\n").encode("latin-1"), "it is not UTF-8 text (byte 0xfc)"),
        (HEADER.encode("utf-16"), "it is not UTF-8 text"),
        (HEADER.encode("utf-16-le"), "NUL byte"),
        (
            b"t1,a1,1,Elegy,Bach,one.mp3,1\n",
            "its header lacks track_id, title, composer, audio_path; it has 't1', 'a1'",
        ),
        (b"<html><body>Not found</body></html>", "its header lacks track_id"),
        (b"x" * 140_000, "its header cannot be read"),
        (b"track_id,title,composer\nt,T,C\n", "its header lacks audio_path"),
        (b"track_id,title,path\nt,T,p\n", "its header lacks composer"),
        (b"track_id,title,composer,path,Title\n", "its header names the column 'title' twice"),
        (b"track_id,title,composer,path,mood,mood\n", "names the column 'mood' twice"),
        (HEADER.encode() + b"t," + b"x" * 140_000, "the row on line 2 cannot be read"),
        (HEADER.encode() + b'"' + b"x\n" * 80_000, "is a quote not closed there?"),
        (HEADER.encode() + b"x" * 1_100_000, "line 2 is longer than 1,048,576 characters"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(table, content, message):
    with pytest.raises(ImportRejected) as refused:
        read_metadata_csv(table(content))
    assert message in str(refused.value)
    assert "Expected a CSV file in UTF-8" in str(refused.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_give_a_table_or_a_refusal(tmp_path_factory, content, with_header):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(HEADER.encode() + content if with_header else content)
    with contextlib.suppress(ImportRejected):
        read_metadata_csv(path, audio_root=path.parent)


def test_too_many_rows_are_refused(table, monkeypatch):
    monkeypatch.setattr(metadata_csv, "MAX_ROWS", 2)
    assert len(read_metadata_csv(table(HEADER + "a,,,T,C,x,\n\nb,,,T,C,x,\n")).rows) == 2
    with pytest.raises(ImportRejected, match="more than 2 rows"):
        read_metadata_csv(table(HEADER + "a,,,T,C,x,\nb,,,T,C,x,\nc,,,T,C,x,\n"))


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ImportRejected, match="it is a folder"):
        read_metadata_csv(tmp_path)
    with pytest.raises(ImportRejected, match="there is no such file"):
        read_metadata_csv(tmp_path / "none.csv")


def test_a_header_alone_is_an_empty_table(table):
    result = read_metadata_csv(table(HEADER))
    assert (result.rows, result.problems) == ([], [])


def test_what_is_written_is_read_back(tmp_path):
    root = tmp_path / "audio"
    odd = Track(
        track_id="t:1",
        title='Line\nbreak, "quote"; =1+1',
        composer="Antonín Dvořák",
        album_id="a",
        album="LP",
        artist="Ann\rBo",
        work="W",
        genre="Jazz",
        year=1999,
        track_no=3,
        duration=1 / 3,
        paths=(str(root / "ä b.mp3"), "/second.mp3"),
        extra={"mood": "calm", "Title": "other", "tag_Title": "third", "two\nlines": "x", "": "y"},
    )
    bare = Track(track_id="t2")
    path = tmp_path / "tracks_metadata.csv"
    path.write_text("old")
    write_metadata_csv(path, [odd, bare], audio_root=root)
    result = read_metadata_csv(path)
    assert result.problems == []
    row, empty = result.rows
    for name in ("track_id", "title", "composer", "album_id", "album", "artist", "work", "genre"):
        assert getattr(row, name) == getattr(odd, name)
    assert (row.year, row.track_no, row.duration, row.audio) == (1999, 3, 1 / 3, "ä b.mp3")
    assert set(row.extra.values()) == {"calm", "other", "third", "x", "y"}
    assert row.extra["mood"] == "calm"
    assert empty == MetadataRow(line=empty.line, track_id="t2")
    assert os.listdir(tmp_path) == ["tracks_metadata.csv"]


def test_text_that_cannot_be_written_as_it_is_does_not_stop_the_others(tmp_path):
    path = tmp_path / "t.csv"
    bad_name = os.fsdecode(b"/music/\xff.mp3")
    write_metadata_csv(path, [Track("t1", title="a\0b", paths=(bad_name,)), Track("t2")])
    rows = read_metadata_csv(path).rows
    assert [row.track_id for row in rows] == ["t1", "t2"]
    assert (rows[0].title, rows[0].audio) == ("a b", "/music/\\udcff.mp3")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    def failing():
        yield Track("t1")
        raise RuntimeError("the store went away")

    path = tmp_path / "t.csv"
    write_metadata_csv(path, [Track("t0")])
    with pytest.raises(RuntimeError, match="went away"):
        write_metadata_csv(path, failing())
    with pytest.raises(TypeError):
        write_metadata_csv(path, [Track("t1", duration=object())])
    assert [row.track_id for row in read_metadata_csv(path).rows] == ["t0"]
    assert os.listdir(tmp_path) == ["t.csv"]
