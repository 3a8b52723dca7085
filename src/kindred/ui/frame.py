"""What surrounds every page: its title, which model answers, and the one player.

A page calls :func:`begin` first and :func:`end` last. Nothing a page needs is in app.py, because a
deep link may run a page alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from kindred.errors import KindredError
from kindred.services import ActiveEncoder, Services
from kindred.ui.cards import CardItem
from kindred.ui.context import services as get_services
from kindred.ui.jobs import job_button
from kindred.ui.player import player
from kindred.ui.roles import demand_membership, demand_sign_in
from kindred.ui.server import is_served

#: Ours, because Streamlit fetches its own icons for the browser's tab from outside.
_ICON = str(Path(__file__).parent / "static" / "icon.png")


def begin(title: str, caption: str, *, mends: bool = False) -> Services:
    """Draw a page's head and return the services; stop the page when the library cannot open.

    A page that ``mends`` what is wrong with the library goes on.
    """
    name = title if title == "Kindred" else f"{title} · Kindred"
    st.set_page_config(page_title=name, page_icon=_ICON, layout="wide")
    demand_sign_in()
    services: Services | None = None
    try:
        services = get_services()
        demand_membership(services.settings)
        active = services.active_encoder()
    except KindredError as error:
        st.title(title)
        st.error(str(error), icon=":material/error:")
        if services is not None and mends:
            return services
        if services is not None:
            st.page_link("pages/storage.py", label="Go to Storage", icon=":material/database:")
        st.stop()
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.title(title, width="content")
        _model(services, active)
    st.caption(caption)
    if active.replaces:
        st.warning(f"{active.title} is used {active.reason}. {active.notice}")
    if notice := services.storage.status().notice:
        st.warning(notice, icon=":material/cloud_off:")
    return services


def _model(services: Services, active: ActiveEncoder) -> None:
    """Which model answers, why, and how to get the other one."""
    with st.popover(f"Model: {active.title}", icon=":material/neurology:", type="tertiary"):
        st.markdown(f"**{active.title}** makes the vectors: {active.reason}.")
        st.caption(f"Storage: {services.storage.name}, in {services.storage.place}")
        if active.notice:
            st.info(active.notice, icon=":material/download:")
            if active.command:
                st.code(active.command, language="bash")
            if active.fetch:
                job_button(
                    services,
                    "fetch-model",
                    {"name": active.fetch},
                    label=f"Fetch {active.fetch.upper()} now",
                    then="pages/models.py",
                )


def order(track: CardItem) -> None:
    """Have the player start a track; from Python, where a table was clicked, not a card."""
    state = st.session_state
    state["kindred_order"] = (track, state.get("kindred_order", (None, 0))[1] + 1)


def end_empty() -> None:
    """End a page that has nothing to show before there is music."""
    st.info("The library is empty. Bring some music in first.", icon=":material/library_music:")
    st.page_link("pages/library.py", label="Go to the library", icon=":material/arrow_forward:")
    end()


def end(queue: Sequence[CardItem] = ()) -> None:
    """Draw the player; ``queue`` is what "next" goes through."""
    track, request = st.session_state.get("kindred_order", (None, 0))
    player(
        served=is_served(),
        track=track.to_player_track() if track else None,
        autoplay=track is not None,
        queue=[item.to_player_track() for item in queue],
        request=request,
    )
