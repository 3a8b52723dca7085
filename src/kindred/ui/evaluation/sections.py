"""What lies below the headline of an evaluation: labels, their queries, answers to be heard."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.report_file import answer
from kindred.services import Services
from kindred.services.evaluations import Run
from kindred.ui.evaluation import charts, tables
from kindred.ui.evaluation.answers import answers, deck, pick, query_card, share
from kindred.ui.evaluation.comparison import comparison
from kindred.ui.evaluation.kept import per_class, reports_of
from kindred.ui.evaluation.words import VARIANTS, hubs_in_words, plain_text
from kindred.ui.tracks import cards_of, library_view, printable


@st.fragment
def sections(services: Services, run: Run, runs: list[Run]) -> None:
    """By label, confusion, hubs, comparison; a click here draws only this part again."""
    label = run.body["options"]["label"]
    names = {"label": f"By {label}", "confusion": "Confusion", "hubs": "Hubs", "compare": "Compare"}
    section = st.segmented_control(
        "Section",
        list(names),
        format_func=names.__getitem__,
        default="label",
        required=True,
        label_visibility="collapsed",
        key="evaluate_section",
    )
    here = reports_of(services, run)
    reports = run.body["reports"]
    left, right = st.columns(2)
    variants = [
        name
        for name in VARIANTS
        if reports[0]["variants"][name]["queries"] and (here or name in reports[0]["per_class"])
    ]
    variant = "plain"
    if section != "hubs" and variants:
        variant = left.selectbox(
            "Variant",
            variants,
            format_func=VARIANTS.__getitem__,
            key=f"evaluate_variant_{run.run_id}",
            help="What is left out of the answers besides the query: nothing, or tracks that give"
            " the label away. Leakage-controlled leaves out the same work, album and recording.",
        )
    system = 0
    if section != "compare" and len(reports) > 1:
        system = right.selectbox(
            "Evaluated",
            range(len(reports)),
            format_func=lambda number: printable(reports[number]["name"]),
            key=f"evaluate_system_{run.run_id}",
        )
    if section == "confusion":
        confusion(run, here, system, variant)
    elif section == "hubs":
        hubs(services, run, system)
    elif section == "compare":
        comparison(services, run, runs, variant)
    else:
        by_label(services, run, here, system, variant)


def by_label(
    services: Services, run: Run, here: list[RetrievalReport] | None, system: int, variant: str
) -> None:
    """Every label; one of them, its queries; one of these, its answers."""
    k = run.body["options"]["k"]
    rows = per_class(services, run, variant)[system]
    st.caption("Choose a row to see its queries." if here else "What was found for each label.")
    key = f"{run.run_id}_{system}_{variant}"
    first = next((n for n, row in enumerate(rows) if row["queries"]), 0)
    number = pick(
        tables.class_table(rows, k),
        f"evaluate_classes_{key}",
        first,
        {
            "label": st.column_config.TextColumn(run.body["options"]["label"].capitalize()),
            "tracks": st.column_config.NumberColumn("Tracks", width="small"),
            "works": st.column_config.NumberColumn("Works", width="small"),
            "queries": st.column_config.NumberColumn("Queries", width="small"),
            "precision": share("Precision"),
            "hit_rate": share("Hit rate"),
            "ndcg": share("nDCG"),
            "in_macro": st.column_config.CheckboxColumn("In macro", width="small"),
        },
    )
    if here is None:
        return
    name, report = rows[number]["label"], here[system]
    asked = tables.queries_of(report, variant, name)
    st.subheader(f"Queries: {plain_text(name)}")
    if not asked:
        st.info("Nothing relevant is left for a track of this label, so none was asked.")
        return
    st.caption(f"{len(asked)} queries, the worst first. Choose a row to hear it and its answers.")
    place = pick(
        tables.query_table(report, variant, asked, library_view(services).labels),
        f"evaluate_queries_{key}_{number}",
        0,
        {
            "track": st.column_config.TextColumn("Query", width="large"),
            "marks": st.column_config.TextColumn("Answers", width="small"),
            "hits": st.column_config.TextColumn("Hits", width="small"),
            "ndcg": share("nDCG"),
            "first": st.column_config.NumberColumn("First hit at", width="small"),
        },
    )
    row = asked[place]
    query_card(services, report.ids[row], key=f"{key}_{row}")
    answers(
        services, report, report.ids[row], answer(report, report.variants[variant], row), key=key
    )


def confusion(run: Run, here: list[RetrievalReport] | None, system: int, variant: str) -> None:
    """What is taken for what."""
    label, k = run.body["options"]["label"], run.body["options"]["k"]
    if here is not None:
        rows, columns, shares = here[system].confusion(variant)
    else:
        kept_as = run.body["reports"][system]["confusion"]
        rows, columns = kept_as["rows"], kept_as["columns"]
        shares = pd.DataFrame(kept_as["shares"]).to_numpy()
    classes = run.body["reports"][system]["per_class"]["plain"]
    sizes = {row["label"]: row["tracks"] for row in classes}
    found = tables.confusions(rows, columns, shares, sizes)
    if found:
        st.markdown("Most often taken for another:")
        st.markdown(
            "\n".join(
                f"- {plain_text(one)} → {plain_text(other)}: {part:.0%} of the answers to"
                f" {sizes[one]} queries"
                for one, other, part in found
            )
        )
    st.plotly_chart(
        charts.confusion_chart(rows, columns, shares),
        key="evaluate_confusion",
        config=charts.BARE,
        alt=f"Heatmap of the {label} of queries and of their answers",
    )
    name = plain_text(label)
    caption = (
        f"A row is the queries of one {name}, a column the {name} of their first {k} answers, with"
        " the numbers of the rows. A row sums to 1; the diagonal is right."
    )
    if len(classes) > len(rows):
        caption += f" The {len(rows)} largest labels are shown, the rest is under “other”."
    if here is None and variant != "plain":
        caption += " These are of the plain variant."
    st.caption(caption)


def hubs(services: Services, run: Run, system: int) -> None:
    """Tracks that turn up too often, and those that never do."""
    report = run.body["reports"][system]
    found = report["hubness"]
    st.markdown(plain_text(hubs_in_words(found, report["tracks"])))
    with st.container(horizontal=True):
        st.metric("Skewness", f"{found['skewness']:.2f}", border=True)
        st.metric("In most answers", f"{found['largest']}", border=True)
        st.metric("Never found", f"{found['anti_hubs']:.0%}", border=True)
    if len(run.body["reports"]) > 1:
        st.dataframe(tables.hub_table(run.body["reports"]), hide_index=True)
    st.subheader("Worst hubs")
    st.caption("Tracks that are in the most answers of the plain variant.")
    items = cards_of(
        services, services.storage.get_tracks([hub["track_id"] for hub in found["hubs"]])
    )
    deck(tables.hub_cards(items, found), key=f"evaluate_hubs_{run.run_id}_{system}")
    if len(items) < len(found["hubs"]):
        st.caption(f"{len(found['hubs']) - len(items)} of them are no longer in the library.")
