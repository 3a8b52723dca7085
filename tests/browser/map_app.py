"""A small app with maps of made-up tracks, for the tests and the benchmark of the map only.

``/?n=50000&colour=genre&lines=1&path=1&regions=1&two=1&engine=plotly`` says what is drawn.
"""

from __future__ import annotations

import os

import numpy as np
import streamlit as st

from kindred.ui.map_view import Colouring, MapEvent, Points, map_view
from kindred.ui.player import PlayerTrack, player

SERVED = os.environ.get("KINDRED_SCRATCH_SERVED", "1") == "1"
GENRES = [
    "Baroque", "Renaissance", "Classical", "Romantic", "Impressionism", "Minimalism", "Ragtime",
    "Folk", "Jazz", "Serialism", "Choral", "Opera", "Film", "Ambient", "Dance",
]  # fmt: skip
WORDS = ["Prelude", "Fugue", "Sonata", "Air", "Gigue", "Chorale", "Nocturne", "Rag", "Motet"]
HOSTILE = "<img src=x onerror=alert(1)>"

st.set_page_config(page_title="Kindred map", layout="wide")


@st.cache_resource
def world(n: int, seed: int = 0) -> tuple[Points, dict[str, Colouring], list]:
    """Clusters of points, whose first has a title that tries to be markup."""
    rng = np.random.default_rng(seed)
    genre = rng.choice(len(GENRES), n, p=np.arange(len(GENRES), 0, -1) / 120)
    centres = np.random.default_rng(7 + seed).normal(0, 6, (len(GENRES), 2))
    spread = np.random.default_rng(9).uniform(0.7, 2.2, len(GENRES))
    places = centres[genre] + rng.normal(0, 1, (n, 2)) * spread[genre, None]
    ids = [f"{i:08x}-0000-4000-8000-{i * 2654435761 % 2**48:012x}" for i in range(n)]
    points = Points(
        ids,
        places.astype(np.float32),
        [f"{WORDS[i % 9]} No. {i} in {'CDEFGAB'[i % 7]} major" if i else HOSTILE for i in range(n)],
        [f"Composer {i % 250}" for i in range(n)],
    )
    known = rng.random(n) > 0.08
    tempo = np.where(known, 60 + 5 * genre + rng.normal(0, 12, n), np.nan)
    colours = {
        "genre": Colouring("Genre", np.where(known, genre, -1), GENRES),
        "tempo": Colouring("Tempo", values=tempo, unit="bpm"),
        "plain": Colouring.plain(n),
    }
    regions = [
        (*places[genre == g].mean(0), GENRES[g], float((genre == g).sum()))
        for g in range(len(GENRES))
        if (genre == g).any()
    ]
    return points, colours, regions


def ours(n: int) -> None:
    ask = st.query_params
    points, colours, regions = world(n)
    state = st.session_state
    chosen = ask.get("colour", "genre")
    if "recolour" in state:
        chosen = state["recolour"]

    def heard(event: MapEvent) -> None:
        state["events"] = [*state.get("events", []), event]
        if event.action == "opened":
            state["opened"] = event.track_id
        else:
            state["selected"] = event.ids

    opened = state.get("opened", points.ids[n // 2] if n and "opened" in ask else None)
    lines = []
    if "lines" in ask and opened:
        row = points.rows([opened])[0]
        away = np.linalg.norm(points.positions - points.positions[row], axis=1)
        near = [*np.argsort(away)[1:9], *np.random.default_rng(row).integers(0, n, 2)]
        lines = [(points.ids[i], 0.97 - 0.03 * rank) for rank, i in enumerate(near)]
    path = None
    if "path" in ask and n:
        steps = np.random.default_rng(3).normal(0, 1, (24, 2))
        path = points.positions[n // 3] + np.cumsum(steps, axis=0)
    common = {
        "served": SERVED,
        "selected": state.get("selected", ()),
        "opened": opened,
        "regions": regions if "regions" in ask else (),
        "height": int(ask.get("height", 600)),
        "on_event": heard,
    }
    columns = st.columns(2) if "two" in ask else [st.container()]
    with columns[0]:
        map_view(
            points, colours[chosen], key="map", lines=lines, path=path, focus=state.get("focus"),
            label="Tracks", **common,
        )  # fmt: skip
    if "two" in ask:
        other = Points(points.ids, -points.positions, points.titles, points.subtitles)
        with columns[1]:
            map_view(other, colours[chosen], key="other", label="Other", **common)

    state["runs"] = state.get("runs", 0) + 1
    with st.container(horizontal=True):
        st.button("Rerun")
        st.button("Tempo", on_click=lambda: state.update(recolour="tempo"))
        if n:
            number = state.get("focus", ("", 0))[1] + 1
            st.button("Fly", on_click=lambda: state.update(focus=(points.ids[-1], number)))
            st.button("Select two", on_click=lambda: state.update(selected=tuple(points.ids[:2])))
    st.text(f"Run {state['runs']}.")
    told = [f"{e.action} {e.track_id or len(e.ids)}" for e in state.get("events", [])]
    st.text("Events: " + ", ".join(told))


def plotly(n: int) -> None:
    import plotly.graph_objects as go

    points, _, _ = world(n)
    rng = np.random.default_rng(0)
    genre = rng.choice(len(GENRES), n, p=np.arange(len(GENRES), 0, -1) / 120)
    figure = go.Figure()
    for g, name in enumerate(GENRES):
        rows = np.flatnonzero(genre == g)
        figure.add_scattergl(
            x=points.positions[rows, 0],
            y=points.positions[rows, 1],
            mode="markers",
            name=name,
            marker={"size": 3},
            text=[f"{points.titles[i]}<br>{points.subtitles[i]}" for i in rows],
            customdata=[points.ids[i] for i in rows],
            hoverinfo="text",
        )
    figure.update_layout(height=600, dragmode="pan", uirevision="kept")
    event = st.plotly_chart(
        figure, key="map", on_select="rerun", selection_mode=("points", "box", "lasso")
    )
    picked = [point["customdata"] for point in event["selection"]["points"]]
    if picked:
        track_id = picked[0] if isinstance(picked[0], str) else picked[0][0]
        row = points.rows([track_id])[0]
        st.session_state["track"] = PlayerTrack(
            track_id=track_id, title=points.titles[row], url=f"/audio/{track_id}"
        )
    state = st.session_state
    state["runs"] = state.get("runs", 0) + 1
    st.button("Rerun")
    st.text(f"Run {state['runs']}.")
    player(served=SERVED, track=state.get("track"), autoplay=True)


count = int(st.query_params.get("n", 500))
if st.query_params.get("engine") == "plotly":
    plotly(count)
else:
    ours(count)
    player(served=SERVED)
