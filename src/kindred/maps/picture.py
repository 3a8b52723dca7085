"""A map as a picture for a page or a paper: matplotlib without pyplot, the same bytes every time.

Categories take colours that stay apart for people with colour vision deficiencies: Paul Tol's
"muted" (technical note "Colour schemes", 2021) on white, those of Okabe and Ito ("Color universal
design", 2008) on dark ground, with white for black. Both name eight; rarer values share a grey, and
tracks without a value are a fainter grey below all others. Numbers are drawn in viridis, without
its end that is nearest to the ground.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.maps.regions import Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

#: With more points, a scalable picture holds them as pixels.
RASTER_FROM = 2_000
#: Height of a picture by its width.
_ASPECT = 0.68
#: Names in legends are cut to this many characters.
_NAME_LENGTH = 20
#: Tried in this order for a character that the one before has not.
_FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP",
    "Noto Sans SC", "Noto Sans KR", "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo",
    "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip
_NO_GLYPH = "Glyph .* missing from"
#: matplotlib's parameters are the whole process's.
_PARAMETERS = threading.Lock()


@dataclass(frozen=True)
class _Look:
    ground: str
    ink: str
    quiet: str
    other: str
    missing: str
    palette: tuple[str, ...]
    numbers: tuple[float, float]  # the part of viridis that is used


_LIGHT = _Look(
    "#ffffff", "#1f2328", "#6a737d", "#9aa0a6", "#d5d8db",
    ("#332288", "#cc6677", "#117733", "#88ccee", "#ddcc77", "#882255", "#44aa99", "#aa4499"),
    (0.0, 0.93),
)  # fmt: skip
_DARK = _Look(
    "#12151a", "#e6e8eb", "#9aa3ad", "#6b737c", "#3d434b",
    ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#f4f4f4"),
    (0.15, 1.0),
)  # fmt: skip


def draw(
    positions: NDArray[np.float32],
    *,
    colours: Sequence[str | None] | NDArray[np.floating] | None = None,
    title: str = "",
    legend: str = "",
    labels: Sequence[Region] = (),
    dark: bool = False,
    width_px: int = 1600,
    dpi: int = 160,
) -> Figure:
    """Draw a map of two dimensions.

    Parameters
    ----------
    positions : float32 [n, 2]
    colours : sequence, optional
        A value for each point: strings are categories, with a legend; numbers get a colour bar.
        Empty strings, None and NaN are drawn as not known.
    title, legend : str
        Legend is the heading of what the colours mean.
    labels : sequence of Region
        Those with a label are named where they lie. Where two would overlap, that of the smaller
        cluster moves a little, or is left out if there is no room.
    dark : bool
        For dark pages.
    width_px, dpi : int
        Size in pixels, and how large a point of type is in them.

    Raises
    ------
    QueryError
        When the map has not two dimensions, a position is not finite, the colours are not one a
        point, or the size is out of range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = np.asarray(positions, np.float64)
    _check(places, colours, width_px, dpi)
    look = _DARK if dark else _LIGHT
    width = width_px / dpi
    figure = Figure((width, width * _ASPECT), dpi=dpi, facecolor=look.ground)
    FigureCanvasAgg(figure)
    top = 0.91 if title else 0.98
    axes = figure.add_axes((0.02, 0.02, 0.96 if colours is None else 0.76, top - 0.02))
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.04)
    if title:
        figure.text(
            0.03, 0.955, title, color=look.ink, size=13, weight="bold", va="center",
            family=_families(), parse_math=False,
        )  # fmt: skip
    if not len(places):
        axes.text(
            0.5, 0.5, "No tracks", color=look.quiet, size=12, ha="center",
            transform=axes.transAxes, family=_families(),
        )  # fmt: skip
        return figure
    if colours is None:
        _points(axes, places, look.palette[0], len(places))
    elif _are_numbers(colours):
        _numbers(axes, places, np.asarray(colours, np.float64), legend, look)
    else:
        _categories(axes, places, [_text(value) for value in colours], legend, look)
    _name(axes, places, labels, look)
    return figure


def to_png(figure: Figure) -> bytes:
    """The picture as pixels."""
    return _save(figure, "png", {"Software": None})


