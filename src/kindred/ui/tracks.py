"""Tracks as the pages show them: labels, table rows, cards, player tracks.

What is computed from the whole library is cached by the library's version, so that a click on a
page with ten thousand tracks reads none of them again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from kindred.services import Services
from kindred.storage.records import Track
from kindred.ui.cards import CardItem
from kindred.ui.covers import cover_uri


def printable(text: str) -> str:
    """Text that can be sent to a browser: a name that is not valid UTF-8 is shown with escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class LibraryView:
    """The library as the pages need it.

    Attributes
    ----------
    frame : DataFrame
        One row a track, by title, with ``track_id`` as the index.
    labels : dict
        What to call each track in a list to choose from, in the frame's order.
    """

    frame: pd.DataFrame
    labels: dict[str, str]

    def values(self, column: str) -> list[str]:
        """The different texts of a column, sorted, without the empty one."""
        return sorted(set(self.frame[column]) - {""}, key=str.casefold)


def library_view(services: Services) -> LibraryView:
    """Return the view of the library as it is now."""
    return _view(services.storage.place, services.storage.version(), services)


@st.cache_data(max_entries=2, show_spinner="Opening the library")
def _view(place: str, version: int, _services: Services) -> LibraryView:
    tracks = sorted(
        _services.storage.list_tracks(),
        key=lambda track: (_natural(track.title), track.composer, track.track_id),
    )
    columns = ("title", "composer", "artist", "album", "work", "genre")
    data: dict[str, list[object]] = {
        name: [printable(getattr(track, name)) for track in tracks] for name in columns
    }
    data |= {
        "year": [track.year for track in tracks],
        "seconds": [track.duration for track in tracks],
        "length": [_clock(track.duration) for track in tracks],
        "format": [track.format for track in tracks],
        "added": [track.added_at[:10] for track in tracks],
        "audio": [bool(track.paths) for track in tracks],
    }
    ids = [track.track_id for track in tracks]
    frame = pd.DataFrame(data, index=pd.Index(ids, name="track_id"))
    frame["year"] = frame["year"].astype("Int32")
    labels = {
        track.track_id: printable(" · ".join(filter(None, (track.title, _who(track), track.album))))
        for track in tracks
    }
    return LibraryView(frame, labels)


def _natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key under which "No. 2" comes before "No. 10"."""
    parts = re.split(r"(\d{1,9})", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _clock(seconds: float) -> str:
    """Minutes and seconds, padded so that the texts sort as the numbers do."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:>4}:{rest:02d}"


def _who(track: Track) -> str:
    return track.composer or track.artist


def cards_of(
    services: Services,
    tracks: Sequence[Track],
    *,
    similarities: Sequence[float] | None = None,
    reasons: Sequence[Mapping[str, float]] | None = None,
) -> list[CardItem]:
    """Tracks as cards, with rank and similarity when they answer a query."""
    thumbnails = services.storage.get_thumbnails([track.track_id for track in tracks])
    return [
        CardItem(
            track_id=track.track_id,
            title=printable(track.title),
            composer=printable(track.composer),
            artist=printable(track.artist),
            album=printable(track.album),
            year=track.year,
            genre=printable(track.genre),
            format=track.format,
            duration=track.duration,
            similarity=similarities[row] if similarities else None,
            reasons=(reasons[row] or None) if reasons else None,
            cover=cover_uri(thumbnails.get(track.track_id)),
            peaks=track.peaks,
            url=services.storage.audio_url(track.track_id) if track.paths else "",
            path=track.path,
            rank=row + 1 if similarities else None,
        )
        for row, track in enumerate(tracks)
    ]
