"""A map as the library is now: its points, what they are coloured by, and their table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.maps.record import LibraryMap
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Track

if TYPE_CHECKING:
    import pandas as pd

#: Neighbourhood in which maps are judged and lines are drawn.
NEAR = 10
#: A larger share of tracks that are not on a map asks for a new one.
STALE = 0.1
#: What points can be coloured by, besides any tag of the tracks.
COLOURS: dict[str, str] = {
    "composer": "Composer",
    "artist": "Artist",
    "album": "Album",
    "genre": "Genre",
    "work": "Work",
    "cluster": "Model cluster",
    "key": "Key",
    "year": "Year",
    "tempo": "Tempo",
    "loudness": "Loudness",
    "duration": "Duration",
    "trust": "Neighbours kept",
}
#: Columns of :func:`table` that hold text.
TEXTS = ("track_id", "title", "composer", "artist", "album", "genre")
_UNITS = {"tempo": "BPM", "loudness": "LUFS", "duration": "minutes", "trust": f"of {NEAR}"}


@dataclass(frozen=True)
class MapView:
    """A map as the library is now.

    Attributes
    ----------
    map : LibraryMap
    track_ids : tuple of str
        Tracks of the library that have a place, those of the map first.
    positions : float32 [n, 2] or [n, 3]
    rows : int32 [n]
        Row in the map, -1 for a track that was placed on it afterwards.
    gone, changed, placed : int
        Tracks of the map that the library has no longer; whose audio is another; that came since,
        or were changed, and were placed near their neighbours.
    left_out : int
        Tracks of the library without a place: their vectors are damaged, or none of the map's
        tracks is left to place them by.
    version : int
        Of the library.
    """

    map: LibraryMap
    track_ids: tuple[str, ...]
    positions: NDArray[np.float32]
    rows: NDArray[np.int32]
    gone: int = 0
    changed: int = 0
    placed: int = 0
    left_out: int = 0
    version: int = 0

    @property
    def is_stale(self) -> bool:
        """Whether so much has changed that the map should be built anew."""
        if not self.track_ids and self.left_out:
            return True
        return self.gone + self.placed > STALE * max(len(self.map.track_ids), 1)

    def of_points(self, values: NDArray[Any] | None, missing: Any) -> NDArray[Any] | None:
        """Values of the map's rows for the points; ``missing`` for those placed afterwards."""
        if values is None:
            return None
        if not len(values):
            return np.full(len(self.rows), missing, values.dtype)
        return np.where(self.rows >= 0, values[self.rows], np.asarray(missing, values.dtype))


@dataclass(frozen=True)
class Values:
    """What points are coloured by: ``numbers`` (NaN where unknown) or ``names`` ("" where)."""

    by: str
    title: str
    unit: str = ""
    numbers: NDArray[np.float64] | None = None
    names: tuple[str, ...] | None = None


def tracks_at(storage: StorageBackend, track_ids: Sequence[str]) -> list[Track]:
    """A track for each id; one without a word for an id that has just left the library."""
    tracks = {track.track_id: track for track in storage.get_tracks(track_ids)}
    return [tracks.get(track_id, Track(track_id)) for track_id in track_ids]


def values(storage: StorageBackend, view: MapView, by: str) -> Values:
    """What a view's points are coloured by: one of :data:`COLOURS`, or any other tag.

    Raises
    ------
    QueryError
        When no track has such a tag.
    """
    from kindred.library.measures import key_of, loudness_of, tempo_of

    title = COLOURS.get(by, by)
    unit = _UNITS.get(by, "")
    if by == "cluster":
        codes = view.of_points(view.map.clusters, -1)
        assert codes is not None
        return Values(by, title, names=tuple(f"{code + 1}" if code >= 0 else "" for code in codes))
    if by == "trust":
        kept = view.of_points(
            None if view.map.trust.preserved is None else view.map.trust.preserved.astype(float),
            np.nan,
        )
        found = np.full(len(view.track_ids), np.nan) if kept is None else kept
        return Values(by, title, unit, numbers=found)
    ordered = tracks_at(storage, view.track_ids)
    numbers: dict[str, Callable[[Track], float | None]] = {
        "year": lambda track: track.year,
        "tempo": tempo_of,
        "loudness": loudness_of,
        "duration": lambda track: track.duration / 60 or None,
    }
    if by in numbers:
        read = [numbers[by](track) for track in ordered]
        return Values(
            by,
            title,
            unit,
            numbers=np.array([np.nan if value is None else value for value in read], float),
        )
    if by == "key":
        return Values(by, title, names=tuple(key_of(track) for track in ordered))
    tagged = by in COLOURS or any(by in track.extra for track in ordered)
    if not tagged and not any(by in track.extra for track in storage.list_tracks()):
        raise QueryError(
            f"No track has a tag {by!r}. Colours are {', '.join(COLOURS)}, or a tag of the files."
        )
    return Values(
        by,
        title,
        names=tuple(
            str(getattr(track, by) if by in COLOURS else track.extra.get(by, "") or "")
            for track in ordered
        ),
    )


def table(storage: StorageBackend, view: MapView) -> pd.DataFrame:
    """One row a point: track, place, cluster, and how far it can be trusted."""
    import pandas as pd

    ordered = tracks_at(storage, view.track_ids)
    trust = view.map.trust
    columns: dict[str, Any] = {
        "track_id": view.track_ids,
        **{name: [getattr(track, name) for track in ordered] for name in (*TEXTS[1:], "year")},
        **{
            axis: view.positions[:, number]
            for number, axis in enumerate("xyz"[: view.positions.shape[1]])
        },
        "cluster": view.of_points(view.map.clusters, -1),
        "placed_afterwards": view.rows < 0,
    }
    for name in ("preserved", "trustworthiness_at", "continuity_at"):
        values = getattr(trust, name)
        if values is not None:
            columns[name.removesuffix("_at")] = view.of_points(values.astype(float), np.nan)
    frame = pd.DataFrame(columns)
    frame["year"] = frame["year"].astype("Int32")
    return frame
