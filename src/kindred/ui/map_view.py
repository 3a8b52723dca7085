"""The map: tracks as points that are panned, hovered, played by a click and selected by a lasso.

A component of ours on WebGL 2 (see ``docs/decisions/0019-drawing-the-map.md``). What is heavy, the
points and their colours, travels apart from what changes with every click, in messages that
Streamlit sends once and a rerun only refers to. The view belongs to the browser: no rerun moves it.

    points = Points(ids, positions, titles, composers)
    event = map_view(points, Colouring.of_labels("Genre", genres), key="map", served=is_served())

Playing happens in the browser, inside the click, through the player (``kindred:play``).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from kindred.ui.player import static_text

MAP_CODE = (
    "parts.js",
    "map_vendor.min.js",
    "map_points.js",
    "map_data.js",
    "map_colours.js",
    "map_camera.js",
    "map_lasso.js",
    "map_overlay.js",
    "map_hover.js",
    "map_frame.js",
    "map_view.js",
)
"""The files of ``static/`` that draw a map, in their order."""

# Points or colours and the code: the same in every run, so that Streamlit sends them once.
_FEED = st.components.v2.component("kindred_map_feed", js=static_text(*MAP_CODE, "map_feed.js"))
_MOUNT = st.components.v2.component(
    "kindred_map",
    html='<div class="kindred-map"></div>',
    css=static_text("map.css"),
    js=static_text("map.js"),
)


@dataclass(frozen=True, eq=False)
class Points:
    """Where the tracks are, and what they are called. Make it once and keep it.

    Attributes
    ----------
    ids : sequence of str, length n
        Distinct track ids.
    positions : float32 array [n, 2]
        In any unit; y points up. The map is scaled to fit, both sides alike.
    titles, subtitles : sequence of str, length n
        Shown as text. The subtitle is the composer or artist.

    Raises
    ------
    ValueError
        When lengths differ, an id occurs twice, or a position is not finite.
    """

    ids: Sequence[str]
    positions: NDArray[np.float32]
    titles: Sequence[str]
    subtitles: Sequence[str]

    def __post_init__(self) -> None:
        n = len(self.ids)
        if np.shape(self.positions) != (n, 2):
            raise ValueError(
                f"{n} ids need positions of shape ({n}, 2), got {np.shape(self.positions)}."
            )
        if len(self.titles) != n or len(self.subtitles) != n:
            raise ValueError(
                f"{n} ids need as many titles and subtitles, got {len(self.titles)} and"
                f" {len(self.subtitles)}."
            )
        if len(self._places) != n:
            twice = Counter(self.ids).most_common(1)[0][0]
            raise ValueError(f"Ids must be distinct: {twice!r} occurs twice.")
        if not np.isfinite(self.positions).all():
            row = int(np.flatnonzero(~np.isfinite(self.positions).all(axis=1))[0])
            raise ValueError(f"Positions must be finite: that of {self.ids[row]!r} is not.")

    @property
    def key(self) -> str:
        """Sixteen letters that change when the content changes."""
        return self.packed[:16].decode()

    @cached_property
    def packed(self) -> bytes:
        """The content as it is sent: see :func:`_pack`."""
        return _pack(
            ids=list(self.ids),
            titles=list(self.titles),
            subtitles=list(self.subtitles),
            positions=_base64(np.ascontiguousarray(self.positions, "<f4")),
        )

    @cached_property
    def _places(self) -> dict[str, int]:
        return {track_id: row for row, track_id in enumerate(self.ids)}

    def rows(self, track_ids: Sequence[str]) -> list[int]:
        """Where tracks stand; an id that is not on this map is left out."""
        return [self._places[one] for one in track_ids if one in self._places]


@dataclass(frozen=True, eq=False)
class Colouring:
    """What the colour of a point means. Give either categories or values.

    Attributes
    ----------
    title : str
        Such as "Genre" or "Tempo"; empty for one colour without a meaning.
    codes : int array [n], optional
        Place in ``names``; -1 when unknown (grey).
    names : sequence of str
        The twelve with most points have a colour each, the rest one grey.
    values : float array [n], optional
        NaN when unknown (grey). The scale runs from the 1st to the 99th percentile.
    unit : str
        Of the values.

    Raises
    ------
    ValueError
        When neither or both are given, or a code has no name.
    """

    title: str = ""
    codes: NDArray[np.integer] | None = None
    names: Sequence[str] = ()
    values: NDArray[np.floating] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if (self.codes is None) == (self.values is None):
            raise ValueError("A colouring takes either codes or values.")
        if self.codes is not None and self.codes.size:
            low, high = int(self.codes.min()), int(self.codes.max())
            if low < -1 or high >= len(self.names):
                raise ValueError(
                    f"Codes must be -1 to {len(self.names) - 1} for {len(self.names)} names, got"
                    f" {low} to {high}."
                )

    @classmethod
    def of_labels(cls, title: str, labels: Sequence[str]) -> Colouring:
        """Colour by text, one label a track; an empty one is unknown."""
        names = sorted({label for label in labels if label})
        code = {name: place for place, name in enumerate(names)}
        return cls(title, np.array([code.get(label, -1) for label in labels], np.int32), names)

    @classmethod
    def plain(cls, count: int) -> Colouring:
        """One colour for all."""
        return cls("", np.zeros(count, np.int32), ("Tracks",))

    def __len__(self) -> int:
        return len(self.codes if self.codes is not None else self.values)  # type: ignore[arg-type]

    @property
    def key(self) -> str:
        """Sixteen letters that change when the content changes."""
        return self.packed[:16].decode()

    @cached_property
    def packed(self) -> bytes:
        """The content as it is sent: see :func:`_pack`. The largest categories come first."""
        if self.codes is not None:
            counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
            order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
            rank = np.full(len(counts) + 1, -1, np.int32)  # the last for the unknown, of code -1
            rank[order] = np.arange(len(order))
            names = [self.names[place] for place in order]
            return _pack(title=self.title, names=names, codes=_base64(rank[self.codes]))
        values = np.asarray(self.values, "<f4")
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, (1, 99), method="nearest") if known.size else (0.0, 0.0)
        return _pack(
            title=self.title,
            unit=self.unit,
            values=_base64(np.where(np.isfinite(values), values, np.float32(np.nan))),
            low=float(low),
            high=float(high),
        )


@dataclass(frozen=True)
class MapEvent:
    """Something was done on the map.

    Attributes
    ----------
    action : {"opened", "selected", "cleared"}
    track_id : str
        What was opened; it plays already where the process serves audio.
    ids : tuple of str
        What was selected, in the order of the points.
    """

    action: Literal["opened", "selected", "cleared"]
    track_id: str = ""
    ids: tuple[str, ...] = ()


def map_view(
    points: Points,
    colouring: Colouring,
    *,
    key: str,
    served: bool,
    selected: Sequence[str] = (),
    opened: str | None = None,
    lines: Sequence[tuple[str, float]] = (),
    path: NDArray[np.floating] | None = None,
    regions: Sequence[tuple[float, float, str, float]] = (),
    focus: tuple[str, int] | None = None,
    height: int = 560,
    label: str = "Map",
    on_event: Callable[[MapEvent], None] | None = None,
) -> MapEvent | None:
    """Draw a map and tell what was done on it since the last run.

    The browser follows ``selected``, ``opened`` and ``focus`` when they change; in between it shows
    what the person did. Hand back what an event told (or ignore it), and both agree.

    Parameters
    ----------
    points, colouring
        Of the same length. Keep them from run to run (``st.cache_data``, session state): equal
        content is sent once, but packing 50,000 tracks takes a tenth of a second.
    key : str
        Unique on the page.
    served : bool
        Whether this process serves ``/audio`` and ``/thumbnail``. If not, a click only tells.
    selected : sequence of str
        Ids to mark.
    opened : str or None
        The track with the halo, from which the lines start.
    lines : sequence of (str, float)
        True neighbours of the opened track with their cosine, nearest first.
    path : float array [m, 2] or None
        A way through time in the coordinates of the points, such as a track's segments.
    regions : sequence of (x, y, label, size)
        Names written on the map, the larger first where two would touch.
    focus : (str, int) or None
        Fly to a track; another number flies again.
    height : int
        Pixels; on a phone at most 70 % of the window.
    label : str
        Name of the map for screen readers.
    on_event : callable, optional
        Called with what was done, before the page is drawn again.

    Returns
    -------
    MapEvent or None
        What was done; None as well where ``on_event`` was told.

    Raises
    ------
    ValueError
        When points and colouring have different lengths.
    """
    state = map_state(
        points, colouring, name=key, served=served, selected=selected, opened=opened, lines=lines,
        path=path, regions=regions, focus=focus, height=height, label=label,
    )  # fmt: skip

    def noted() -> None:
        event = _read_event(st.session_state[key].get("event"), points)
        if event is not None and on_event is not None:
            on_event(event)

    _FEED(key=f"{key}_points", data=points.packed)
    _FEED(key=f"{key}_colours", data=colouring.packed)
    # Streamlit only returns triggers that have a callback.
    result = _MOUNT(key=key, data=state, on_event_change=noted)
    return None if on_event is not None else _read_event(result.get("event"), points)


def map_state(
    points: Points,
    colouring: Colouring,
    *,
    name: str,
    served: bool,
    selected: Sequence[str] = (),
    opened: str | None = None,
    lines: Sequence[tuple[str, float]] = (),
    path: NDArray[np.floating] | None = None,
    regions: Sequence[tuple[float, float, str, float]] = (),
    focus: tuple[str, int] | None = None,
    height: int = 560,
    label: str = "Map",
) -> dict[str, Any]:
    """Return what ``static/map_view.js`` draws; see :func:`map_view` for the arguments."""
    if len(colouring) != len(points.ids):
        raise ValueError(
            f"The colouring has {len(colouring)} entries for {len(points.ids)} points."
        )
    near = [(points.rows([track_id]), similarity) for track_id, similarity in lines]
    return {
        "name": name,
        "points": points.key,
        "colouring": colouring.key,
        "served": served,
        "selected": _mask(points, selected),
        "opened": next(iter(points.rows([opened] if opened else [])), None),
        "lines": [[rows[0], float(similarity)] for rows, similarity in near if rows],
        "path": [] if path is None else np.asarray(path, float).tolist(),
        "regions": [[float(x), float(y), text, float(size)] for x, y, text, size in regions],
        "focus": [points.rows([focus[0]])[0], focus[1]]
        if focus and points.rows([focus[0]])
        else None,
        "height": height,
        "label": label,
    }


def _pack(**content: object) -> bytes:
    """Gzip a content as JSON, after sixteen letters that name it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    name = hashlib.sha256(text).hexdigest()[:16].encode()
    return name + gzip.compress(text, 6, mtime=0)


def _base64(array: NDArray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _mask(points: Points, track_ids: Sequence[str]) -> str:
    """One bit a point, in base64: 8 kB say any selection among 50,000. Empty for none."""
    marks = np.zeros(len(points.ids), bool)
    marks[points.rows(track_ids)] = True
    return _base64(np.packbits(marks)) if marks.any() else ""


def _read_event(value: object, points: Points) -> MapEvent | None:
    """Check what the browser says: it may be late, of another map's points, or made up."""
    if not isinstance(value, Mapping) or value.get("points") != points.key:
        return None
    match value.get("action"):
        case "opened":
            track_id = value.get("track_id")
            if isinstance(track_id, str) and points.rows([track_id]):
                return MapEvent("opened", track_id=track_id)
        case "cleared":
            return MapEvent("cleared")
        case "selected":
            try:
                packed = base64.b64decode(str(value.get("mask")), validate=True)
            except binascii.Error:
                return None
            if len(packed) == -(-len(points.ids) // 8):
                bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(points.ids))
                return MapEvent("selected", ids=tuple(points.ids[i] for i in bits.nonzero()[0]))
    return None
