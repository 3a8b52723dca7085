"""``tracks_metadata.csv`` of an artifact: one row a track, in the order of the vectors.

Conventions: UTF-8, RFC 4180. An empty cell means unknown. Columns that ``kindred import`` knows
have its names, so it reads the table too; the others it keeps as further tags.

=====================================================  ============================================
column                                                 value
=====================================================  ============================================
track_id                                               unique, ascending
title, artist, album, album_id, composer, work, genre  text
composer_original                                      the composer as the file has it
track_no, year                                         whole number
duration_sec                                           seconds
sample_rate, channels, format                          of the original file: Hz, count, name
content_hash                                           SHA-256 of the original file
added_at                                               UTC, ISO 8601
audio_path                                             path below the artifact's folder
audio_s3_key                                           ``s3://bucket/key`` of the original file
extra                                                  further tags, a JSON object of texts
=====================================================  ============================================

Texts are written as they are. A spreadsheet may take a title that begins with ``=`` for a formula;
a guard against that would change what other programs read.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kindred.artifacts.layout import TRACKS, damaged
from kindred.errors import ArtifactError
from kindred.storage.records import Track

S3_KEY = "audio_s3_key"
_TEXTS = (
    *("title", "artist", "album", "album_id", "composer", "composer_original", "work", "genre"),
    *("format", "content_hash", "added_at"),
)
_NUMBERS = {"track_no": int, "year": int, "duration": float, "sample_rate": int, "channels": int}
_COLUMN = {"duration": "duration_sec"}
#: Fields of a track that a row gives whole, under the names :class:`Track` has for them.
FIELDS = ("track_id", *_TEXTS, *_NUMBERS, "extra")
COLUMNS = (
    *("track_id", "title", "artist", "album", "album_id", "track_no", "composer"),
    *("composer_original", "work", "genre", "year", "duration_sec", "sample_rate", "channels"),
    *("format", "content_hash", "added_at", "audio_path", S3_KEY, "extra"),
)
_LIMIT = 131_072  # of Python's csv module, unless changed


def to_row(track: Track, audio_path: str) -> list[str]:
    """The cells of a track.

    Raises
    ------
    ArtifactError
        When one is longer than readers of CSV take.
    """
    extra = {name: text for name, text in sorted(track.extra.items()) if name != S3_KEY}
    values: dict[str, Any] = {name: getattr(track, name) for name in ("track_id", *_TEXTS)} | {
        _COLUMN.get(name, name): getattr(track, name) for name in _NUMBERS
    }
    for name in ("duration_sec", "sample_rate", "channels"):  # 0 stands for unknown
        values[name] = values[name] or None
    values["audio_path"] = audio_path
    values[S3_KEY] = track.extra.get(S3_KEY, "")
    values["extra"] = json.dumps(extra, ensure_ascii=False) if extra else ""
    cells = ["" if (value := values[name]) is None else str(value) for name in COLUMNS]
    for name, cell in zip(COLUMNS, cells, strict=True):
        if len(cell) > _LIMIT:
            raise ArtifactError(
                f"Track {track.track_id}: {name} has {len(cell):,} characters, a table takes"
                f" {_LIMIT:,}. Shorten it in the library, then export again."
            )
    return [cell.replace("\0", " ") for cell in cells]


def read_rows(folder: Path) -> Iterator[tuple[Track, str]]:
    """Yield the tracks of an artifact, each with its ``audio_path``.

    Raises
    ------
    ArtifactError
        Where the table cannot be read; the line is named.
    """
    line = 1
    try:
        with (folder / TRACKS).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(COLUMNS):
                raise damaged(folder, TRACKS, f"has the columns {header}, not {list(COLUMNS)}")
            line = reader.line_num + 1
            for cells in reader:
                if len(cells) != len(COLUMNS):
                    what = f"has {len(cells)} cells on line {line}, the header has {len(COLUMNS)}"
                    raise damaged(folder, TRACKS, what)
                row = dict(zip(COLUMNS, cells, strict=True))
                yield _to_track(row), row["audio_path"]
                line = reader.line_num + 1
    except OSError as error:
        raise damaged(folder, TRACKS, f"cannot be read ({error.strerror})") from error
    except (csv.Error, ValueError, RecursionError) as error:
        raise damaged(folder, TRACKS, f"cannot be read on line {line} ({error})") from error


def _to_track(row: dict[str, str]) -> Track:
    """A row as a track; raises ValueError where a cell is not what it must be."""
    if not row["track_id"]:
        raise ValueError("track_id is empty")
    values: dict[str, Any] = {name: row[name] for name in ("track_id", *_TEXTS)}
    for name, kind in _NUMBERS.items():
        cell = row[_COLUMN.get(name, name)]
        if cell:
            values[name] = kind(cell)
            if not math.isfinite(values[name]):
                raise ValueError(f"{name} is {cell}")
    extra = json.loads(row["extra"] or "{}")
    if not isinstance(extra, dict) or not all(isinstance(text, str) for text in extra.values()):
        raise ValueError("extra is not a JSON object of texts")
    if row[S3_KEY]:
        extra[S3_KEY] = row[S3_KEY]
    return Track(**values, extra=extra)
