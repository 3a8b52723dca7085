"""``tracks_metadata.csv``: a table of tracks, read with every bad row named, and written.

Conventions
-----------
UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever finds the most known
columns in the header; fields may be quoted and hold newlines. Column names are compared without
case, with spaces and dashes read as ``_``.

============  =====================================================  =======================
column        also accepted                                          value
============  =====================================================  =======================
track_id                                                             needed, unique
title                                                                needed column, any text
composer                                                             needed column, any text
audio_path    path, file, audio_key, audio_s3_key (first one wins)   needed column
album_id                                                             text
track_no                                                             whole number
duration_sec  duration                                               seconds, not negative
artist, album, genre, work                                           text
year                                                                 whole number
============  =====================================================  =======================

Any other column is kept in ``extra`` under its own name. A track id becomes part of a URL: 1 to
128 of letters A-Z a-z, digits, ``. _ : -``, and not only dots. Line numbers count from 1, the
header included; a row is named by the line it starts on. Texts are taken as they are, apart from
space around them: standardising composers is up to who imports them. Beside semicolons and tabs a
number may have a decimal comma.
"""

from __future__ import annotations

import csv
import math
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from kindred.errors import ImportRejected
from kindred.storage.records import Track

MAX_ROWS = 1_000_000
MAX_FIELD = 131_072  # characters; the csv module's own default
MAX_LINE = 1_048_576  # characters; a file without line ends must not fill the memory

_AUDIO_COLUMNS = ("audio_path", "path", "file", "audio_key", "audio_s3_key")
_DURATION_COLUMNS = ("duration_sec", "duration")
_TEXT_COLUMNS = ("album_id", "title", "composer", "artist", "album", "genre", "work")
_KNOWN = frozenset(
    (*_TEXT_COLUMNS, *_AUDIO_COLUMNS, *_DURATION_COLUMNS, "track_id", "track_no", "year")
)
_WRITTEN = (
    *("track_id", "album_id", "track_no", "title", "composer", "audio_path", "duration_sec"),
    *("artist", "album", "genre", "year", "work"),
)
_EXPECTED = (
    "Expected a CSV file in UTF-8 whose first line names the columns track_id, title, composer "
    "and audio_path, and if known album_id, track_no and duration_sec"
)
_TRACK_ID = re.compile(r"(?!\.+\Z)[A-Za-z0-9._:-]{1,128}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(?:\.0+)?")  # a data frame writes 3 as 3.0 beside a gap
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class MetadataRow:
    """One good row.

    Attributes
    ----------
    line : int
        Line of the file on which the row starts, from 1.
    track_id, title, composer, audio, album_id, artist, album, genre, work : str
        As the file has them; empty when it says nothing. ``audio`` is a path or a storage key.
    track_no, year : int or None
    duration : float or None
        Seconds.
    extra : dict
        Every other column that has a value.
    """

    line: int
    track_id: str
    title: str = ""
    composer: str = ""
    audio: str = ""
    album_id: str = ""
    track_no: int | None = None
    duration: float | None = None
    artist: str = ""
    album: str = ""
    genre: str = ""
    year: int | None = None
    work: str = ""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetadataTable:
    """The good rows in the file's order, and ``(line, what is wrong)`` for each bad one."""

    rows: list[MetadataRow]
    problems: list[tuple[int, str]]


class _BadRow(Exception):
    """Says what is wrong with the row at hand; never leaves this module."""


