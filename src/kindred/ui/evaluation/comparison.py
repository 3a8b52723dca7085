"""Several systems on the same queries: differences, labels, and where two disagree most."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from kindred.errors import KindredError
from kindred.services import Services
from kindred.services.evaluations import Run
from kindred.ui.evaluation import charts, tables
from kindred.ui.evaluation.answers import answers, pick, query_card, share
from kindred.ui.evaluation.kept import comparison_of, per_class, reports_of
from kindred.ui.evaluation.words import measure_title, plain_text, run_titles
from kindred.ui.tracks import library_view, printable


def comparison(services: Services, run: Run, runs: list[Run], variant: str) -> None:
    """Everything this run and chosen others evaluated, on the same queries."""
    options = run.body["options"]
    others = {
        other.run_id: other
        for other in runs
        if other.run_id != run.run_id
        and all(other.body["options"][name] == options[name] for name in ("label", "k"))
    }
    titles = run_titles(list(others.values()))
    chosen = st.multiselect(
        "With other evaluations of the same label and k",
        list(others),
        format_func=titles.__getitem__,
        key=f"evaluate_others_{run.run_id}",
        disabled=not others,
        placeholder="Choose one or more" if others else "There are none",
    )
    picked = [run, *(others[run_id] for run_id in chosen)]
    if sum(len(one.body["reports"]) for one in picked) < 2:
        st.info(
            "One system was evaluated. Choose another evaluation above, or evaluate several models,"
            " rankings or poolings at once.",
            icon=":material/compare_arrows:",
        )
        return
    try:
        found = comparison_of(services, picked, variant)
        rows = [table for one in picked for table in per_class(services, one, variant)]
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
        return
    measures = list(dict.fromkeys(item["measure"] for item in found["differences"]))
    measure = st.selectbox(
        "Measure",
        measures,
        index=measures.index(f"ndcg@{options['k']}"),
        format_func=measure_title,
        key=f"evaluate_measure_{options['k']}",
    )
    differences = [item for item in found["differences"] if item["measure"] == measure]
    names = list(
        dict.fromkeys(name for item in differences for name in (item["first"], item["second"]))
    )
    st.plotly_chart(
        charts.difference_chart(differences),
        key="evaluate_differences",
        config=charts.BARE,
        alt="Differences with their intervals; right of 0 the first is better",
    )
    st.caption(
        "Macro means, the first minus the second: right of 0 the first is better. The bar is the"
        " 95% interval, p is of a permutation test on works, corrected by Holm over the pairs."
        " A bar that holds 0 tells the two not apart."
    )
    st.dataframe(
        tables.difference_table(differences),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%+.3f")
            for name in ("Difference", "Micro difference")
        }
        | {name: st.column_config.NumberColumn(format="%.4f") for name in ("p", "p after Holm")},
    )
    st.subheader(f"By {plain_text(options['label'])}")
    st.dataframe(
        tables.class_comparison(dict(zip(names, rows, strict=True)), measure),
        hide_index=True,
        placeholder="–",
        height=min(390, 38 + 35 * len(rows[0])),
        column_config={
            "label": st.column_config.TextColumn(options["label"].capitalize()),
            "queries": st.column_config.NumberColumn("Queries", width="small"),
        }
        | {printable(name): share(printable(name)) for name in names},
    )
    disagreement(services, picked, found)


def disagreement(services: Services, picked: list[Run], found: dict[str, Any]) -> None:
    """The queries on which two systems differ most, with what each answers."""
    pairs = found["disagreements"]
    key = f"{'_'.join(run.run_id for run in picked)}_{found['variant']}"
    st.subheader("Where two disagree most")
    number = 0
    if len(pairs) > 1:
        number = st.selectbox(
            "Pair",
            range(len(pairs)),
            format_func=lambda n: printable(f"{pairs[n]['first']} and {pairs[n]['second']}"),
            key=f"evaluate_pair_{key}",
        )
    pair = pairs[number]
    names = (pair["first"], pair["second"])
    if not pair["queries"]:
        st.info("They answer every query with the same success.", icon=":material/equal:")
        return
    tracks = library_view(services).labels
    st.caption(
        f"By {measure_title(pair['measure'])}. Choose a row to hear the query and both answers."
    )
    key += f"_{number}"
    place = pick(
        pd.DataFrame(
            {
                "track": [tracks.get(q["track_id"], q["track_id"]) for q in pair["queries"]],
                "label": [printable(q["label"]) for q in pair["queries"]],
                "first": [q["values"][0] for q in pair["queries"]],
                "second": [q["values"][1] for q in pair["queries"]],
            }
        ),
        f"evaluate_disagree_{key}",
        0,
        {
            "track": st.column_config.TextColumn("Query", width="large"),
            "label": st.column_config.TextColumn(found["label"].capitalize()),
            "first": share(printable(names[0])),
            "second": share(printable(names[1])),
        },
    )
    query = pair["queries"][place]
    query_card(services, query["track_id"], key=f"both_{key}_{query['track_id']}")
    here = reports_of(services, picked[0])
    if here is None:
        return
    for side, column in enumerate(st.columns(2)):
        with column:
            st.markdown(f"**{plain_text(names[side])}**")
            found_first = query["answers"][side]
            answers(services, here[0], query["track_id"], found_first, key=f"{key}_{side}")
