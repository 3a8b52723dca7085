"""Lists of tracks as files for players, spreadsheets and other programs.

Conventions
-----------
- M3U8 is UTF-8, one entry an ``#EXTINF`` line (whole seconds, -1 when unknown) and a path as it is
  on disk. A path that a line cannot hold as it is (line break, space at an end, bytes that are no
  UTF-8) becomes a percent-encoded ``file:`` URI.
- CSV is meant for spreadsheets: a text cell that one could take for a formula gets one leading
  apostrophe (:mod:`kindred.spreadsheet`). A reader undoes it by dropping one apostrophe from such a
  cell; no other text is changed. Numbers are written as numbers.
- JSPF is the JSON form of XSPF 1 (https://xspf.org/jspf): durations in milliseconds, locations as
  URIs, a field without a value left out.
- A track without a file stays in the list: a comment in M3U8, an empty path in CSV, no location
  in JSPF.

References
----------
RFC 8216 on UTF-8 playlists; RFC 4180 on CSV.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kindred.spreadsheet import guarded
from kindred.storage.records import Track

_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")  # what some reader takes for a line end
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def to_m3u8(tracks: Iterable[Track], *, relative_to: Path | None = None) -> str:
    """Write tracks as an extended M3U playlist.

    Parameters
    ----------
    tracks : iterable of Track
    relative_to : Path, optional
        Folder the playlist will lie in; files inside it are written relative to it.

    Returns
    -------
    str
        To be saved as UTF-8.
    """
    lines = ["#EXTM3U"]
    for track in tracks:
        if track.path:
            seconds = round(track.duration) if track.duration > 0 else -1
            lines += [f"#EXTINF:{seconds},{_label(track)}", _m3u8_path(track.path, relative_to)]
        else:
            lines.append(f"# no file: {_label(track)}")
    return "\n".join(lines) + "\n"


def to_csv(tracks: Iterable[Track], *, similarities: Mapping[str, float] | None = None) -> str:
    """Write tracks as a table for spreadsheets, with RFC 4180 line ends.

    Parameters
    ----------
    tracks : iterable of Track
    similarities : mapping of str to float, optional
        Cosine to the query by ``track_id``; the column is there only when this is given.

    Returns
    -------
    str
        To be saved as UTF-8; text cells are guarded against formulas (see the module).
    """
    texts = ("track_id", "title", "composer", "work", "artist", "album", "path")
    out = io.StringIO()
    writer = csv.writer(out)
    similarity = [] if similarities is None else ["similarity"]
    writer.writerow(["position", *texts, "duration_sec", *similarity])
    for position, track in enumerate(tracks, start=1):
        row: list[object] = [position, *(guarded(_utf8(getattr(track, name))) for name in texts)]
        row.append(round(track.duration, 3) if track.duration > 0 else "")
        if similarities is not None:
            value = similarities.get(track.track_id)
            row.append("" if value is None else f"{value:.6f}")
        writer.writerow(row)
    return out.getvalue()


def to_jspf(tracks: Iterable[Track], *, title: str) -> str:
    """Write tracks as a JSPF playlist.

    Parameters
    ----------
    tracks : iterable of Track
    title : str
        Title of the playlist.

    Returns
    -------
    str
        JSON in ASCII.
    """
    playlist = {
        "title": _one_line(title),
        "creator": "Kindred",
        "track": [_jspf_track(track) for track in tracks],
    }
    return json.dumps({"playlist": playlist}, indent=2)


def _jspf_track(track: Track) -> dict[str, Any]:
    about = (_one_line(track.composer), _one_line(track.work))
    fields: dict[str, Any] = {
        "location": [_uri(track.path)] if track.path else [],
        "identifier": [_identifier(track.track_id)],
        "title": _one_line(track.title),
        "creator": _one_line(track.artist or track.composer),
        "album": _one_line(track.album),
        "trackNum": track.track_no if track.track_no and track.track_no > 0 else None,
        "duration": round(track.duration * 1000) if track.duration > 0 else None,
        "annotation": ": ".join(filter(None, about)),
    }
    return {name: value for name, value in fields.items() if value}


def _identifier(track_id: str) -> str:
    """Return the id as a URI, which XSPF asks for."""
    try:
        return uuid.UUID(track_id).urn
    except ValueError:
        return f"urn:x-kindred:{quote(track_id, safe='', errors='replace')}"


def _uri(path: str) -> str:
    if _URL.match(path):
        return quote(path, safe=":/?#[]@!$&'()*+,;=%~", errors="replace")
    return Path(path).absolute().as_uri()


def _m3u8_path(path: str, relative_to: Path | None) -> str:
    if _URL.match(path):
        return _uri(path)
    shown = path
    if relative_to is not None and Path(path).is_relative_to(relative_to):
        shown = os.path.relpath(path, relative_to)
    if _BREAKS.search(shown) or shown != shown.strip() or shown != _utf8(shown):
        return _uri(path)
    # A relative name that starts with "#" would be read as a comment, one like "http:" as a URL.
    return shown if os.path.isabs(shown) or re.match(r"[\w.][^:]*\Z", shown) else f"./{shown}"


def _label(track: Track) -> str:
    name = _one_line(track.title) or track.track_id
    by = _one_line(track.artist or track.composer)
    return f"{by} - {name}" if by else name


def _utf8(text: str) -> str:
    """Replace what cannot be written as UTF-8: bytes of a file name that are none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _one_line(text: str) -> str:
    return " ".join(_BREAKS.sub(" ", _utf8(text)).split())
