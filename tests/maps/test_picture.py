"""Pictures of maps: what is in them, read back from the pixels and from the drawing."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from kindred.errors import QueryError
from kindred.maps import picture
from kindred.maps.picture import draw, to_png, to_svg
from kindred.maps.regions import Region


def places(n: int = 300) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB"))


def texts(svg: bytes) -> list[str]:
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in found]


def region(label: str, x: float, y: float, *, number: int = 0, size: int = 10) -> Region:
    return Region(x=x, y=y, cluster=number, size=size, label=label)


@pytest.mark.parametrize("dark", [False, True])
def test_a_picture_has_the_asked_size_and_ground(dark: bool) -> None:
    drawn = pixels(draw(places(), dark=dark, width_px=900, dpi=100))
    assert drawn.shape == (612, 900, 3)
    look = picture._DARK if dark else picture._LIGHT
    assert drawn[0, 0].tolist() == [round(255 * part) for part in to_rgb(look.ground)]


def test_each_category_is_drawn_where_its_points_are() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32).repeat(5, axis=0)
    values = ["a"] * 5 + ["b"] * 5 + [""] * 10
    drawn = pixels(draw(corners, colours=values)).astype(int)
    look = picture._LIGHT
    left = drawn[:, : int(drawn.shape[1] * 0.75)]  # without the legend
    for colour, row, side in [
        (look.palette[0], "low", "left"),
        (look.palette[1], "low", "right"),
    ]:
        wanted = np.array([255 * part for part in to_rgb(colour)])
        y, x = np.nonzero(np.abs(left - wanted).sum(axis=2) < 60)
        assert len(y) > 20
        assert (y.min() > left.shape[0] / 2) == (row == "low")
        assert (x.max() < left.shape[1] / 2) == (side == "left")


def test_the_legend_names_the_commonest_and_counts_the_rest() -> None:
    values = [f"v{number:02d}" for number in range(20) for _ in range(20 - number)]
    values += [""] * 7 + [None] * 3  # type: ignore[list-item]
    names = texts(to_svg(draw(places(len(values)), colours=values, legend="composer")))
    assert names == ["composer", *(f"v{n:02d}" for n in range(8)), "12 others", "not known"]
    flags = [True, False, None, float("nan")]
    assert texts(to_svg(draw(places(4), colours=flags))) == ["False", "True", "not known"]  # type: ignore[arg-type]
    nine = texts(to_svg(draw(places(9), colours=list("abcdefghi"))))
    assert nine == list("abcdefghi")
    assert texts(to_svg(draw(places(2), colours=["", ""]))) == ["not known"]


def test_numbers_have_a_bar_and_missing_ones_are_grey() -> None:
    values = np.linspace(0, 10, 300)
    values[:40] = np.nan
    names = texts(to_svg(draw(places(), colours=values, legend="kept of 10")))
    assert "kept of 10" in names
    assert {"2", "4", "6", "8", "10"} <= set(names)
    for nothing in (np.full(300, np.nan), [None] * 299 + [float("nan")]):
        figure = draw(places(), colours=nothing)  # type: ignore[arg-type]
        missing = [255 * part for part in to_rgb(picture._LIGHT.missing)]
        colours = pixels(figure).reshape(-1, 3).astype(int)
        assert (np.abs(colours - missing).sum(axis=1) < 6).any()
        assert (np.ptp(colours, axis=1) < 16).all()  # greys alone


@pytest.mark.parametrize(
    "value", ["_hidden", "A$AP $x$", r"\frac", "<b>&amp;", "Dvořák", "滝廉太郎"]
)
def test_names_are_drawn_as_they_are(value: str) -> None:
    label = region(value, 0, 0)
    figure = draw(
        places(4), colours=[value] * 4, title=value, legend=value, labels=[label], dark=True
    )
    assert texts(to_svg(figure)) == [value] * 4
    assert len(to_png(figure)) > 1_000


def test_labels_do_not_overlap_and_stay_inside() -> None:
    random = np.random.default_rng(4)
    labels = [
        region(
            f"region {number} · words", *random.normal(0, 1, 2), number=number, size=100 - number
        )
        for number in range(40)
    ]
    figure = draw(places(), colours=["x"] * 300, labels=labels, width_px=1_000)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    drawn = figure.findobj(picture._is_label)
    boxes = [text.get_window_extent(renderer) for text in drawn]
    assert 8 < len(boxes) < 40
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    frame = figure.axes[0].bbox.padded(1)
    assert all(frame.contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert drawn[0].get_gid() == "region-0"  # the largest is always there


def test_a_label_beside_others_is_not_repeated_but_far_away_it_is() -> None:
    far = np.array([[-10, 0], [10, 0]])
    labels = [
        region("Bach", -10, 0, number=0),
        region("Bach", -9, 0.5, number=1),
        region("Bach", 10, 0, number=2),
        region("", 0, 0, number=3),
    ]
    assert texts(to_svg(draw(far, labels=labels))) == ["Bach", "Bach"]


def test_a_label_gives_way_to_points_where_there_is_room() -> None:
    island = np.concatenate(
        [np.random.default_rng(0).normal(0, 0.02, (200, 2)), [[-1, -1], [1, 1]]]
    )
    figure = draw(island, labels=[region("Bach · chorale", 0, 0)])
    (text,) = figure.findobj(picture._is_label)
    box = text.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    x, y = figure.axes[0].transData.transform(island[:200]).T
    hidden = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
    assert hidden.mean() < 0.1


def test_the_same_map_gives_the_same_bytes() -> None:
    def once() -> tuple[bytes, bytes]:
        values = ["a", "b", ""] * 100
        figure = draw(places(), colours=values, title="t", labels=[region("Bach", 0, 0)])
        return to_png(figure), to_svg(figure)

    first = once()
    assert first == once()
    assert b"dc:date" not in first[1]
    figure = draw(places(), labels=[region("Bach", 0, 0)])
    before = to_png(figure)
    to_svg(figure)
    assert to_png(figure) == before  # the halo is still there


def test_many_points_are_one_image_and_text_stays_text() -> None:
    n = picture.RASTER_FROM + 1
    svg = to_svg(draw(places(n), colours=["x"] * n, title="Map", labels=[region("Bach", 0, 0)]))
    assert set(texts(svg)) == {"Bach", "Map", "x"}
    assert svg.count(b"<image") == 1
    assert len(svg) < 1_000_000
    assert b'id="region-0"' in svg
    assert b'[id^="region-"] text {paint-order: stroke' in svg
    few = to_svg(draw(places(10)))
    assert b"<image" not in few
    assert few.count(b"<use") == 10


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_maps_are_drawn(n: int) -> None:
    for colours in (None, ["x"] * n, np.arange(float(n))):
        figure = draw(np.zeros((n, 2)), colours=colours, labels=[region("a", 0, 0)] * n)
        assert pixels(figure).shape == (1088, 1600, 3)
    assert texts(to_svg(draw(np.zeros((0, 2))))) == ["No tracks"]


def test_pyplot_is_never_imported() -> None:
    script = """if True:
        import sys
        import numpy as np
        from kindred.maps.picture import draw, to_png, to_svg
        figure = draw(np.eye(2), colours=np.arange(2.0))
        to_png(figure), to_svg(figure)
        sys.exit("matplotlib.pyplot" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_bad_input_is_refused() -> None:
    not_finite = places()
    not_finite[2] = np.inf
    for positions, options, words in [
        (np.zeros((5, 3)), {}, r"2 dimensions, got \[5, 3\]"),
        (np.zeros(5), {}, r"2 dimensions, got \[5\]"),
        (not_finite, {}, "not finite"),
        (places(), {"colours": ["x"] * 299}, "299 values were given to colour 300 points"),
        (places(), {"width_px": 100}, "got 100 at 160"),
        (places(), {"width_px": 100_000}, "got 100000"),
        (places(), {"dpi": 5}, "at 5"),
    ]:
        with pytest.raises(QueryError, match=words):
            draw(positions, **options)
