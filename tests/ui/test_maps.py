"""The picture of a map in three dimensions: what is drawn, and names that look like markup."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap
from kindred.maps.trust import Trust
from kindred.services.maps import MapView
from kindred.ui.map_view import Colouring, Points
from kindred.ui.maps import in_three_dimensions
from kindred.ui.player import static_text

HOSTILE = "<a href='x'>Bad</a>"


def world(n: int) -> tuple[Points, MapView]:
    ids = tuple(f"t{number}" for number in range(n))
    positions = np.arange(3 * n, dtype=np.float32).reshape(n, 3)
    space = EmbeddingSpace("one", "1", 8_000, 1.0, 1.0, "mean", 6)
    made = LibraryMap(
        "one",
        space,
        MapOptions(dims=3),
        "",
        ids,
        ids,
        positions,
        np.zeros(n, np.int32),
        Trust(10, n),
    )
    points = Points(ids, positions[:, :2], [HOSTILE, *ids][:n], [HOSTILE, *ids][:n])
    return points, MapView(made, ids, positions, np.arange(n, dtype=np.int32))


def traces(colouring: Colouring, *, n: int, opened: str = "") -> list[Any]:
    points, view = world(n)
    return list(in_three_dimensions(points, view, colouring, opened).data)


def test_each_category_has_its_points_and_the_rest_is_grey() -> None:
    labels = [f"c{number % 12:02d}" for number in range(40)] + [""] * 3 + [HOSTILE] * 9
    drawn = traces(Colouring.of_labels("Composer", labels), n=52)
    assert len(drawn) == 13
    assert drawn[0].name == "&lt;a href=&#x27;x&#x27;&gt;Bad&lt;/a&gt;"
    assert len(drawn[0].x) == 9
    assert drawn[-1].name == "other or unknown"
    flat = re.search(r"const HUES = \[(.*?)\]", static_text("map_colours.js"), re.DOTALL)
    assert flat is not None
    assert [item.marker.color for item in drawn[:-1]] == re.findall("#[0-9a-f]{6}", flat.group(1))
    assert sorted(float(x) for item in drawn for x in item.x) == [3.0 * row for row in range(52)]
    assert not any("<" in text for item in drawn for text in [item.name, *item.text])


@pytest.mark.parametrize(("unit", "title"), [("BPM", "Tempo (BPM)"), ("", "Tempo")])
def test_numbers_have_a_bar_that_says_what_they_are(unit: str, title: str) -> None:
    values = np.array([60.0, np.nan, 120.0])
    [drawn] = traces(Colouring("Tempo", values=values, unit=unit), n=3)
    assert drawn.marker.colorbar.title.text == title
    assert drawn.z.tolist() == [2, 5, 8]
    assert drawn.marker.color.tolist() == pytest.approx(values, nan_ok=True)


def test_the_open_track_is_marked() -> None:
    *_, mark = traces(Colouring.plain(3), n=3, opened="t1")
    assert (mark.x.tolist(), mark.marker.symbol, mark.marker.size) == (
        [3],
        "diamond",
        9,
    )


@pytest.mark.parametrize(
    "colouring", [Colouring.of_labels("Composer", []), Colouring("Tempo", values=np.zeros(0))]
)
def test_no_track_is_no_point(colouring: Colouring) -> None:
    assert sum(len(item.x) for item in traces(colouring, n=0)) == 0


def test_nothing_known_is_all_grey() -> None:
    [drawn] = traces(Colouring.of_labels("Composer", ["", ""]), n=2)
    assert (drawn.name, len(drawn.x)) == ("other or unknown", 2)