def to_svg(figure: Figure) -> bytes:
    """The picture as a scalable drawing: text is text, and many points are one image."""
    import matplotlib

    texts = {text: text.get_path_effects() for text in figure.findobj(_is_label)}
    with _PARAMETERS, matplotlib.rc_context({"svg.hashsalt": "kindred", "svg.fonttype": "none"}):
        for text in texts:  # an outline would turn the text into shapes; the style draws it instead
            text.set_path_effects([])
        try:
            drawn = _save(figure, "svg", {"Date": None, "Creator": "Kindred"})
        finally:
            for text, effects in texts.items():
                text.set_path_effects(effects)
    ground = matplotlib.colors.to_hex(figure.get_facecolor())
    halo = (
        '[id^="region-"] text {paint-order: stroke; stroke-width: 3px; stroke-linejoin: round; '
        f"stroke: {ground}}}\n"
    )
    return drawn.replace(b'<style type="text/css">', b'<style type="text/css">' + halo.encode(), 1)


def _save(figure: Figure, form: str, metadata: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        # No font of the machine may have a character; it is drawn as a box.
        warnings.filterwarnings("ignore", message=_NO_GLYPH)
        figure.savefig(out, format=form, dpi=figure.dpi, metadata=metadata)
    return out.getvalue()


def _points(axes: Axes, places: NDArray[np.float64], colour: Any, n: int, **more: Any) -> Any:
    """Points, smaller and fainter the more there are on the whole map."""
    return axes.scatter(
        places[:, 0],
        places[:, 1],
        s=float(np.clip(500 / np.sqrt(n), 2, 34)),
        c=colour,
        alpha=float(np.clip(1.05 - 0.08 * np.log10(n), 0.6, 0.9)),
        linewidths=0,
        rasterized=n > RASTER_FROM,
        **more,
    )


def _categories(
    axes: Axes, places: NDArray[np.float64], values: list[str], legend: str, look: _Look
) -> None:
    from matplotlib.lines import Line2D

    count = Counter(value for value in values if value)
    ranked = sorted(count, key=lambda value: (-count[value], value))
    named, rest = ranked[: len(look.palette)], ranked[len(look.palette) :]
    colour = dict(zip(named, look.palette, strict=False))
    colour |= dict.fromkeys(rest, look.other) | {"": look.missing}
    order = np.random.default_rng(0).permutation(len(values))  # none lies above all others
    order = order[np.argsort([1 if values[row] else 0 for row in order], kind="stable")]
    _points(axes, places[order], [colour[values[row]] for row in order], len(values))
    entries = [(_short(value), colour[value]) for value in named]
    if rest:
        others = f"{len(rest):,} others" if len(rest) > 1 else _short(rest[0])
        entries.append((others, look.other))
    if "" in values:
        entries.append(("not known", look.missing))
    box = axes.legend(
        [
            Line2D([], [], linestyle="none", marker="o", markersize=7, markeredgewidth=0, color=c)
            for _, c in entries
        ],
        ["entry"] * len(entries),
        title=legend or None,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        alignment="left",
        labelspacing=0.7,
        handletextpad=0.4,
    )
    # Set here, since a legend would leave out a name that begins with "_".
    for text, (name, _) in zip(box.get_texts(), entries, strict=True):
        text.set(text=name, color=look.ink, size=10, family=_families(), parse_math=False)
    box.get_title().set(color=look.quiet, size=10, family=_families(), parse_math=False)


def _numbers(
    axes: Axes, places: NDArray[np.float64], values: NDArray[np.float64], legend: str, look: _Look
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    known = np.isfinite(values)
    if (~known).any():
        _points(axes, places[~known], look.missing, len(values))
    if not known.any():
        return
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    scale = ListedColormap(colormaps["viridis"](np.linspace(*look.numbers, 256)))
    drawn = _points(axes, places[order], values[order], len(values), cmap=scale)
    drawn.set_zorder(1.5)
    beside = axes.get_figure().add_axes((0.82, 0.25, 0.018, 0.5))  # type: ignore[union-attr]
    bar = beside.get_figure().colorbar(drawn, cax=beside)  # type: ignore[union-attr]
    bar.solids.set(alpha=1, rasterized=True)  # type: ignore[union-attr]
    bar.outline.set_visible(False)  # type: ignore[operator]
    beside.tick_params(
        color=look.quiet, labelcolor=look.ink, labelsize=9, labelfontfamily=_families()[0]
    )
    beside.set_title(
        "\n".join(wrap(legend, _NAME_LENGTH)), loc="left", color=look.quiet, size=10, pad=10,
        family=_families(), parse_math=False,
    )  # fmt: skip


def _name(axes: Axes, places: NDArray[np.float64], labels: Sequence[Region], look: _Look) -> None:
    """Write the names of regions, the largest first; a name is not repeated nearby."""
    from matplotlib.patheffects import withStroke

    figure: Any = axes.get_figure()
    renderer = figure.canvas.get_renderer()
    axes.apply_aspect()  # the limits are set from here on
    points = axes.transData.transform(places)
    taken: list[tuple[str, Bbox]] = []
    for region in sorted(labels, key=lambda region: (-region.size, region.cluster)):
        if not region.label:
            continue
        text = axes.text(
            region.x, region.y, region.label, color=look.ink, size=9.5, weight="bold",
            ha="center", va="center", family=_families(), parse_math=False, zorder=5,
            path_effects=[withStroke(linewidth=3, foreground=look.ground)],
            gid=f"region-{region.cluster}",
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_NO_GLYPH)
            at = text.get_window_extent(renderer)
        near = [box for label, box in taken if label == region.label]
        room = _room(at, [box for _, box in taken], points, axes.bbox)
        if room is None or any(_apart(at, box) < axes.bbox.width / 4 for box in near):
            text.remove()
            continue
        taken.append((region.label, room))
        x, y = axes.transData.inverted().transform(_middle(room))
        text.set_position((float(x), float(y)))


def _room(at: Bbox, taken: list[Bbox], points: NDArray[np.float64], frame: Bbox) -> Bbox | None:
    """Where a label near its place hides few points and no other label, or None."""
    dx = max(frame.x0 - at.x0, 0) + min(frame.x1 - at.x1, 0)
    best, least = None, np.inf
    beside = points[np.abs(points[:, 0] - _middle(at)[0] - dx) < at.width / 2, 1]
    for step in (0, 1, -1, 2, -2, 3, -3):
        box = at.translated(dx, step * at.height * 0.8)
        if box.y0 < frame.y0 or box.y1 > frame.y1:
            continue
        if any(box.padded(at.height * 0.12).overlaps(other) for other in taken):
            continue
        # A step away is worth it where it saves a fifth of the points.
        hidden = np.count_nonzero((beside > box.y0) & (beside < box.y1))
        cost = hidden * (1 + 0.25 * abs(step)) + 0.1 * abs(step)
        if cost < least:
            best, least = box, cost
    return best


def _middle(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _apart(one: Bbox, other: Bbox) -> float:
    return float(np.hypot(*np.subtract(_middle(one), _middle(other))))


def _check(places: NDArray[np.float64], colours: Any, width_px: int, dpi: int) -> None:
    if places.ndim != 2 or places.shape[1] != 2:
        raise QueryError(
            f"A picture is drawn of a map with 2 dimensions, got {list(places.shape)}. Build a map "
            "with 2 dimensions."
        )
    if not np.isfinite(places).all():
        raise QueryError("A position on the map is not finite. Compute the map again.")
    if colours is not None and len(colours) != len(places):
        raise QueryError(f"{len(colours)} values were given to colour {len(places)} points.")
    if not 200 <= width_px <= 10_000 or not 50 <= dpi <= 600:
        raise QueryError(
            f"A picture is 200 to 10,000 pixels wide at 50 to 600 dpi, got {width_px} at {dpi}."
        )


def _are_numbers(colours: Any) -> bool:
    if isinstance(colours, np.ndarray):
        return colours.dtype.kind in "fiu"
    known = [value for value in colours if value is not None]
    return bool(known) and all(type(value) in (int, float) for value in known)


def _text(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else str(value)


def _is_label(artist: Any) -> bool:
    return str(artist.get_gid() or "").startswith("region-")


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1].rstrip() + "…"


def _families() -> list[str]:
    """The fonts of this machine, in the order they are tried."""
    from matplotlib.font_manager import get_font_names

    have = set(get_font_names())
    return [name for name in _FONTS if name in have]
