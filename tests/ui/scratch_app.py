"""A small app with the player and the cards, for the tests in this folder only."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import streamlit as st

from kindred.ui.cards import CardItem, cards
from kindred.ui.player import player
from tests.ui.scratch_audio import items

FOLDER = Path(os.environ["KINDRED_SCRATCH"])
SERVED = os.environ.get("KINDRED_SCRATCH_SERVED", "1") == "1"

st.set_page_config(page_title="Kindred scratch", layout="wide")


def _all() -> list[CardItem]:
    return items(folder=FOLDER, url=lambda track_id: f"/audio/{track_id}")


def results() -> None:
    made = _all()
    counts: Counter[str] = st.session_state.setdefault("counts", Counter())
    st.header("What sounds like this?")
    query = replace(made[8], track_id="s09", similarity=None, reasons=None, rank=None)
    cards([query], key="query", served=SERVED, actions=("remove",), kind="query")
    st.subheader("Nearest in sound")
    event = cards(
        made,
        key="results",
        served=SERVED,
        selected=st.session_state.get("pressed", {}),
        label="Nearest tracks",
    )
    if event is not None:
        counts[f"{event.action} {event.track_id}"] += 1
        if event.action in {"more", "less"}:
            st.session_state["pressed"] = {event.track_id: event.action}
            st.rerun()
    st.button("Rerun")
    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    st.text(f"Run {st.session_state['runs']}.")
    st.text("Events: " + ", ".join(f"{name} x{n}" for name, n in sorted(counts.items())))
    st.text_input("Words")
    track = None
    if not SERVED and event is not None and event.action == "play":
        track = next(one for one in made if one.track_id == event.track_id).to_player_track()
    player(served=SERVED, track=track, autoplay=True)


def trouble() -> None:
    st.header("Trouble")
    one = _all()[0]
    cards(
        [
            replace(one, track_id="gone", title="Gone", url="/audio/gone", rank=1),
            replace(one, track_id="damaged", title="Damaged", url="/audio/damaged", rank=2),
            replace(one, track_id="s02", title="Sound", url="/audio/s02", rank=3),
        ],
        key="trouble",
        served=SERVED,
        actions=("remove",),
    )
    player(served=SERVED)


def ordered() -> None:
    st.header("Ordered from Python")
    request = st.session_state.setdefault("request", 0)
    if st.button("Again"):
        st.session_state["request"] = request = request + 1
    queue = [one.to_player_track() for one in _all()[:3]]
    player(served=SERVED, track=queue[1], autoplay=True, queue=queue, request=request)


def many() -> None:
    made = _all()
    st.header("A hundred")
    hundred = [replace(made[i % 11], track_id=f"s{i:03d}", rank=i + 1) for i in range(100)]
    cards(hundred, key="many", served=SERVED)
    player(served=SERVED)


st.navigation(
    [
        st.Page(results, title="Results", url_path="results", default=True),
        st.Page(trouble, title="Trouble", url_path="trouble"),
        st.Page(ordered, title="Ordered", url_path="ordered"),
        st.Page(many, title="Many", url_path="many"),
    ]
).run()
