"""Maps as the pages draw them: points, colours, and the picture in three dimensions.

What is made of the whole library is cached by map and library version, so that a click on a map of
fifty thousand tracks reads none of them again.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from kindred.services import Services
from kindred.services.map_views import MapView, tracks_at
from kindred.ui.map_view import Colouring, Points
from kindred.ui.tracks import printable

#: The colours of the flat map (``static/map_colours.js``): the twelve largest, and the others.
_HUES = (
    "#5549ce", "#aa0000", "#c2b631", "#49c2c2", "#ce5579", "#b66dc2",
    "#7979ff", "#863d55", "#798618", "#aaaaff", "#e79286", "#6d4992",
)  # fmt: skip
_OTHER = "#7d766f"


def points_of(services: Services, view: MapView) -> Points:
    """The view's points with what they are called."""
    return _points(*_key(services, view), services, view)


@st.cache_resource(max_entries=4, show_spinner="Opening the map")
def _points(place: str, version: int, map_id: str, _services: Services, _view: MapView) -> Points:
    return make_points(_services, _view)


def make_points(services: Services, view: MapView) -> Points:
    """The view's points, read anew."""
    found = tracks_at(services.storage, view.track_ids)
    return Points(
        ids=view.track_ids,
        positions=np.ascontiguousarray(view.positions[:, :2]),
        titles=[printable(track.title) for track in found],
        subtitles=[printable(track.composer or track.artist) for track in found],
    )


def regions_of(view: MapView) -> list[tuple[float, float, str, float]]:
    """Names of regions as they are written on a map."""
    return [(item.x, item.y, item.label, item.size) for item in view.map.regions if item.label]


def colouring_of(services: Services, view: MapView, by: str) -> Colouring:
    """What colours mean when points are coloured by a tag or a measure."""
    return _colouring(*_key(services, view), by, services, view)


@st.cache_resource(max_entries=12, show_spinner="Colouring the map")
def _colouring(
    place: str, version: int, map_id: str, by: str, _services: Services, _view: MapView
) -> Colouring:
    return make_colouring(_services, _view, by)


def make_colouring(services: Services, view: MapView, by: str) -> Colouring:
    """What colours mean, read anew."""
    values = services.maps.values(view, by)
    if values.numbers is not None:
        return Colouring(values.title, values=values.numbers, unit=values.unit)
    return Colouring.of_labels(values.title, [printable(name) for name in values.names or ()])


def path_of(services: Services, view: MapView, track_id: str) -> NDArray[np.float32]:
    """A track's way through time on the map, float32 [m, 2]."""
    return _path(*_key(services, view), track_id, services, view)


@st.cache_resource(max_entries=20, show_spinner="Placing its windows")
def _path(
    place: str, version: int, map_id: str, track_id: str, _services: Services, _view: MapView
) -> NDArray[np.float32]:
    return _services.maps.path(_view, track_id)


def tags_to_colour_by(services: Services) -> list[str]:
    """Tags of the files and of the user that tracks can be coloured by, besides the usual ones."""
    return _tags(services.storage.place, services.storage.version(), services)


@st.cache_data(max_entries=2, show_spinner=False)
def _tags(place: str, version: int, _services: Services) -> list[str]:
    found = {name for track in _services.storage.list_tracks() for name in track.extra}
    return sorted(name for name in found if name != "imported" and not name.startswith("measured"))


def _key(services: Services, view: MapView) -> tuple[str, int, str]:
    return services.storage.place, view.version, view.map.map_id


def in_three_dimensions(points: Points, view: MapView, colouring: Colouring, opened: str) -> Any:
    """A plotly figure to turn around; it is looked at, the flat map is worked with."""
    import plotly.graph_objects as go

    named = zip(points.titles, points.subtitles, strict=True)
    names = np.array([escape(f"{title} · {subtitle}") for title, subtitle in named])
    x, y, z = view.positions.T

    def trace(rows: Any, label: str, **marker: Any) -> Any:
        return go.Scatter3d(
            x=x[rows],
            y=y[rows],
            z=z[rows],
            mode="markers",
            name=escape(label),  # plotly reads some HTML
            text=names[rows],
            hoverinfo="text",
            marker={"size": 6 if len(points.ids) < 1_000 else 3, "opacity": 0.8} | marker,
        )

    figure = go.Figure()
    if colouring.values is not None:
        unit = f" ({colouring.unit})" if colouring.unit else ""
        figure.add_trace(
            trace(
                slice(None),
                colouring.title,
                color=colouring.values,
                colorscale="Viridis",
                colorbar={"title": f"{colouring.title}{unit}"},
            )
        )
    elif colouring.codes is not None:
        counts = np.bincount(colouring.codes[colouring.codes >= 0], minlength=len(colouring.names))
        largest = np.argsort(-counts, kind="stable")[: len(_HUES)]
        for code, hue in zip(largest, _HUES, strict=False):
            figure.add_trace(trace(colouring.codes == code, colouring.names[code], color=hue))
        rest = ~np.isin(colouring.codes, largest)
        if rest.any():
            figure.add_trace(trace(rest, "other or unknown", color=_OTHER))
    if opened:
        here = [list(points.ids).index(opened)]
        figure.add_trace(trace(here, points.titles[here[0]] or "open", size=9, symbol="diamond"))
    figure.update_layout(
        height=620,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
        | {"camera": {"eye": {"x": 0.9, "y": 0.9, "z": 0.9}}},
        legend={"itemsizing": "constant"},
    )
    return figure
