"""The Python side of the map, without a browser: what is sent, believed and refused."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kindred.ui.map_view import Colouring, MapEvent, Points, _read_event, map_state


def points(n: int = 10, **changes: Any) -> Points:
    made = {
        "ids": [f"t{i}" for i in range(n)],
        "positions": np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        "titles": [f"Title {i}" for i in range(n)],
        "subtitles": ["Composer"] * n,
    }
    return Points(**made | changes)


def content(packed: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(gzip.decompress(packed[16:]))
    return read


def numbers(text: str, kind: str) -> list[float]:
    read: list[float] = np.frombuffer(base64.b64decode(text), kind).tolist()
    return read


def mask(*rows: int, n: int = 10) -> str:
    marks = np.zeros(n, bool)
    marks[list(rows)] = True
    return base64.b64encode(np.packbits(marks).tobytes()).decode()


def test_points_travel_whole() -> None:
    sent = content(points(titles=["夜想曲", "<b>", "", *"abcdefg"]).packed)
    assert sent["titles"][:3] == ["夜想曲", "<b>", ""]
    assert sent["ids"][9] == "t9"
    assert numbers(sent["positions"], "<f4") == list(range(20))


def test_the_key_names_the_content() -> None:
    assert points().key == points().key == points().packed[:16].decode()
    assert points().key != points(subtitles=["Other"] * 10).key
    moved = points(positions=np.ones((10, 2), np.float32))
    assert points().key != moved.key


def test_a_selection_of_any_size_among_50_000_is_9_kb() -> None:
    many = points(50_000)
    state = map_state(many, Colouring.plain(50_000), name="m", served=True, selected=many.ids)
    assert len(json.dumps(state)) < 9_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positions": np.zeros((9, 2), np.float32)}, r"positions of shape \(10, 2\)"),
        ({"positions": np.zeros((10, 3), np.float32)}, r"got \(10, 3\)"),
        ({"positions": np.full((10, 2), np.nan, np.float32)}, "that of 't0' is not"),
        ({"positions": np.array([[0, 0]] * 9 + [[0, np.inf]], np.float32)}, "that of 't9' is not"),
        ({"titles": ["one"]}, "got 1 and 10"),
        ({"subtitles": []}, "got 10 and 0"),
        ({"ids": ["same"] * 10}, "'same' occurs twice"),
    ],
)
def test_wrong_points_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        points(**changes)


def test_categories_are_ranked_by_size_and_unknown_stays() -> None:
    colours = Colouring.of_labels("Genre", ["a", "b", "b", "", "c", "c", "c", "b", "b", ""])
    sent = content(colours.packed)
    assert sent["names"] == ["b", "c", "a"]
    assert numbers(sent["codes"], "<i4") == [2, 0, 0, -1, 1, 1, 1, 0, 0, -1]
    assert len(colours) == 10


def test_a_category_without_points_is_not_sent() -> None:
    sent = content(Colouring("Genre", np.array([2, -1, 2, 0]), ("a", "b", "c")).packed)
    assert sent["names"] == ["c", "a"]
    assert numbers(sent["codes"], "<i4") == [0, -1, 0, 1]


def test_categories_all_unknown() -> None:
    sent = content(Colouring.of_labels("Genre", ["", ""]).packed)
    assert sent["names"] == []
    assert numbers(sent["codes"], "<i4") == [-1, -1]


def test_values_keep_unknown_ones_and_scale_without_the_outermost() -> None:
    values = np.array([np.nan, np.inf, *range(1000), 1e9])
    sent = content(Colouring("Tempo", values=values, unit="bpm").packed)
    assert np.isnan(numbers(sent["values"], "<f4")[:2]).all()
    assert 0 < sent["low"] < 20
    assert 980 < sent["high"] < 1000


def test_values_all_unknown_or_none() -> None:
    for values in (np.full(3, np.nan), np.zeros(0)):
        sent = content(Colouring("Tempo", values=values).packed)
        assert (sent["low"], sent["high"]) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"codes": np.zeros(2, int), "values": np.zeros(2), "names": ("a",)},
        {"codes": np.array([0, 1]), "names": ("a",)},
        {"codes": np.array([-2]), "names": ("a",)},
    ],
)
def test_wrong_colourings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"either codes or values|Codes must be"):
        Colouring("Genre", **wrong)


def test_a_colouring_of_other_points_is_refused() -> None:
    with pytest.raises(ValueError, match="9 entries for 10 points"):
        map_state(points(), Colouring.plain(9), name="m", served=True)


def test_the_state_knows_tracks_by_their_place() -> None:
    state = map_state(
        points(),
        Colouring.plain(10),
        name="m",
        served=True,
        selected=("t1", "gone", "t8"),
        opened="t3",
        lines=[("t4", 0.9), ("gone", 0.8), ("t5", 0.7)],
        path=np.array([[1, 2], [3, 4]], np.float32),
        focus=("t2", 7),
    )
    assert state["selected"] == mask(1, 8)
    assert (state["opened"], state["focus"]) == (3, [2, 7])
    assert state["lines"] == [[4, 0.9], [5, 0.7]]
    assert state["path"] == [[1, 2], [3, 4]]
    json.dumps(state)


def test_the_state_without_anything() -> None:
    empty = Points((), np.zeros((0, 2), np.float32), (), ())
    state = map_state(empty, Colouring.plain(0), name="m", served=False, opened="x", focus=("x", 1))
    assert (state["opened"], state["focus"], state["selected"]) == (None, None, "")


def test_what_the_browser_tells() -> None:
    made = points()
    said = {"points": made.key, "nonce": "1"}
    assert _read_event(said | {"action": "opened", "track_id": "t2"}, made) == MapEvent(
        "opened", track_id="t2"
    )
    assert _read_event(said | {"action": "cleared"}, made) == MapEvent("cleared")
    told = _read_event(said | {"action": "selected", "mask": mask(0, 7, 9)}, made)
    assert told == MapEvent("selected", ids=("t0", "t7", "t9"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "opened",
        {"action": "opened", "track_id": "t2"},
        {"action": "opened", "track_id": "t2", "points": "of another map"},
        {"action": "opened", "track_id": "gone", "points": points().key},
        {"action": "opened", "track_id": ["t2"], "points": points().key},
        {"action": "drop", "points": points().key},
        {"action": "selected", "points": points().key},
        {"action": "selected", "mask": "not base64!", "points": points().key},
        {"action": "selected", "mask": mask(1, n=100), "points": points().key},
    ],
)
def test_what_the_browser_tells_late_or_wrongly_is_nothing(value: object) -> None:
    assert _read_event(value, points()) is None


def _page() -> None:
    import numpy as np

    from kindred.ui.map_view import Colouring, Points, map_view

    made = Points(["a"], np.zeros((1, 2), np.float32), ["A"], [""])
    assert map_view(made, Colouring.plain(1), key="map", served=True) is None


def test_a_map_mounts_without_a_browser_and_again() -> None:
    at = AppTest.from_function(_page).run(timeout=20)
    assert not at.exception
    assert len(at.get("bidi_component")) == 3
    assert not at.run(timeout=20).exception
