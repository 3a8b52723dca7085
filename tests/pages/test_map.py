"""The Map page as the first thing run: nothing to lay out, a map, a link, a selection, two maps.

Bad states: an empty library, no vectors, one track, a track that is gone, a map that is not kept or
damaged, a library that has moved on, all of it changed, a link that is rubbish, a job that fails,
names that look like markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap
from kindred.services import Services, build
from kindred.services.maps import MapView
from kindred.storage.records import Embedding, Track
from kindred.ui import map_view as module
from kindred.ui import maps
from kindred.ui.map_state import pack
from kindred.ui.map_view import MapEvent, Points
from tests.browsing import ROOT
from tests.evaluation.worlds import unit
from tests.pages.running import fine, run_page, words

PCA = MapOptions(method="pca")
HOSTILE = "*Bad* [x](y) <b>"
pytestmark = pytest.mark.usefixtures("jobs_at_once")


@pytest.fixture
def services() -> Iterator[Services]:
    built = build()
    yield built
    built.close()


def put(services: Services, numbers: Sequence[int], *, version: str = "") -> None:
    """Tracks of two groups, with vectors of the descriptors and no audio."""
    space = services.encoder("descriptors").space
    made = []
    for number in numbers:
        rng = np.random.default_rng(number)
        vector = unit(np.eye(space.dims)[number % 2] + 0.05 * rng.standard_normal(space.dims))
        windows = unit(vector + 0.01 * rng.standard_normal((3, space.dims)))
        made.append(Embedding(f"t{number:02d}", f"h{number}{version}", vector, windows))
    services.storage.put_tracks(
        Track(
            item.track_id,
            item.content_hash,
            title=f"Piece {number}" if number else HOSTILE,
            composer=f"Composer {number % 2}",
        )
        for number, item in zip(numbers, made, strict=True)
    )
    services.storage.put_embeddings(space, made)


@pytest.fixture
def library(services: Services) -> Services:
    put(services, range(24))
    return services


def built(services: Services, options: MapOptions = PCA, **how: Any) -> LibraryMap:
    made = services.maps.build("descriptors", options, **how)
    assert made is not None
    return made


@pytest.fixture
def made(library: Services) -> LibraryMap:
    return built(library)


class Drawn:
    """What the page gives to the maps it draws; stands in for the hand on them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.event: MapEvent | None = None

    def __call__(self, points: Any, colouring: Any, **given: Any) -> MapEvent | None:
        self.calls.append({"points": points, "colouring": colouring, **given})
        if self.event is not None:
            event, self.event = self.event, None
            given["on_event"](event)
            st.rerun()
        return self.real(points, colouring, **given)

    real: Callable[..., MapEvent | None] = staticmethod(module.map_view)

    @property
    def last(self) -> dict[str, Any]:
        return self.calls[-1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    recorder = Drawn()
    monkeypatch.setattr(module, "map_view", recorder)
    return recorder


def page(**query: str | list[str]) -> AppTest:
    return run_page("map", **query)


def press(app: AppTest, label: str) -> AppTest:
    [button, *_] = [item for item in app.button if item.label == label]
    return button.click().run()


def labels(app: AppTest) -> list[str]:
    return [item.label for item in app.button]


def asked(app: AppTest, name: str) -> list[str]:
    """What the address says."""
    given = app.query_params.get(name, [])
    return [given] if isinstance(given, str) else given


# -- nothing to look at --------------------------------------------------------------------


def test_an_empty_library_says_what_to_do() -> None:
    app = fine(page())
    assert "The library is empty" in words(app)
    assert "Build the map" not in labels(app)


def test_tracks_without_vectors_are_said(services: Services) -> None:
    services.storage.put_tracks([Track("t00", title="Alone")])
    app = fine(page())
    assert "There is no map of 1 track yet" in words(app)
    assert "No track has vectors of descriptors yet" in words(app)


def test_a_button_builds_the_first_map(library: Services, drawn: Drawn) -> None:
    app = fine(page())
    assert "There is no map of 24 tracks yet" in words(app)
    assert drawn.calls == []
    app = fine(press(app, "Build the map"))
    [made] = library.maps.kept()
    assert made.options == MapOptions()
    assert drawn.last["points"].ids == made.track_ids
    assert asked(app, "map") == [made.map_id]


def test_the_form_builds_what_it_says(library: Services) -> None:
    app = fine(page())
    app = fine(app.segmented_control(key="map_method").set_value("tsne").run())
    [perplexity] = [item for item in app.slider if item.label == "Perplexity"]
    perplexity.set_value(7)
    [seed] = [item for item in app.number_input if item.label == "Seed"]
    seed.set_value(3)
    fine(press(app, "Build"))
    [made] = library.maps.kept()
    assert made.options == MapOptions(method="tsne", perplexity=7.0, seed=3)


def test_a_job_that_fails_says_so_in_words(
    library: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kindred.errors import QueryError
    from kindred.services.maps import Maps

    def fail(*args: Any, **kwargs: Any) -> None:
        raise QueryError("The moon is in the way.")

    monkeypatch.setattr(Maps, "build", fail)
    app = press(page(), "Build the map")
    assert not app.exception
    said = words(app) + "\n".join(item.value for item in app.error)
    assert "The moon is in the way" in said
    assert "Build the map" in labels(app)


# -- a map ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_libraries_of_one_and_two_tracks(services: Services, drawn: Drawn, count: int) -> None:
    put(services, range(count))
    made = built(services)
    app = fine(page(map=made.map_id, open="t00"))
    assert "too few tracks to measure how far to believe it" in words(app)
    assert f"over {count} track{'s' if count > 1 else ''}" in words(app)
    assert "nearest neighbours are near" not in words(app)
    assert drawn.last["opened"] == "t00"
    assert [line[0] for line in drawn.last["lines"]] == ["t01"][: count - 1]


def test_a_map_says_how_far_to_believe_it(made: LibraryMap, drawn: Drawn) -> None:
    app = fine(page())
    said = words(app)
    trust = made.trust
    assert trust.preservation is not None
    assert "descriptors · PCA, 2-D over 24 tracks" in said
    assert "neighbours by exact search" in said
    assert (
        f"trustworthiness {trust.trustworthiness:.2f} · continuity {trust.continuity:.2f}" in said
    )
    assert f"{10 * trust.preservation:.1f} of 10 neighbours kept" in said
    assert "**Click** a point" in said
    assert drawn.last["points"].positions.tobytes() == made.positions.tobytes()
    assert drawn.last["points"].titles[0] == HOSTILE
    assert drawn.last["colouring"].title == "Composer"
    assert [region[2] for region in drawn.last["regions"]] == [
        region.label for region in made.regions if region.label
    ]
    assert asked(app, "map") == [made.map_id]
    assert asked(app, "open") == []


@pytest.mark.usefixtures("made")
def test_a_deep_link_may_draw_the_page_without_app_py() -> None:
    app = AppTest.from_file(str(ROOT / "pages" / "map.py"), default_timeout=60).run()
    assert "over 24 tracks" in words(fine(app))


def test_a_link_opens_a_track(library: Services, made: LibraryMap, drawn: Drawn) -> None:
    app = fine(page(map=made.map_id, open="t00"))
    near, _ = library.maps.nearest(library.maps.view(made), "t00")
    kept = sum(item.on_map for item in near)
    said = words(app)
    assert f"{kept} of this track's 10 nearest neighbours are near it on the map" in said
    assert HOSTILE in app.subheader[0].value.replace("\\", "")
    assert "*Bad*" not in app.subheader[0].value
    assert drawn.last["opened"] == "t00"
    assert [line[0] for line in drawn.last["lines"]] == [item.track_id for item in near]
    assert drawn.last["path"] is None
    [toggle] = app.toggle
    app = fine(toggle.set_value(True).run())
    assert drawn.last["path"].shape == (3, 2)
    app = fine(press(app, "Close"))
    assert "**Click** a point" in words(app)
    assert asked(app, "open") == []


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    "query",
    [
        {"open": "gone"}, {"pick": "rubbish"}, {"pick": pack([99])}, {"also": ["gone", "<b>"]},
        {"open": "<script>", "pick": "\0"},
    ],
)  # fmt: skip
def test_links_to_nothing_show_the_map(query: dict[str, Any], drawn: Drawn) -> None:
    app = fine(page(**query))
    assert "**Click** a point" in words(app)
    assert drawn.last["selected"] == ()
    for name in query:
        assert asked(app, name) == []


def test_a_link_to_a_map_that_is_not_kept_is_said(made: LibraryMap, drawn: Drawn) -> None:
    app = fine(page(map="../library", pick=pack([1]), open="t02"))
    assert "This link names a map that is not kept here. Another one is shown" in words(app)
    assert asked(app, "map") == [made.map_id]
    assert drawn.last["selected"] == ()  # those rows were of the other map
    assert drawn.last["opened"] == "t02"
    assert "not kept" not in words(fine(app.run()))


@pytest.mark.usefixtures("library")
def test_a_link_to_a_map_where_there_is_none() -> None:
    app = fine(page(map="gone"))
    assert "This link names a map that is not kept here." in words(app)
    assert "Build the map" in labels(app)


def test_a_damaged_map_is_said_and_others_are_shown(
    library: Services, made: LibraryMap, home: Path, drawn: Drawn
) -> None:
    other = built(library, again=True)
    (home / "maps" / f"{made.map_id}.npz").write_bytes(b"PK damaged")
    app = fine(page())
    assert f"The map {made.map_id} cannot be read" in words(app)
    assert asked(app, "map") == [other.map_id]
    (home / "maps" / f"{other.map_id}.npz").write_bytes(b"")
    st.cache_resource.clear()
    app = fine(page())
    assert f"The map {other.map_id} cannot be read" in words(app)
    assert "Build the map" in labels(app)


def test_a_library_that_has_moved_on_is_said(
    library: Services, made: LibraryMap, drawn: Drawn
) -> None:
    put(library, [30])
    app = fine(page())
    assert "1 track came or changed since, put beside what sounds alike" in words(app)
    assert "Build the map anew" not in words(app)
    library.storage.delete_tracks(["t01", "t02"])
    app = fine(app.run())
    said = "\n".join(item.value for item in app.warning)
    assert "2 tracks left the library since" in said
    assert "Build the map anew" in said
    assert drawn.last["points"].ids == (*made.track_ids[:1], *made.track_ids[3:], "t30")
    put(library, [*range(1), *range(3, 24), 30], version="other")
    app = fine(app.run())
    assert "23 tracks without a place: all came or changed since" in words(app)
    assert drawn.last["points"].ids == ()


def test_damaged_vectors_are_said(library: Services) -> None:
    import sqlite3

    database = Path(library.storage.place) / "library.db"
    with sqlite3.connect(database) as connection:
        size = 4 * library.encoder("descriptors").space.dims
        connection.execute(
            "UPDATE embeddings SET vector = ? WHERE track_id = 't03'", (b"\xff" * size,)
        )
    connection.close()
    built(library)
    app = fine(page())
    assert "1 track without a place: damaged vectors" in words(app)
    assert "over 23 tracks" in words(app)


def test_tracks_that_come_while_the_page_draws_are_on_the_next(
    library: Services, made: LibraryMap, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = maps.points_of

    def late(services: Services, view: MapView) -> Points:
        points = whole(services, view)
        put(library, [30])
        return points

    monkeypatch.setattr(maps, "points_of", late)
    app = fine(page())
    assert len(drawn.last["points"].ids) == len(drawn.last["colouring"]) == 24
    fine(app.run())
    assert len(drawn.last["points"].ids) == len(drawn.last["colouring"]) == 25


def test_every_colour_draws(library: Services, made: LibraryMap, drawn: Drawn) -> None:
    library.storage.put_tracks([Track("elsewhere", extra={"my_mood": "odd", "imported": "title"})])
    app = fine(page())
    box = app.selectbox(key="map_colour")
    assert len(box.options) == 13
    assert box.options[-1] == "Colour: My mood"
    assert asked(app, "colour") == []
    for by in ("cluster", "key", "year", "tempo", "loudness", "duration", "trust", "my_mood"):
        app = fine(app.selectbox(key="map_colour").set_value(by).run())
        assert len(drawn.last["colouring"]) == 24
        assert asked(app, "colour") == [by]
    app = fine(page(colour="tempo"))
    assert drawn.last["colouring"].title == "Tempo"
    app.query_params["colour"] = "year"  # the way back in the browser
    fine(app.run())
    assert drawn.last["colouring"].title == "Year"
    app = fine(page(colour="<b>"))
    assert drawn.last["colouring"].title == "Composer"
    assert asked(app, "colour") == []


def test_a_track_is_flown_to(made: LibraryMap, drawn: Drawn) -> None:
    app = fine(page())
    app = fine(app.selectbox(key="map_search").set_value("t07").run())
    assert drawn.last["focus"] == ("t07", 1)
    assert drawn.last["opened"] == "t07"
    assert asked(app, "open") == ["t07"]
    assert "of this track's" in words(app)


def test_maps_are_chosen_and_deleted(library: Services, made: LibraryMap, drawn: Drawn) -> None:
    newer = built(library, MapOptions(method="umap", neighbours=5))
    app = fine(page(open="t03"))
    [box] = [item for item in app.selectbox if item.label == "Map"]
    assert "descriptors · UMAP · neighbours 5" in box.options[0]
    assert asked(app, "map") == [newer.map_id]
    app = fine(box.set_value(made.map_id).run())
    assert asked(app, "map") == [made.map_id]
    assert drawn.last["points"].positions.tobytes() == made.positions.tobytes()
    assert drawn.last["opened"] == "t03"
    app = fine(app.run())
    assert asked(app, "map") == [made.map_id]
    app.query_params["map"] = newer.map_id  # the way back in the browser
    app = fine(app.run())
    assert drawn.last["points"].positions.tobytes() == newer.positions.tobytes()
    app = fine(press(app, "Delete this map"))
    assert [item.map_id for item in library.maps.kept()] == [made.map_id]
    assert asked(app, "map") == [made.map_id]
    assert "not kept" not in words(app)
    app = fine(press(app, "Delete this map"))
    assert "There is no map of 24 tracks yet" in words(app)
    assert "not kept" not in words(app)


def test_a_map_of_three_dimensions(library: Services, drawn: Drawn) -> None:
    made = built(library, replace(PCA, dims=3))
    app = fine(page(map=made.map_id, open="t01"))
    assert "PCA, 3-D over 24 tracks" in words(app)
    assert "of this track's 10 nearest" in words(app)
    assert len(app.get("plotly_chart")) == 1
    assert drawn.calls == []
    assert {item.label[:3] for item in app.get("download_button")} == {"CSV", "PAR"}
    assert not app.toggle  # there is no way through time to draw
    fine(app.selectbox(key="map_colour").set_value("trust").run())


# -- what a hand does on it ----------------------------------------------------------------


def do(app: AppTest, drawn: Drawn, event: MapEvent) -> AppTest:
    drawn.event = event
    return fine(app.run())


@pytest.mark.usefixtures("made")
def test_a_track_is_opened_a_set_is_selected_and_cleared(drawn: Drawn) -> None:
    app = do(page(), drawn, MapEvent("opened", track_id="t05"))
    assert app.subheader[0].value == "Piece 5"
    assert asked(app, "open") == ["t05"]
    app = do(app, drawn, MapEvent("selected", ids=("t01", "t02", "t05")))
    assert app.subheader[0].value == "3 selected"
    assert asked(app, "pick") == [pack([1, 2, 5])]
    app = fine(app.segmented_control(key="map_panel").set_value("track").run())
    assert app.subheader[0].value == "Piece 5"
    assert drawn.last["selected"] == ("t01", "t02", "t05")
    app = fine(app.segmented_control(key="map_panel").set_value("picked").run())
    assert app.subheader[0].value == "3 selected"
    app = fine(app.selectbox(key="map_search").set_value("t07").run())
    assert app.subheader[0].value == "Piece 7"
    app = do(app, drawn, MapEvent("cleared"))
    assert app.subheader[0].value == "Piece 7"
    assert (asked(app, "open"), asked(app, "pick")) == (["t07"], [])


def test_a_link_selects_and_the_selection_is_tagged(
    library: Services, made: LibraryMap, drawn: Drawn
) -> None:
    put(library, [40])
    app = fine(page(map=made.map_id, pick=pack([1, 4]), also=["t40"]))
    assert app.subheader[0].value == "3 selected"
    assert drawn.last["selected"] == ("t01", "t04", "t40")
    app = fine(app.text_input(key="map_tag").set_value(" rainy   evening ").run())
    app = fine(press(app, "Give"))
    chosen = ["t01", "t04", "t40"]
    tags = [track.extra.get("tags") for track in library.storage.get_tracks(chosen)]
    assert tags == ["rainy evening"] * 3
    assert "3 tracks got the tag" in app.toast[0].value
    assert "tags" in library.storage.get_tracks(["t04"])[0].extra
    assert "tags" not in library.storage.get_tracks(["t02"])[0].extra
    app = fine(app.run())
    app = fine(app.selectbox(key="map_colour").set_value("tags").run())
    assert list(drawn.last["colouring"].names) == ["rainy evening"]
    fine(press(app, "Take away"))
    assert "tags" not in library.storage.get_tracks(["t04"])[0].extra


def test_a_tag_that_cannot_be_given_is_said(library: Services, made: LibraryMap) -> None:
    app = fine(page(map=made.map_id, pick=pack([1])))
    app = fine(app.text_input(key="map_tag").set_value("a; b").run())
    app = press(app, "Give")
    assert not app.exception
    assert "without a semicolon" in app.error[0].value


def test_a_selection_is_played_exported_and_cleared(
    library: Services, made: LibraryMap, drawn: Drawn
) -> None:
    app = fine(page(map=made.map_id, pick=pack(range(24))))
    files = {item.label for item in app.get("download_button")}
    assert files >= {"kindred-map.m3u8", "kindred-map.csv", "kindred-map.jspf"}
    assert files >= {"PNG, a picture of pixels", "HTML, a page that opens offline"}
    app = fine(press(app, "Play in order"))
    first = library.maps.walk(library.maps.view(made), made.track_ids)[0]
    assert app.session_state["kindred_order"][0].track_id == first
    app = fine(press(app, "Clear"))
    assert "**Click** a point" in words(app)
    assert asked(app, "pick") == []


def test_a_selection_goes_to_similar(library: Services, made: LibraryMap) -> None:
    app = fine(press(page(map=made.map_id, pick=pack(range(22))), "Send to Similar"))
    chosen = app.multiselect(key="similar_plus").value
    view = library.maps.view(made)
    assert chosen == library.maps.middle(view, view.track_ids[:22], 20)


def test_an_open_track_goes_to_similar(made: LibraryMap) -> None:
    app = fine(press(page(map=made.map_id, open="t03"), "Open in Similar"))
    assert app.multiselect(key="similar_plus").value == ["t03"]


def test_two_maps_side_by_side(library: Services, made: LibraryMap, drawn: Drawn) -> None:
    app = fine(page())
    assert "Compare with another map" not in [item.label for item in app.expander]
    other = built(library, MapOptions(method="tsne", perplexity=5.0))
    put(library, [30])
    library.storage.delete_tracks(["t02"])
    app = fine(page(map=made.map_id, open="t05", pick=pack([1, 3]), also=["t30"]))
    assert "Compare with another map" in [item.label for item in app.expander]
    app = fine(app.selectbox(key="map_other").set_value(other.map_id).run())
    _, left, right = drawn.calls[-3:]
    assert (left["key"], right["key"]) == ("map_left", "map_right")
    assert left["points"].positions[0].tobytes() == made.positions[0].tobytes()
    assert right["points"].positions[0].tobytes() == other.positions[0].tobytes()
    for side in (left, right):
        assert side["opened"] == "t05"
        assert side["selected"] == ("t01", "t03", "t30")
        assert "t02" not in side["points"].ids
        assert "t30" in side["points"].ids
    assert "t-SNE, perplexity 5" in words(app)
    library.maps.delete(other.map_id)
    app = fine(app.run())
    assert "not kept" not in words(app)
