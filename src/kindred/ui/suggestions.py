"""Somewhere to begin: a few tracks of the library, the same ones until it changes."""

from __future__ import annotations

import streamlit as st

from kindred.services import Services
from kindred.ui import frame, selection
from kindred.ui.cards import CardItem, cards
from kindred.ui.selection import Selection
from kindred.ui.server import is_served
from kindred.ui.tracks import LibraryView, cards_of


def start_anywhere(services: Services, view: LibraryView, *, key: str) -> list[CardItem]:
    """Draw six tracks to start from and return them; "more like this" goes to Similar."""
    few = view.frame.sample(
        min(6, len(view.frame)), random_state=services.storage.version() % 2**32
    )
    items = cards_of(services, services.storage.get_tracks(list(few.index)))
    event = cards(items, key=key, served=is_served(), actions=("more",))
    if event is not None and event.action == "play":
        frame.order(next(item for item in items if item.track_id == event.track_id))
    elif event is not None:
        selection.write(Selection(plus=(event.track_id,)))
        st.switch_page("pages/similar.py", query_params={"track": event.track_id})
    return items
