"""Map: the library laid out in a plane, to walk through, hear, and be told how far to believe."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import streamlit as st

from kindred.errors import KindredError
from kindred.library.playlists import to_csv, to_jspf, to_m3u8
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap
from kindred.services import Services
from kindred.services.maps import COLOURS, NEAR, MapView
from kindred.ui import frame, map_state, selection
from kindred.ui.cards import CardEvent, CardItem, cards
from kindred.ui.evaluation.words import plain_text
from kindred.ui.jobs import show_jobs, start
from kindred.ui.map_state import MapState
from kindred.ui.map_view import MapEvent, map_view
from kindred.ui.maps import colouring_of, in_three_dimensions, points_of, tags_to_colour_by
from kindred.ui.selection import Selection
from kindred.ui.server import is_served
from kindred.ui.tracks import cards_of, library_view

#: Tracks of a selection that are played, or sent to Similar, at once.
LONGEST_QUEUE, MOST_EXAMPLES = 200, 20
METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}


# -- building ------------------------------------------------------------------------------
def build_form(services: Services) -> None:
    """Choose how a map is made, and start the job."""
    encoders = services.embedded_encoders()
    active = services.active_encoder().name
    if not encoders:
        st.info(f"No track has vectors of {active} yet.", icon=":material/hourglass_empty:")
        return
    default = encoders.index(active) if active in encoders else 0
    encoder = st.selectbox("Model", encoders, index=default, key="map_encoder")
    method = st.segmented_control(
        "Method",
        list(METHODS),
        format_func=METHODS.__getitem__,
        default="umap",
        required=True,
        key="map_method",
        help="UMAP keeps neighbours together and shows groups. t-SNE keeps the nearest ones a"
        " little better. PCA is a plain projection: it distorts least and shows least.",
    )
    given: dict[str, object] = {"method": method}
    if method == "umap":
        given["neighbours"] = st.slider("Neighbours", 2, 100, 15, help="Fewer: finer groups.")
        given["min_dist"] = st.slider("Least distance", 0.0, 0.99, 0.1, 0.05, help="Less: denser.")
    elif method == "tsne":
        given["perplexity"] = float(st.slider("Perplexity", 5, 100, 30, help="Less: finer groups."))
    if method != "pca":
        given["metric"] = st.selectbox("Distance", ["cosine", "euclidean"])
    given["dims"] = st.segmented_control("Dimensions", [2, 3], default=2, required=True)
    given["seed"] = int(
        st.number_input("Seed", 0, 1_000_000, 0, help="The same seed, the same map.")
    )
    again = st.checkbox("Even if there is this very map already")
    if st.button("Build", type="primary", icon=":material/map:"):
        options = MapOptions.from_dict(given)
        start(
            services,
            "map",
            {"encoder": encoder, "options": options.to_dict(), "again": again},
        )


def nothing_yet(services: Services) -> None:
    """There is no map: say what one is and offer to build it."""
    count = services.storage.count_tracks()
    st.info(
        f"There is no map of these {count:,} tracks yet. A map puts tracks that the model hears as"
        " alike next to each other; you walk through it and hear every place.",
        icon=":material/map:",
    )
    if st.button("Build the map", type="primary", icon=":material/map:"):
        encoder = services.active_encoder().name
        start(services, "map", {"encoder": encoder, "options": MapOptions().to_dict()})
    with st.expander("Choose how it is made"):
        build_form(services)


def short_title(made: LibraryMap) -> str:
    """What a map is called in a list: model, method, parameters that are not the usual, time."""
    used, usual = made.options.used, MapOptions(method=made.options.method).used
    unusual = [
        f"{name.replace('_', ' ')} {value}" for name, value in used.items() if value != usual[name]
    ]
    when = made.created_at[:16].replace("T", " ")
    return " · ".join([made.space.model, METHODS[made.options.method], *unusual, when])


def choose_map(kept: Sequence[LibraryMap], named: str) -> LibraryMap:
    """Which of the maps is looked at."""
    titles = {made.map_id: short_title(made) for made in kept}
    ids = list(titles)
    wanted = named if named in titles else st.session_state.get("map_choice")
    chosen = st.selectbox(
        "Map",
        ids,
        index=ids.index(wanted) if wanted in titles else 0,
        format_func=titles.__getitem__,
        label_visibility="collapsed",
    )
    st.session_state["map_choice"] = chosen
    return next(made for made in kept if made.map_id == chosen)


# -- the map -------------------------------------------------------------------------------
def changed(view: MapView) -> None:
    """Say how the library has moved on since the map was made."""
    parts = []
    if view.placed:
        parts.append(f"{view.placed:,} tracks came or changed since and lie near their neighbours")
    if view.gone:
        parts.append(f"{view.gone:,} tracks of it are not in the library any more")
    if view.left_out:
        why = "their vectors are damaged" if view.track_ids else "all came or changed since"
        parts.append(f"{view.left_out:,} tracks have no place: {why}")
    if not parts:
        return
    said = f"{'; '.join(parts)}."
    if view.is_stale:
        st.warning(f"{said} Build the map anew to be shown the library as it is.")
    else:
        st.caption(f":material/update: {said}")


def trust_line(view: MapView) -> str:
    """Which model, method and index made the map, and how far it can be believed."""
    made, trust = view.map, view.map.trust
    seconds = sum(made.facts.get("seconds", {}).values())
    parts = [f"{made.title} over {len(view.track_ids):,} tracks"]
    parts.append(f"neighbours by {made.facts.get('index', '?')} search · {seconds:.0f} s")
    if trust.trustworthiness is None or trust.preservation is None or trust.continuity is None:
        parts.append("too few tracks to measure how far to believe it")
    else:
        parts.append(
            f"**trustworthiness {trust.trustworthiness:.2f} · continuity {trust.continuity:.2f} ·"
            f" {trust.k * trust.preservation:.1f} of {trust.k} neighbours kept**"
        )
        if trust.sampled < trust.tracks:
            parts.append(f"the first two from {trust.sampled:,} tracks drawn at random")
    return " · ".join(parts)


TRUST_HELP = (
    "Trustworthiness falls when the map puts together what the model holds apart, continuity when"
    " it tears apart what belongs together; 1 is perfect, about 0.5 a shuffled map. The last number"
    " is strict: of a track's ten nearest neighbours by the model, how many are among its ten"
    " nearest on the map. Distances between far groups mean little on UMAP and t-SNE."
)


def fly(view: MapView, labels: dict[str, str]) -> tuple[str, int] | None:
    """Let a track be looked for by name; the map flies there."""
    on_map = set(view.track_ids)

    def went() -> None:
        if track_id := st.session_state["map_search"]:
            state = map_state.read(view)
            map_state.write(replace(state, opened=track_id))
            count = st.session_state.get("map_focus", ("", 0))[1]
            st.session_state["map_focus"] = (track_id, count + 1)
        st.session_state["map_search"] = None

    st.selectbox(
        "Fly to",
        [track_id for track_id in labels if track_id in on_map],
        format_func=labels.__getitem__,
        index=None,
        key="map_search",
        on_change=went,
        placeholder="Fly to a track",
        label_visibility="collapsed",
    )
    focus: tuple[str, int] | None = st.session_state.get("map_focus")
    return focus


def done_on(view: MapView) -> Callable[[MapEvent], None]:
    """What to do when something was done on a map of these tracks."""

    def act(event: MapEvent) -> None:
        state = map_state.read(view)
        if event.action == "opened":
            map_state.write(replace(state, opened=event.track_id))
            st.session_state["map_tapped"] = event.track_id
            st.session_state["map_panel"] = "track"
        elif event.action == "selected":
            map_state.write(replace(state, picked=event.ids))
            st.session_state["map_panel"] = "picked"
        else:
            map_state.write(replace(state, picked=(), opened=""))

    return act


def draw(
    services: Services,
    view: MapView,
    state: MapState,
    *,
    by: str,
    key: str,
    focus: tuple[str, int] | None,
    lines: Sequence[tuple[str, float]] = (),
    path: np.ndarray | None = None,
    height: int = 640,
) -> None:
    """One map."""
    points, colouring = points_of(services, view), colouring_of(services, view, by)
    if view.positions.shape[1] == 3:
        st.plotly_chart(in_three_dimensions(points, view, colouring, state.opened), key=key)
        return
    map_view(
        points,
        colouring,
        key=key,
        served=is_served(),
        selected=state.picked,
        opened=state.opened or None,
        lines=lines,
        path=path,
        regions=[
            (item.x, item.y, item.label, item.size) for item in view.map.regions if item.label
        ],
        focus=focus,
        height=height,
        label=f"Map: {view.map.title}",
        on_event=done_on(view),
    )


# -- the panel -----------------------------------------------------------------------------
def about_track(
    services: Services, view: MapView, state: MapState
) -> tuple[list[CardItem], list[tuple[str, float]], np.ndarray | None]:
    """The open track with its true neighbours; returns cards, lines and path for the map."""
    near, index = services.maps.nearest(view, state.opened)
    tracks = services.storage.get_tracks([state.opened, *(item.track_id for item in near)])
    items = cards_of(services, tracks)
    by_id = {item.track_id: item for item in items}
    if state.opened not in by_id:
        st.info("This track has just left the library.")
        return [], [], None
    here = by_id[state.opened]
    st.subheader(plain_text(here.title) or "Untitled")
    named = " · ".join(part for part in (here.subtitle, here.album) if part)
    st.caption(plain_text(named) or "No tags")
    kept = sum(item.on_map for item in near)
    if near:
        st.markdown(
            f"**{kept} of this track's {len(near)} nearest neighbours are near it on the map.**"
            + (" Do not read much into its place." if kept <= len(near) // 5 else ""),
            help=f"By {view.map.space.model} vectors, {index} search over the whole library. Lines"
            " lead to them, wherever the map has put them.",
        )
    with st.container(horizontal=True):
        if st.button("Play", icon=":material/play_arrow:"):
            frame.order(here)
        if st.button("Open in Similar", icon=":material/graphic_eq:"):
            selection.write(Selection(plus=(state.opened,)))
            st.switch_page("pages/similar.py", query_params={"track": state.opened})
        if st.button("Close", icon=":material/close:"):
            map_state.write(replace(state, opened=""))
            st.rerun()
    path = None
    if view.positions.shape[1] == 2 and st.toggle(
        "Draw its way through time", help="Every window of the track, placed among the tracks."
    ):
        path = services.maps.path(view, state.opened)
        if len(path) < 2:
            st.caption("It has a single window: there is no way to draw.")
    neighbours = [
        replace(
            by_id[item.track_id],
            similarity=item.similarity,
            rank=rank,
            note="near on the map" if item.on_map else "far on the map",
        )
        for rank, item in enumerate(near, 1)
        if item.track_id in by_id
    ]

    def pressed(event: CardEvent) -> None:
        if event.action == "more":
            map_state.write(replace(map_state.read(view), opened=event.track_id))
            count = st.session_state.get("map_focus", ("", 0))[1]
            st.session_state["map_focus"] = (event.track_id, count + 1)
        else:
            frame.order(by_id[event.track_id])

    with st.container(height=430, border=False):
        cards(
            neighbours,
            key="map_neighbours",
            served=is_served(),
            actions=("more",),
            label="True nearest neighbours",
            on_event=pressed,
        )
    return [here, *neighbours], [(item.track_id, item.similarity) for item in near], path


def about_selection(services: Services, view: MapView, state: MapState) -> list[CardItem]:
    """What can be done with the tracks that were selected."""
    st.subheader(f"{len(state.picked):,} selected")
    ordered = services.maps.walk(view, state.picked)
    queue = cards_of(services, services.storage.get_tracks(ordered[:LONGEST_QUEUE]))
    with st.container(horizontal=True):
        if st.button(
            "Play in order",
            icon=":material/playlist_play:",
            type="primary",
            help=f"From place to nearest place, at most {LONGEST_QUEUE} tracks.",
        ):
            frame.order(queue[0])
        if st.button(
            "Send to Similar",
            icon=":material/graphic_eq:",
            help=f"What sounds like all of them together; the {MOST_EXAMPLES} nearest to their"
            " middle where there are more.",
        ):
            plus = services.maps.middle(view, state.picked, MOST_EXAMPLES)
            selection.write(Selection(plus=tuple(plus)))
            st.switch_page("pages/similar.py", query_params={"track": list(plus)})
        with st.popover("Export", icon=":material/download:"):
            tracks = services.storage.get_tracks(ordered)
            for name, mime, text in (
                ("kindred-map.m3u8", "audio/x-mpegurl", to_m3u8(tracks)),
                ("kindred-map.csv", "text/csv", to_csv(tracks)),
                ("kindred-map.jspf", "application/json", to_jspf(tracks, title="Kindred: map")),
            ):
                st.download_button(name, text.encode("utf-8"), name, mime, on_click="ignore")
        with st.popover("Tag", icon=":material/label:"):
            tag = st.text_input("Tag", placeholder="rainy evening", key="map_tag")
            give, take = st.columns(2)
            for button, remove in ((give, False), (take, True)):
                if button.button("Take away" if remove else "Give", disabled=not tag.strip()):
                    try:
                        count = services.catalogue.tag(state.picked, tag, remove=remove)
                    except KindredError as error:
                        st.error(str(error))
                    else:
                        verb = "lost" if remove else "got"
                        st.toast(f"{count:,} tracks {verb} the tag {plain_text(tag)}.")
        if st.button("Clear", icon=":material/close:"):
            map_state.write(replace(state, picked=()))
            st.rerun()
    with st.container(height=430, border=False):
        cards(
            queue[:50], key="map_selected", served=is_served(), actions=(), label="Selected tracks"
        )
    if len(queue) > 50:
        st.caption(f"The first 50 of {len(state.picked):,}.")
    return queue


def panel(
    services: Services, view: MapView, state: MapState
) -> tuple[list[CardItem], list[tuple[str, float]], np.ndarray | None]:
    """What stands beside the map."""
    try:
        if state.opened and state.picked:
            names = {"track": "Track", "picked": f"{len(state.picked):,} selected"}
            st.session_state.setdefault("map_panel", "track")
            section = st.segmented_control(
                "Show",
                list(names),
                format_func=names.__getitem__,
                key="map_panel",
                required=True,
                label_visibility="collapsed",
            )
            if section == "picked":
                return about_selection(services, view, state), [], None
        if state.opened:
            return about_track(services, view, state)
        if state.picked:
            return about_selection(services, view, state), [], None
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
        return [], [], None
    if view.positions.shape[1] == 3:
        st.markdown(
            "**Drag** to turn, **scroll** to zoom. Fly to a track to hear it; to click and select,"
            " build a map of two dimensions."
        )
    else:
        st.markdown(
            "**Click** a point to hear it and see its true neighbours. **Drag** to move, **scroll**"
            " to zoom. Draw with **shift** held, or with the lasso tool, to select many."
        )
    st.caption(TRUST_HELP)
    return [], [], None


# -- the page ------------------------------------------------------------------------------
def compare(
    services: Services, kept: Sequence[LibraryMap], view: MapView, state: MapState, by: str
) -> None:
    """Another map beside this one, with the same track open and the same set selected."""
    others = {
        made.map_id: short_title(made)
        for made in kept
        if made.map_id != view.map.map_id and made.positions.shape[1] == 2
    }
    if not others or view.positions.shape[1] != 2:
        return
    with st.expander("Compare with another map", expanded=bool(st.session_state.get("map_other"))):
        other = st.selectbox(
            "Beside it",
            list(others),
            format_func=others.__getitem__,
            index=None,
            key="map_other",
            placeholder="The same library by another model, method or seed",
        )
    if not other:
        return
    beside = services.maps.view(services.maps.get(other))
    left, right = st.columns(2)
    for column, one, key in ((left, view, "map_left"), (right, beside, "map_right")):
        with column:
            draw(services, one, state, by=by, key=key, focus=None, height=480)
            st.caption(trust_line(one))


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Map", "The library as a place: what the model hears as alike lies close."
    )
    if not services.storage.count_tracks():
        st.info("The library is empty. Bring some music in first.", icon=":material/library_music:")
        st.page_link("pages/library.py", label="Go to the library", icon=":material/arrow_forward:")
        frame.end()
        return
    for problem in services.maps.damaged():
        st.warning(problem, icon=":material/broken_image:")
    kept = services.maps.kept()
    named = map_state.named_map()
    if named and named not in {made.map_id for made in kept}:
        st.warning(
            "This link names a map that is not kept here. Another one is shown."
            if kept
            else "This link names a map that is not kept here.",
            icon=":material/link_off:",
        )
    show_jobs(services, "map", only_open=True)
    if not kept:
        nothing_yet(services)
        frame.end()
        return
    bar = st.columns([4, 3, 2, 1.2], vertical_alignment="bottom")
    with bar[0]:
        made = choose_map(kept, named)
    view = services.maps.view(made)
    labels = library_view(services).labels
    with bar[1]:
        focus = fly(view, labels)
    with bar[2]:
        tags = {name: name.replace("_", " ").capitalize() for name in tags_to_colour_by(services)}
        colours = COLOURS | {name: title for name, title in tags.items() if name not in COLOURS}
        by = st.selectbox(
            "Colour",
            list(colours),
            format_func=lambda name: f"Colour: {colours[name]}",
            key="map_colour",
            label_visibility="collapsed",
        )
    with bar[3], st.popover("New", icon=":material/add:"):
        build_form(services)
        if st.button("Delete this map", icon=":material/delete:"):
            services.maps.delete(made.map_id)
            st.query_params.clear()  # the address named it
            st.rerun()
    changed(view)
    state = map_state.read(view)
    left, right = st.columns([2.6, 1], gap="medium")
    with right:
        queue, lines, path = panel(services, view, state)
    with left:
        draw(services, view, state, by=by, key="map", focus=focus, lines=lines, path=path)
        st.caption(trust_line(view), help=TRUST_HELP)
    if not map_state.publish(view, state):
        st.caption("The selection is too large for the address: a link to this page leaves it out.")
    compare(services, kept, view, state, by)
    tapped = st.session_state.pop("map_tapped", None)
    if tapped and not is_served() and queue and queue[0].track_id == tapped:
        frame.order(queue[0])  # the browser could not play it by itself
    frame.end(queue or cards_of(services, services.storage.get_tracks(view.track_ids[:NEAR])))


page()
