"""What is chosen on the map, packed into the address and read from it again.

Bad addresses: rubbish, rows that are not there, texts that unpack without end, rows of another map,
tracks that are gone, selections too large for an address.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from kindred.embeddings.space import EmbeddingSpace
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap
from kindred.maps.trust import Trust
from kindred.services.maps import MapView
from kindred.ui import map_state
from kindred.ui.map_state import LONGEST, MapState, pack, unpack


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).rstrip(b"=").decode()


def steps(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


# -- packing -------------------------------------------------------------------------------


@given(some.lists(some.integers(0, 999), max_size=400))
@settings(deadline=None)
def test_rows_come_back(rows: list[int]) -> None:
    text = pack(rows)
    assert unpack(text, 1_000) == sorted(set(rows))
    assert text.isascii()
    assert all(letter.isalnum() or letter in "-_" for letter in text)


@given(some.sets(some.integers(0, 99), min_size=1), some.integers(0, 99))
@settings(deadline=None)
def test_rows_beyond_the_map_name_nothing(rows: set[int], count: int) -> None:
    assert unpack(pack(sorted(rows)), count) == (sorted(rows) if max(rows) < count else [])


@given(some.text(max_size=60) | some.binary(max_size=60).map(packed))
@settings(deadline=None)
def test_rubbish_names_nothing_or_rows_that_exist(text: str) -> None:
    rows = unpack(text, 50)
    assert rows == sorted(set(rows))
    assert all(0 <= row < 50 for row in rows)


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "A", "ä", "\0", "not a selection", "eJw", packed(b""), packed(b"abc"),
        packed(steps(3, 0, 0)), packed(steps(2**32 - 1, 2**32 - 1)), packed(steps(1, 2, 3))[:-6],
    ],
)  # fmt: skip
def test_texts_that_name_no_rows(text: str) -> None:
    assert unpack(text, 10) == []


@pytest.mark.parametrize("count", [0, 1, 10, 50_000])
def test_a_text_that_unpacks_without_end_is_cut_off(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = packed(bytes(50_000_000))
    assert len(bomb) < 70_000
    unpacked: list[int] = []
    whole = np.frombuffer

    def measured(data: bytes, *args: Any) -> Any:
        unpacked.append(len(data))
        return whole(data, *args)

    monkeypatch.setattr(map_state.np, "frombuffer", measured)  # type: ignore[attr-defined]
    assert unpack(bomb, count) in ([], [0])
    assert max(unpacked) <= max(4 * count, 1)


# -- the address ---------------------------------------------------------------------------


def view_of(n: int, *, map_id: str = "one", placed: Sequence[str] = ()) -> MapView:
    ids = tuple(f"t{number}" for number in range(n))
    made = LibraryMap(
        map_id,
        EmbeddingSpace("one", "1", 8_000, 1.0, 1.0, "mean", 6),
        MapOptions(),
        "",
        ids,
        ids,
        np.zeros((n, 2), np.float32),
        np.zeros(n, np.int32),
        Trust(10, n),
    )
    rows = np.array([*range(n), *(-1 for _ in placed)], np.int32)
    return MapView(made, (*ids, *placed), np.zeros((len(rows), 2), np.float32), rows)


def script() -> None:
    import streamlit as st

    from kindred.ui import map_state

    view = st.session_state["view"]
    if st.session_state.get("wanted") is not None:
        map_state.write(st.session_state.pop("wanted"))
    state = map_state.read(view)
    st.session_state["found"] = state
    st.session_state["fits"] = map_state.publish(view, state)


def page(view: MapView, *, wanted: MapState | None = None, **address: str | list[str]) -> AppTest:
    app = AppTest.from_function(script)
    for name, value in address.items():
        app.query_params[name] = value
    app.session_state["view"] = view
    app.session_state["wanted"] = wanted
    app.run()
    assert not app.exception
    return app


def found(app: AppTest) -> MapState:
    state = app.session_state["found"]
    assert isinstance(state, MapState)
    return state


def address(app: AppTest) -> dict[str, list[str]]:
    named = {name: app.query_params[name] for name in app.query_params}
    return {name: [given] if isinstance(given, str) else given for name, given in named.items()}


def test_what_is_chosen_stands_in_the_address_and_comes_back() -> None:
    view = view_of(40, placed=["new", "newer"])
    wanted = MapState("one", "t5", ("t7", "t3", "newer"))
    there = page(view, wanted=wanted)
    assert address(there)["map"] == ["one"]
    assert address(there)["open"] == ["t5"]
    assert address(there)["also"] == ["newer"]
    assert there.session_state["fits"]
    back = page(view, **address(there))
    assert found(back) == MapState("one", "t5", ("t3", "t7", "newer"))
    assert address(back) == address(there)


def test_nothing_chosen_only_names_the_map() -> None:
    app = page(view_of(3))
    assert found(app) == MapState("one")
    assert address(app) == {"map": ["one"]}


def test_what_is_no_longer_chosen_leaves_the_address() -> None:
    app = page(view_of(9, placed=["new"]), wanted=MapState("one", "t1", ("t2", "new")))
    app.session_state["wanted"] = MapState("one")
    app.run()
    assert address(app) == {"map": ["one"]}


def test_tracks_that_are_gone_are_not_chosen() -> None:
    app = page(view_of(3), open="gone", also=["gone", "t1", "t1"], pick=pack([1, 2]), map="one")
    assert found(app) == MapState("one", "", ("t1", "t2"))
    app.session_state["view"] = view_of(2)
    app.run()
    assert found(app).picked == ("t1",)


def test_rows_of_another_map_are_not_taken_for_this_ones() -> None:
    app = page(view_of(9), map="gone", open="t4", pick=pack([1, 2]), also=["t8"])
    assert found(app) == MapState("one", "t4", ("t8",))


def test_rows_survive_tracks_that_left() -> None:
    view = view_of(5)
    rest = MapView(view.map, ("t0", "t2", "t4"), view.positions[:3], np.array([0, 2, 4], np.int32))
    app = page(rest, map="one", pick=pack([1, 2, 4]))
    assert found(app).picked == ("t2", "t4")


def test_a_hand_in_the_address_wins_over_what_was_chosen() -> None:
    app = page(view_of(9), wanted=MapState("one", "t1", ("t2",)))
    app.query_params["open"] = "t3"
    app.query_params["pick"] = pack([5])
    app.run()
    assert found(app) == MapState("one", "t3", ("t5",))
    app.session_state["wanted"] = MapState("one", "t6")
    app.run()  # and what is chosen afterwards wins over the address
    assert found(app) == MapState("one", "t6")


def test_a_selection_goes_along_to_another_map() -> None:
    app = page(view_of(9), wanted=MapState("one", "t1", ("t2", "t3")))
    app.session_state["view"] = view_of(9, map_id="other")
    app.run()
    assert found(app) == MapState("other", "t1", ("t2", "t3"))
    assert address(app)["map"] == ["other"]


def test_a_page_that_was_left_remembers() -> None:
    app = page(view_of(9), wanted=MapState("one", "t1", ("t2",)))
    for name in address(app):
        del app.query_params[name]
    app.run()
    assert found(app) == MapState("one", "t1", ("t2",))
    assert address(app)["open"] == ["t1"]


def test_a_selection_too_large_for_the_address_is_kept_and_said() -> None:
    rng = np.random.default_rng(0)
    many = tuple(f"t{row}" for row in np.flatnonzero(rng.random(40_000) < 0.5))
    app = page(view_of(40_000), wanted=MapState("one", "t1", many))
    assert not app.session_state["fits"]
    assert found(app).picked == many
    assert address(app) == {"map": ["one"], "open": ["t1"]}
    app.run()
    assert found(app).picked == many
    placed = [f"new{number}" for number in range(31)]
    few = page(view_of(3, placed=placed), wanted=MapState("one", "", tuple(placed)))
    assert not few.session_state["fits"]


def test_a_lasso_around_thousands_fits() -> None:
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(50_000) < 0.06)
    assert len(rows) > 2_500
    assert len(pack(rows.tolist())) <= LONGEST
    assert unpack(pack(rows.tolist()), 50_000) == rows.tolist()
    assert len(pack(range(50_000))) < 500
