"""A map as a file: a picture, a page that opens offline, or a table."""

from __future__ import annotations

import io
from pathlib import Path

from kindred.errors import QueryError
from kindred.services import Services
from kindred.services.map_views import TEXTS, MapView
from kindred.spreadsheet import guarded
from kindred.storage.whole_files import replacing

#: What each ending means.
SUFFIXES: dict[str, str] = {
    ".png": "picture of pixels",
    ".svg": "scalable picture",
    ".html": "page that opens offline",
    ".csv": "table",
    ".parquet": "table for pandas and the like",
}
#: Those that take maps of three dimensions as well.
TABLES = (".csv", ".parquet")


def write_map(
    services: Services,
    view: MapView,
    target: Path,
    *,
    by: str = "composer",
    dark: bool = False,
    width: int = 1_600,
) -> None:
    """Write a map to a file; its ending says what kind.

    Raises
    ------
    QueryError
        When the ending is none of :data:`SUFFIXES`, there is no such colour, the map has three
        dimensions and no picture can be drawn of it, or the file cannot be written.
    """
    data = map_file(services, view, target.suffix.lower(), by=by, dark=dark, width=width)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as out:
            out.write(data)
    except OSError as error:
        raise QueryError(f"{target} cannot be written ({error.strerror}).") from error


def map_file(
    services: Services,
    view: MapView,
    suffix: str,
    *,
    by: str = "composer",
    dark: bool = False,
    width: int = 1_600,
) -> bytes:
    """The bytes of such a file; see :func:`write_map`."""
    if suffix not in SUFFIXES:
        raise QueryError(f"A map is written as {', '.join(SUFFIXES)}, got {suffix or 'no ending'}.")
    if suffix in TABLES:
        table, out = services.maps.table(view), io.BytesIO()
        if suffix == ".csv":
            texts = {name: table[name].map(guarded) for name in TEXTS}
            table.assign(**texts).to_csv(out, index=False, lineterminator="\r\n")
        else:
            table.to_parquet(out, index=False)
        return out.getvalue()
    if view.positions.shape[1] != 2:
        raise QueryError("A picture needs a map of 2 dimensions; .csv and .parquet take 3 as well.")
    if suffix == ".html":
        from kindred.ui.map_html import to_html
        from kindred.ui.maps import make_colouring, make_points, regions_of

        return to_html(
            make_points(services, view),
            make_colouring(services, view, by),
            regions_of(view),
            title=view.map.title,
        ).encode()
    from kindred.maps.picture import draw, to_png, to_svg

    values = services.maps.values(view, by)
    figure = draw(
        view.positions,
        colours=values.numbers if values.numbers is not None else values.names,
        title=view.map.title,
        legend=f"{values.title} ({values.unit})" if values.unit else values.title,
        labels=view.map.regions,
        dark=dark,
        width_px=width,
    )
    return to_png(figure) if suffix == ".png" else to_svg(figure)
