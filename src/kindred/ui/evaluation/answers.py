"""Queries and answers of an evaluation, to be chosen in a table and heard."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from kindred.evaluation.report import RetrievalReport
from kindred.services import Services
from kindred.ui import frame
from kindred.ui.cards import MAX_CARDS, CardItem, Kind, cards
from kindred.ui.evaluation.tables import marked, verdicts
from kindred.ui.server import is_served
from kindred.ui.tracks import cards_of


def share(title: str) -> Any:
    """A column of values from 0 to 1."""
    return st.column_config.ProgressColumn(title, min_value=0, max_value=1, format="%.2f")


def pick(table: pd.DataFrame, key: str, first: int, columns: dict[str, Any]) -> int:
    """A table in which one row is chosen; its number."""
    event = st.dataframe(
        table,
        key=key,
        hide_index=True,
        placeholder="–",
        height=min(390, 38 + 35 * len(table)),
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [first]}},
        column_config=columns,
    )
    rows = event["selection"]["rows"]
    return rows[0] if rows and rows[0] < len(table) else first


def query_card(services: Services, track_id: str, *, key: str) -> None:
    """A query, to be heard."""
    items = cards_of(services, services.storage.get_tracks([track_id]))
    if not items:
        st.info("This track is no longer in the library.", icon=":material/link_off:")
    deck(items, key=f"evaluate_query_{key}", kind="query")


def answers(
    services: Services, report: RetrievalReport, query: str, found: list[str], *, key: str
) -> None:
    """The answers to a query as cards with hit and miss marks."""
    items = cards_of(services, services.storage.get_tracks(found))
    items = marked(items, report, query, found)
    right = sum(verdicts(report, query, found))
    st.markdown(f"**{right} of {len(found)} answers are right**")
    deck(items, key=f"evaluate_answers_{key}_{query}")
    if len(items) < len(found):
        st.caption(f"{len(found) - len(items)} of the answers are no longer in the library.")


def deck(items: list[CardItem], *, key: str, kind: Kind = "results") -> None:
    """Cards that play."""
    event = cards(items[:MAX_CARDS], key=key, served=is_served(), actions=(), kind=kind)
    if event is not None:  # the page has to play it: this part alone cannot
        frame.order(next(item for item in items if item.track_id == event.track_id))
        st.rerun()
