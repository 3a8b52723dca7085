"""Map: the library laid out in a plane, to walk through, hear, and be told how far to believe."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import streamlit as st

from kindred.maps.record import LibraryMap
from kindred.services import Services
from kindred.services.maps import COLOURS, NEAR, MapView
from kindred.ui import frame, map_state
from kindred.ui.jobs import show_jobs
from kindred.ui.map_making import build_form, nothing_yet, offer_files, short_title, tracks
from kindred.ui.map_panel import TRUST_HELP, panel
from kindred.ui.map_state import MapState
from kindred.ui.map_view import MapEvent, map_view
from kindred.ui.maps import (
    colouring_of,
    in_three_dimensions,
    points_of,
    regions_of,
    tags_to_colour_by,
)
from kindred.ui.server import is_served
from kindred.ui.tracks import cards_of, library_view


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


def just_built(services: Services, kept: Sequence[LibraryMap]) -> bool:
    """Whether a job has ended since the last look, whose map is to be looked at now."""
    [job] = services.jobs.recent(kind="map", limit=1) or [None]
    ended = job.job_id if job is not None and job.state == "done" else ""
    before = st.session_state.get("map_job")
    st.session_state["map_job"] = ended
    made = job.result.get("map_id") if job is not None else None
    if before is None or ended in ("", before) or made not in {item.map_id for item in kept}:
        return False
    st.session_state["map_choice"] = made
    return True


def changed(view: MapView) -> None:
    """Say how the library has moved on since the map was made."""
    parts = []
    if view.placed:
        parts.append(f"{tracks(view.placed)} came or changed since, put beside what sounds alike")
    if view.gone:
        parts.append(f"{tracks(view.gone)} left the library since")
    if view.left_out:
        why = "damaged vectors" if view.track_ids else "all came or changed since"
        parts.append(f"{tracks(view.left_out)} without a place: {why}")
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
    parts = [f"{made.title} over {tracks(len(made.track_ids))}"]
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


def fly(view: MapView, labels: dict[str, str]) -> None:
    """Let a track be looked for by name; the map flies there."""
    on_map = set(view.track_ids)

    def went() -> None:
        if track_id := st.session_state["map_search"]:
            map_state.visit(view, track_id)
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


def choose_colour(services: Services, view: MapView) -> MapState:
    """What points are coloured by; return all that is chosen."""
    tags = {name: name.replace("_", " ").capitalize() for name in tags_to_colour_by(services)}
    colours = tags | COLOURS
    state = map_state.read(view)
    if state.colour not in colours:
        state = replace(state, colour=map_state.USUAL)
    st.session_state["map_colour"] = state.colour

    def chosen() -> None:
        map_state.write(replace(map_state.read(view), colour=st.session_state["map_colour"]))

    st.selectbox(
        "Colour",
        [*COLOURS, *(name for name in tags if name not in COLOURS)],
        format_func=lambda name: f"Colour: {colours[name]}",
        key="map_colour",
        on_change=chosen,
        label_visibility="collapsed",
    )
    return state


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
            map_state.write(replace(state, picked=()))

    return act


def draw(
    services: Services,
    view: MapView,
    state: MapState,
    *,
    key: str,
    focus: tuple[str, int] | None,
    lines: Sequence[tuple[str, float]] = (),
    path: np.ndarray | None = None,
    height: int = 640,
) -> None:
    """One map."""
    points, colouring = points_of(services, view), colouring_of(services, view, state.colour)
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
        regions=regions_of(view),
        focus=focus,
        height=height,
        label=f"Map: {view.map.title}",
        on_event=done_on(view),
    )


def compare(services: Services, kept: Sequence[LibraryMap], view: MapView, state: MapState) -> None:
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
            draw(services, one, state, key=key, focus=None, height=480)
            st.caption(trust_line(one))


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Map", "The library as a place: what the model hears as alike lies close."
    )
    if not services.storage.count_tracks():
        frame.end_empty()
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
    if just_built(services, kept):
        st.query_params.clear()  # it named the map that was looked at until now
        named = ""
    if not kept:
        nothing_yet(services)
        frame.end()
        return
    bar = st.columns([3.2, 2.7, 2.2, 2.9], vertical_alignment="bottom")
    with bar[0]:
        made = choose_map(kept, named)
    view = services.maps.view(made)
    labels = library_view(services).labels
    with bar[1]:
        fly(view, labels)
    with bar[2]:
        state = choose_colour(services, view)
    with bar[3], st.container(horizontal=True, horizontal_alignment="right"):
        with st.popover("New", icon=":material/add:"):
            build_form(services)
        with st.popover("This map", icon=":material/download:"):
            offer_files(services, view, state.colour)
            if st.button("Delete this map", icon=":material/delete:"):
                services.maps.delete(made.map_id)
                st.query_params.clear()  # the address named it
                st.rerun()
    changed(view)
    left, right = st.columns([2.6, 1], gap="medium")
    with right:
        queue, lines, path = panel(services, view, state)
    with left:
        draw(services, view, state, key="map", focus=map_state.focus(), lines=lines, path=path)
        st.caption(trust_line(view), help=TRUST_HELP)
    if not map_state.publish(view, state):
        st.caption("The selection is too large for the address: a link to this page leaves it out.")
    compare(services, kept, view, state)
    tapped = st.session_state.pop("map_tapped", None)
    if tapped and not is_served() and queue and queue[0].track_id == tapped:
        frame.order(queue[0])  # the browser could not play it by itself
    frame.end(queue or cards_of(services, services.storage.get_tracks(view.track_ids[:NEAR])))


page()
