"""What stands beside the map: the open track with its true neighbours, or what was selected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from kindred.errors import KindredError
from kindred.services import Services
from kindred.services.maps import MapView
from kindred.ui import frame, map_state, selection
from kindred.ui.cards import CardEvent, CardItem, cards
from kindred.ui.evaluation.words import plain_text
from kindred.ui.exports import offer_playlists
from kindred.ui.map_state import MapState
from kindred.ui.maps import path_of
from kindred.ui.selection import Selection
from kindred.ui.server import is_served
from kindred.ui.tracks import cards_of

#: Tracks of a selection that are played, or sent to Similar, at once.
LONGEST_QUEUE, MOST_EXAMPLES = 200, 20
TRUST_HELP = (
    "Trustworthiness falls when the map puts together what the model holds apart, continuity when"
    " it tears apart what belongs together; 1 is perfect, about 0.5 a shuffled map. The last number"
    " is strict: of a track's ten nearest neighbours by the model, how many are among its ten"
    " nearest on the map. Distances between far groups mean little on UMAP and t-SNE."
)

#: Cards, lines (track, similarity) and path for the map.
Beside = tuple[list[CardItem], list[tuple[str, float]], NDArray[np.float32] | None]


def about_track(services: Services, view: MapView, state: MapState) -> Beside:
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
    tells = len(view.track_ids) > len(near) + 1  # else everybody is everybody's neighbour
    if tells and near:
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
        path = path_of(services, view, state.opened)
        if len(path) < 2:
            st.caption("It has a single window: there is no way to draw.")
    neighbours = [
        replace(
            by_id[item.track_id],
            similarity=item.similarity,
            rank=rank,
            note=("near on the map" if item.on_map else "far on the map") if tells else "",
        )
        for rank, item in enumerate(near, 1)
        if item.track_id in by_id
    ]

    def pressed(event: CardEvent) -> None:
        if event.action == "more":
            map_state.visit(view, event.track_id)
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
    if not queue:
        st.info("These tracks have just left the library.")
        return []
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
            offer_playlists(
                lambda: services.storage.get_tracks(ordered),
                stem="kindred-map",
                title="Kindred: map",
            )
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


def panel(services: Services, view: MapView, state: MapState) -> Beside:
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
            "**Drag** to turn, **scroll** to zoom. Fly to a track to open it; to click and select,"
            " build a map of two dimensions."
        )
    else:
        st.markdown(
            "**Click** a point to hear it and see its true neighbours. **Drag** to move, **scroll**"
            " to zoom. Draw with **shift** held, or with the lasso tool, to select many."
        )
    st.caption(TRUST_HELP)
    return [], [], None
