"""What the answers of a study say, for its organiser."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from kindred.audit.analysis.intervals import Estimate
from kindred.audit.analysis.results import Results
from kindred.audit.analysis.summary import headline, said
from kindred.audit.study import Study
from kindred.errors import KindredError
from kindred.services import Services
from kindred.ui.audit.study import items_table
from kindred.ui.cards import CardItem, cards
from kindred.ui.server import is_served
from kindred.ui.tracks import cards_of


def results_of(services: Services, study: Study) -> Results | None:
    """The results, computed anew when answers came in."""
    count = services.audits.attendance(study.study_id).judgements
    return _results(study.study_id, study.design_hash, count, services)


@st.cache_data(max_entries=8, show_spinner="Reading the answers")
def _results(study_id: str, design_hash: str, count: int, _services: Services) -> Results | None:
    return _services.audits.results(study_id)


def show_results(services: Services, study: Study) -> list[CardItem]:
    """The headline with its interval, then what it rests on; returns what can be played."""
    try:
        found = results_of(services, study)
    except KindredError as error:
        st.error(str(error))
        return []
    if found is None or not found.judgements:
        st.info("Nobody has answered yet.", icon=":material/hourglass_empty:")
        return []
    kept = [person for person in found.listeners if not person.excluded]
    st.subheader(headline(found))
    st.caption(
        f"{study.design.question} {found.kept:,} answers count, of {len(kept)} of"
        f" {len(found.listeners)} listeners. Brackets hold 95 % intervals, over listeners and"
        " queries. Krippendorff's alpha, how far listeners agree beyond chance:"
        f" {said(found.alpha)}."
    )
    for warning in found.warnings:
        st.warning(warning, icon=":material/warning:")
    _strengths(found)
    _grades(found)
    _agreement(found)
    _listeners(found)
    _progress(found)
    queue = _disagreements(services, study, found)
    _files(services, study, found)
    return queue


def _forest(values: dict[str, Estimate], title: str, centre: float | None) -> None:
    """Numbers with their intervals, one above the other."""
    known = [(name, item.value, item) for name, item in values.items() if item.value is not None]
    if not known:
        return
    arms = {
        "symmetric": False,
        "array": [0 if item.high is None else item.high - value for _, value, item in known],
        "arrayminus": [0 if item.low is None else value - item.low for _, value, item in known],
    }
    figure = go.Figure(
        go.Scatter(
            x=[value for _, value, _ in known],
            y=[name for name, _, _ in known],
            error_x=arms,
            mode="markers",
            marker={"size": 11},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    if centre is not None:
        figure.add_vline(x=centre, line_dash="dot", opacity=0.5)
    figure.update_layout(
        height=90 + 46 * len(known),
        margin={"l": 0, "r": 10, "t": 10, "b": 0},
        yaxis={"autorange": "reversed"},
    )
    st.caption(title)  # below a narrow chart it would be cut off
    st.plotly_chart(figure)


def _strengths(found: Results) -> None:
    if found.strengths is None:
        return
    pairs = found.strengths.pairs
    _forest(
        {f"{pair.system}<br>over {pair.other}": pair.rate for pair in pairs},
        "Share that prefer the first, ties half",
        0.5,
    )
    if len(found.strengths.strengths) > 2:
        _forest(found.strengths.strengths, "Strength (log odds, sum 0)", 0.0)
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "First": pair.system,
                    "Second": pair.other,
                    "Wins": pair.wins,
                    "Ties": pair.ties,
                    "Losses": pair.losses,
                    "Prefer the first": said(pair.rate),
                    "Strength apart": said(pair.difference) if pair.difference else "",
                    "p (Holm)": pair.p_holm,
                }
                for pair in pairs
            ]
        ),
        hide_index=True,
    )
    if found.strengths.first is not None:
        st.caption(f"Leaning to the clip shown first: {said(found.strengths.first)} (0: none).")


def _grades(found: Results) -> None:
    if found.grades:
        _forest({item.system: item.broad for item in found.grades}, "Mean grade, 0 to 2", None)
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "System": item.system,
                        "Broad, 0-2": said(item.broad),
                        "Fine, 0-100": said(item.fine, 0),
                        "nDCG@5": said(item.ndcg),
                        "nDCG@5 of what was judged": said(item.ndcg_condensed),
                        "Judged of 5": said(item.judged),
                    }
                    for item in found.grades
                ]
            ),
            hide_index=True,
        )
    if found.odd:
        _forest(
            {item.system: item.share for item in found.odd},
            "Share that choose its odd one, chance 1/3",
            1 / 3,
        )


def _agreement(found: Results) -> None:
    if found.agreement is None or not found.kept:
        return
    st.markdown("#### Do the systems' scores agree with people?")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "System": item.system,
                    "Spearman": said(item.spearman),
                    "AUC": said(item.auc),
                    "Order, 0-1": said(item.order),
                    "Less the ceiling": said(item.gap),
                }
                for item in found.agreement.systems
            ]
        ),
        hide_index=True,
    )
    st.caption(
        "The ceiling is one listener against the mean of the others:"
        f" {said(found.agreement.ceiling)}. A system cannot be asked to agree with people more than"
        " they do with each other."
    )


def _listeners(found: Results) -> None:
    st.markdown("#### Listeners")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Listener": person.listener_id[:8],
                    "Answers": person.answers,
                    "Catches right": f"{person.catches_right} of {person.catches}",
                    "Repeats, kappa": person.kappa,
                    "Deciding, s": person.median_deciding,
                    "Hasty": person.hasty,
                    "Cannot tell": person.cannot_tell,
                    "Middle": person.middle,
                    "First shown": person.first,
                    "Counts": "no" if person.excluded else "yes",
                    "Why not": "; ".join(person.reasons),
                }
                for person in found.listeners
            ]
        ),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(name, format="percent")
            for name in ("Hasty", "Cannot tell", "Middle", "First shown")
        }
        | {
            name: st.column_config.NumberColumn(name, format="%.2f")
            for name in ("Repeats, kappa", "Deciding, s")
        },
    )


def _progress(found: Results) -> None:
    with st.expander("How far each composer or cluster is heard"):
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "From": item.name,
                        "Items": item.items,
                        "Answers": item.judgements,
                        "Heard by enough": item.enough,
                    }
                    for item in found.progress
                ]
            ),
            hide_index=True,
        )


def _disagreements(services: Services, study: Study, found: Results) -> list[CardItem]:
    """Where people contradict the best system, or each other: to listen to."""
    told = found.disagreements
    kinds = {"against": told.against, "split": told.split}
    names = {
        "against": f"People against {told.system}" if told.system else "People against the system",
        "split": "People against each other",
    }
    st.markdown("#### Disagreements to listen to")
    kind = st.segmented_control(
        "Which", list(kinds), format_func=names.__getitem__, default="against", required=True
    )
    items = {item.item_id: item for item in study.items}
    heard = [one for one in kinds[kind] if one.size > 0]
    if not heard:
        st.caption("None yet.")
        return []
    chosen = st.selectbox(
        "Item",
        range(len(heard)),
        format_func=lambda at: (
            f"{at + 1}. {items[heard[at].item_id].stratum or 'unknown'}"
            f" · {heard[at].size:.2f} apart, {heard[at].answers} answers"
        ),
    )
    item = items[heard[chosen].item_id]
    items_table(services, [item])
    ids = list(dict.fromkeys(clip.track_id for clip in item.clips))
    queue = cards_of(services, services.storage.get_tracks(ids))
    cards(queue, key="audit_disagreement", served=is_served(), actions=(), label="What was heard")
    return queue


def _files(services: Services, study: Study, found: Results) -> None:
    st.markdown("#### Take them away")
    with st.container(horizontal=True):
        st.download_button(
            "Results (JSON)",
            json.dumps(found.to_dict(), indent=2).encode(),
            f"results-{study.study_id}.json",
            "application/json",
            on_click="ignore",
        )
        for label, make in (("Answers with codebook", _answers), ("Labels and splits", _labels)):
            with st.popover(label):
                if st.button("Make the files", key=f"audit_make_{label}"):
                    try:
                        st.download_button(
                            "Download", make(services, study), f"{study.study_id}.zip",
                            "application/zip", key=f"audit_zip_{label}", on_click="ignore",
                        )  # fmt: skip
                    except KindredError as error:
                        st.error(str(error))
    st.caption(
        "Answers are CSV, Parquet and JSONL, nothing left out. Labels are graded pairs and triples"
        " of the listeners who count, with splits by work, for training and evaluation."
    )


def _answers(services: Services, study: Study) -> bytes:
    return _zipped(lambda folder: services.audits.export(study.study_id, folder))


def _labels(services: Services, study: Study) -> bytes:
    return _zipped(lambda folder: services.audits.write_labels(study.study_id, folder))


def _zipped(make: Any) -> bytes:
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, str(path.relative_to(folder)))
    return out.getvalue()