def read_metadata_csv(path: Path, *, audio_root: Path | None = None) -> MetadataTable:
    """Read a table of tracks.

    Parameters
    ----------
    path : Path
        The file.
    audio_root : Path, optional
        Folder the audio paths start from. When given, a row whose audio is no file in this folder
        (missing, or outside by ``..``, an absolute path or a link) is a bad row.

    Returns
    -------
    MetadataTable
        A row with several faults is one problem that names them all. A header without rows gives
        an empty table.

    Raises
    ------
    ImportRejected
        When the file as a whole cannot be used: it cannot be read, is empty, is no UTF-8 text,
        lacks a needed column, names a column twice, or has more than ``MAX_ROWS`` rows, a field
        of more than ``MAX_FIELD`` or a line of more than ``MAX_LINE`` characters.
    """
    try:
        if not path.is_file():
            raise _rejected(path, "it is a folder" if path.is_dir() else "there is no such file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, path, audio_root)
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 text (byte 0x{error.object[error.start]:02x})"
        raise _rejected(path, f'{reason}; a spreadsheet saves it as "CSV UTF-8"') from error
    except csv.Error as error:
        raise _rejected(path, f"its header cannot be read ({error})") from error
    except OSError as error:
        raise _rejected(path, f"it cannot be read: {error.strerror or error}") from error


def _rejected(path: Path, reason: str) -> ImportRejected:
    return ImportRejected(f"{path.name} was not imported: {reason}. {_EXPECTED}.")


def _read(file: TextIO, path: Path, audio_root: Path | None) -> MetadataTable:
    lines = _lines(file, path)
    header_line = next(lines, "")
    if not header_line.strip():
        raise _rejected(path, "its first line is blank" if next(lines, "") else "it is empty")
    delimiter = max(",;\t", key=lambda d: len(_KNOWN & set(_split_header(header_line, d))))
    names = next(csv.reader([header_line], delimiter=delimiter))
    columns = _columns(names, path)
    root = audio_root.resolve() if audio_root is not None else None

    rows: list[MetadataRow] = []
    problems: list[tuple[int, str]] = []
    first_line: dict[str, int] = {}
    for line, cells in _records(lines, delimiter, path):
        try:
            if len(cells) != len(names):
                raise _BadRow(_wrong_width(cells, len(names)))
            rows.append(
                _row(line, cells, columns, first_line, root, decimal_comma=delimiter != ",")
            )
        except _BadRow as bad:
            problems.append((line, str(bad)))
    return MetadataTable(rows, problems)


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if "\0" in line:
            raise _rejected(path, f"it is not text: line {number} has a NUL byte")
        if len(line) > MAX_LINE:
            raise _rejected(path, f"line {number} is longer than {MAX_LINE:,} characters")
        yield line


def _records(lines: Iterator[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header that are not blank, each with the line it starts on."""
    reader = csv.reader(lines, delimiter=delimiter)
    line = count = 0
    try:
        while True:
            line = reader.line_num + 2
            cells = next(reader, None)
            if cells is None:
                return
            if any(len(cell) > MAX_FIELD for cell in cells):
                raise csv.Error(f"field larger than field limit ({MAX_FIELD})")
            if any(cell.strip() for cell in cells):
                count += 1
                if count > MAX_ROWS:
                    raise _rejected(path, f"it has more than {MAX_ROWS:,} rows")
                yield line, cells
    except csv.Error as error:
        reason = f"the row on line {line} cannot be read ({error}); is a quote not closed there?"
        raise _rejected(path, reason) from error


def _split_header(line: str, delimiter: str) -> list[str]:
    return [_column_key(name) for name in next(csv.reader([line], delimiter=delimiter))]


def _column_key(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _columns(names: list[str], path: Path) -> dict[str, int]:
    """Map each column to its place: known ones by key, others by name; check the header."""
    keys = [key if (key := _column_key(name)) in _KNOWN else name.strip() for name in names]
    # A header that ends with a delimiter has a column without a name.
    columns = {key: place for place, key in enumerate(keys) if key}
    missing = [name for name in ("track_id", "title", "composer") if name not in columns]
    if not columns.keys() & set(_AUDIO_COLUMNS):
        missing.append("audio_path")
    if missing:
        got = ", ".join(repr(name[:40]) for name in names[:20])
        raise _rejected(path, f"its header lacks {', '.join(missing)}; it has {got}")
    for key in columns:
        if keys.count(key) > 1:
            raise _rejected(path, f"its header names the column {key!r} twice")
    return columns


def _wrong_width(cells: list[str], expected: int) -> str:
    message = f"has {len(cells)} fields where the header has {expected}"
    if any("\n" in cell for cell in cells):
        message += "; a quote that opens in this row may not be closed, which hides rows after it"
    return message


def _row(
    line: int,
    cells: list[str],
    columns: dict[str, int],
    first_line: dict[str, int],
    root: Path | None,
    *,
    decimal_comma: bool,
) -> MetadataRow:
    """Build a row, or raise :class:`_BadRow` with all that is wrong with it."""
    values = {name: cells[place].strip() for name, place in columns.items()}
    audio_column = next(name for name in _AUDIO_COLUMNS if name in columns)
    duration_column = next((name for name in _DURATION_COLUMNS if name in columns), "")
    faults: list[str] = []

    def number(name: str, pattern: re.Pattern[str], wanted: str) -> float | None:
        text = values.get(name, "")
        if decimal_comma:
            text = text.replace(",", ".")
        if not text:
            return None
        if not pattern.fullmatch(text) or not math.isfinite(float(text)):
            faults.append(f"{name} must be {wanted}, got {_shown(values[name])}")
            return None
        if float(text) < 0:
            faults.append(f"{name} must not be negative, got {_shown(values[name])}")
            return None
        return float(text)

    track_no = number("track_no", _WHOLE, "a whole number")
    year = number("year", _WHOLE, "a whole number")
    duration = number(duration_column, _DECIMAL, "a number of seconds")
    track_id = values["track_id"]
    faults += _track_id_faults(track_id, line, first_line)
    if root is not None:
        faults += _audio_faults(values[audio_column], root)
    if faults:
        raise _BadRow("; ".join(faults))

    used = {*_TEXT_COLUMNS, "track_id", "track_no", "year", audio_column, duration_column}
    return MetadataRow(
        line=line,
        track_id=track_id,
        audio=values[audio_column],
        track_no=None if track_no is None else int(track_no),
        year=None if year is None else int(year),
        duration=duration,
        extra={name: value for name, value in values.items() if name not in used and value},
        **{name: values.get(name, "") for name in _TEXT_COLUMNS},
    )


def _track_id_faults(track_id: str, line: int, first_line: dict[str, int]) -> list[str]:
    if not track_id:
        return ["track_id is missing"]
    if not _TRACK_ID.fullmatch(track_id):
        allowed = "1 to 128 of A-Z a-z 0-9 . _ : - and not only dots"
        return [f"track_id must be {allowed}, got {_shown(track_id)}"]
    # A bad row holds its id as well: which of two rows was meant is for a person to say.
    first = first_line.setdefault(track_id, line)
    return [] if first == line else [f"track_id {track_id!r} is already on line {first}"]


def _audio_faults(audio: str, root: Path) -> list[str]:
    if not audio:
        return ["the audio path is missing"]
    try:
        found = (root / audio).resolve()
        if not found.is_relative_to(root):
            return [f"audio {_shown(audio)} lies outside {root}"]
        if not found.is_file():
            return [f"audio {_shown(audio)} is not a file in {root}"]
    except (OSError, RuntimeError, ValueError) as error:  # name too long, links in a circle
        return [f"audio {_shown(audio)} cannot be looked up: {error}"]
    return []


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def write_metadata_csv(
    path: Path, tracks: Iterable[Track], *, audio_root: Path | None = None
) -> None:
    """Write tracks so that :func:`read_metadata_csv` gives them back.

    The file appears whole or not at all. Cells are written as they are, with no guard against
    spreadsheet formulas, which would change what is read back;
    :func:`kindred.library.playlists.to_csv` is for spreadsheets.

    Parameters
    ----------
    path : Path
        Replaced when it exists.
    tracks : iterable of Track
        Written in this order. ``extra`` becomes columns; a name that is taken by a column of this
        format is written as ``tag_<name>``. NUL becomes a space.
    audio_root : Path, optional
        Audio inside this folder is written relative to it.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    tracks = list(tracks)
    extras = _extra_columns(tracks)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # A file name that is no UTF-8 cannot be written as text; its bytes are shown escaped.
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*_WRITTEN, *extras.values()])
            for track in tracks:
                cells = [
                    track.track_id,
                    track.album_id,
                    track.track_no,
                    track.title,
                    track.composer,
                    _relative(track.path, audio_root),
                    float(track.duration) if track.duration else None,
                    track.artist,
                    track.album,
                    track.genre,
                    track.year,
                    track.work,
                    *(track.extra.get(name) for name in extras),
                ]
                writer.writerow("" if c is None else str(c).replace("\0", " ") for c in cells)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _extra_columns(tracks: list[Track]) -> dict[str, str]:
    """Map each name in ``extra`` to a column name that is free and fits on the header's line."""
    columns: dict[str, str] = {}
    for name in sorted({name for track in tracks for name in track.extra}):
        column = " ".join(name.replace("\0", " ").split()) or "tag"
        while column in columns.values() or _column_key(column) in _KNOWN:
            column = f"tag_{column}"
        columns[name] = column
    return columns


def _relative(audio: str, root: Path | None) -> str:
    if root is not None and audio and Path(audio).is_relative_to(root):
        return str(Path(audio).relative_to(root))
    return audio
