"""Gates: what the run had to show, whether it did, and letting it out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from kindred.errors import KindredError
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.ranking import MACRO
from kindred.expressive.report import TITLES
from kindred.services import Services
from kindred.services.expressive import Run
from kindred.ui.evaluation.charts import BARE
from kindred.ui.evaluation.words import plain_text
from kindred.ui.expressive import charts, words
from kindred.ui.roles import role

_MEASURES = {
    "nDCG@10": ("clips", "ndcg"),
    "nDCG@10, other works only": ("clips, other works", "ndcg"),
    "nDCG@10, clip to track": ("tracks", "ndcg"),
    "Recall@10": ("clips", "recall"),
    "MRR": ("clips", "mrr"),
}
#: Gate -> what its matrix shows, and how to read it.
_MATRICES = {
    "faithfulness": (
        "What each score follows",
        "Down scores, across levels, other aspects held: 1 on the diagonal and 0 elsewhere is"
        " best.",
    ),
    "weights": (
        "Orders turned around",
        "The share of triples whose order turns when the weight moves from one aspect to the"
        " other: 1 is best.",
    ),
    "inputs": (
        "What re-rendering moves",
        "Down what was re-rendered, across whose score moved, as a share of its range: only the"
        " diagonal should.",
    ),
}


def gates(services: Services, run: Run) -> None:
    """Draw the view."""
    if not run.gates.get("gates"):
        st.info(
            "The run is judged at its end, and has not come there."
            if not run.is_whole
            else "The gates of this run cannot be read. Import it again, or train again.",
            icon=":material/hourglass_empty:" if not run.is_whole else ":material/broken_image:",
        )
        return
    _release(services, run)
    _table(run)
    _matrices(run)
    _ranking(run)
    st.download_button(
        "Report (Markdown)",
        services.expressive.report(run.run_id).encode(),
        f"kindred-expressive-{run.run_id}.md",
        "text/markdown",
        on_click="ignore",
        icon=":material/download:",
    )
    st.caption(
        f"`kindred expressive export FOLDER --run {run.run_id}` writes labels, scorers and"
        " evaluation with a checksum for every file."
    )


def _release(services: Services, run: Run) -> None:
    """Let the retriever out, or take it back."""
    if role(services.settings) != "organiser":
        return
    if run.released:
        st.success(
            "The retriever is released: as a model it makes vectors of the whole library. Embed"
            " the library with it, and it is a space on Similar and Map.",
            icon=":material/verified:",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link("pages/models.py", label="Go to the models", icon=":material/neurology:")
            if st.button("Withdraw", icon=":material/undo:"):
                services.expressive.withdraw()
                st.rerun()
        return
    released = services.expressive.released()
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Release", icon=":material/verified:", type="primary", disabled=not run.passed
        )
        if not run.passed:
            st.caption("Only a run that passes its gates can be released.", width="content")
        elif released is not None:
            st.caption(f"It takes the place of run {released.run_id}.", width="content")
    if pressed:
        try:
            services.expressive.release(run.run_id)
        except KindredError as error:
            st.error(str(error), icon=":material/block:")
        else:
            st.rerun()


def _table(run: Run) -> None:
    """Every gate: what became of it, what it asks, and the numbers."""
    listed = run.gates["gates"]
    counts = {known: sum(gate["passed"] is known for gate in listed) for known in words.OUTCOMES}
    st.subheader(", ".join(f"{n} {words.OUTCOMES[known][0]}" for known, n in counts.items() if n))
    st.caption(
        f"Thresholds were frozen on validation works at {run.gates.get('frozen_at', '?')}, before"
        f" the test was read (SHA-256 `{str(run.gates.get('thresholds_sha256', ''))[:12]}`). Seed"
        f" {int(run.gates.get('released', 0)) + 1} of the retriever was judged."
    )
    for gate in listed:
        with st.container(border=True):
            _gate(gate)


def _gate(gate: dict[str, Any]) -> None:
    word, icon, colour = words.OUTCOMES[gate["passed"]]
    if gate["passed"] is None and gate["needed"]:
        word, colour = "not judged, but needed", "red"
    verdict, text, numbers = st.columns([1.1, 5, 1.4], vertical_alignment="center")
    verdict.badge(word, icon=icon, color=colour)  # type: ignore[arg-type]
    text.markdown(f"**{plain_text(gate['title'])}** {plain_text(gate['question'])}")
    text.caption(plain_text(gate["detail"]))
    if gate["value"] is not None:
        against = ""
        if gate["threshold"] is not None:
            against = f"  \n:gray[{gate['direction']} {_shown(gate['threshold'])}]"
        numbers.markdown(f"**{_shown(gate['value'])}**{against}")


def _shown(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _matrices(run: Run) -> None:
    """What scores follow and what moves them."""
    found = {gate["name"]: gate["numbers"].get("matrix") for gate in run.gates["gates"]}
    known = [name for name in _MATRICES if found.get(name)]
    if not known:
        return
    st.subheader("What each score hears")
    for column, name in zip(st.columns(len(known), gap="large"), known, strict=True):
        title, how = _MATRICES[name]
        with column:
            st.markdown(f"**{title}**")
            st.plotly_chart(
                charts.matrix(found[name], low=-0.2 if name == "faithfulness" else 0.0),
                key=f"expressive_matrix_{name}",
                config=BARE,
                alt=f"{title}, five by five aspects",
            )
            st.caption(how)


def _ranking(run: Run) -> None:
    """Every scorer on every test."""
    tests = run.ranking.get("test") or {}
    if not tests:
        return
    st.subheader("Ranking")
    left, right = st.columns(2)
    test = left.selectbox(
        "On", list(tests), format_func=TITLES.__getitem__, key="expressive_ranking_test"
    )
    measure = right.selectbox("Measured by", list(_MEASURES), key="expressive_measure")
    view, of = _MEASURES[measure]
    rows = {
        words.CONTENDERS.get(name, name): table[view][of] for name, table in tests[test].items()
    }
    st.plotly_chart(
        charts.contest({name: row[MACRO] for name, row in rows.items()}),
        key="expressive_contest",
        config=BARE,
        alt=f"{measure} of every scorer with its interval",
    )
    st.caption(
        "Mean over works, then over aspects; the bar is the 95 % interval over works, the dotted"
        f" line what a random order scores. Features: {words.features(run)}."
        f" The oracle and the retrievers: {words.standing(run)[0]}."
    )
    columns = {**{aspect.key: aspect.title for aspect in ASPECTS}, MACRO: "All"}
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Scorer": name,
                    **{title: words.estimate(row[key]) for key, title in columns.items()},
                }
                for name, row in rows.items()
            ]
        ),
        hide_index=True,
        height="content",
        column_config={"Scorer": st.column_config.Column(pinned=True)},
    )
    first = next(iter(rows.values()))
    st.caption(
        "Chance: "
        + ", ".join(f"{columns[key].lower()} {first[key]['chance']:.2f}" for key in (*KEYS, MACRO)
                    if first[key].get("chance") is not None)
    )  # fmt: skip
