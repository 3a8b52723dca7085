"""Evaluate: how well the models find tracks of the same composer, or of any other label."""

import json
from dataclasses import asdict

import streamlit as st

from kindred.errors import KindredError
from kindred.evaluation.summary import HEADLINE, in_words, several_in_words
from kindred.services import Services
from kindred.services.evaluations import POOLINGS, SCORINGS, Options, Run
from kindred.ui import frame
from kindred.ui.cards import MAX_CARDS
from kindred.ui.evaluation import charts, tables
from kindred.ui.evaluation.kept import has_changed, labels_here, reports_of
from kindred.ui.evaluation.sections import sections
from kindred.ui.evaluation.words import measure_help, measure_title, plain_text, run_titles, shown
from kindred.ui.jobs import show_jobs, start
from kindred.ui.tracks import LibraryView, library_view, printable

POOLED = {
    "stored": "As stored",
    "mean": "Mean of windows",
    "max": "Maximum of windows",
    "mean+std": "Mean and deviation of windows",
}
SCORED = {
    "cosine": "Cosine, exact",
    "csls": "CSLS, against hubs",
    "mutual_proximity": "Mutual proximity, against hubs",
    "index": "The library's own index",
}

# -- a new one -----------------------------------------------------------------------------------


def new(services: Services, view: LibraryView, runs: list[Run]) -> None:
    """Choose models and options and start."""
    if not view.labels:
        st.info(
            "The library is empty. Bring some music in first; then its tracks can be asked for"
            " each other.",
            icon=":material/library_music:",
        )
        st.page_link("pages/library.py", label="Go to the library", icon=":material/arrow_forward:")
        return
    encoders = services.embedded_encoders()
    if not encoders:
        st.info("No track has vectors of a model yet.", icon=":material/neurology:")
        st.page_link("pages/models.py", label="Go to the models", icon=":material/arrow_forward:")
        return
    labels = labels_here(services)
    if not labels:
        st.info(
            "No two tracks share a composer, artist, album or any other tag, so none can be found"
            " by another. Name them with a table (Library, Add music), then come back.",
            icon=":material/label_off:",
        )
        return
    with st.expander("New evaluation", expanded=not runs, icon=":material/science:"):
        form(services, encoders, labels)


def form(services: Services, encoders: list[str], labels: dict[str, str]) -> None:
    """The options of a new evaluation."""
    active = services.active_encoder().name
    with st.form("evaluate", border=False):
        left, right = st.columns(2)
        chosen = left.multiselect(
            "Models", encoders, default=[active if active in encoders else encoders[0]]
        )
        label = right.selectbox("Find again", list(labels), format_func=labels.__getitem__)
        scorings = left.multiselect(
            "Ranked by", SCORINGS, default=["cosine"], format_func=SCORED.__getitem__
        )
        poolings = right.multiselect(
            "Vector of a track", POOLINGS, default=["stored"], format_func=POOLED.__getitem__
        )
        k = left.number_input("Answers a query (k)", 1, MAX_CARDS, 5)
        seed = right.number_input("Seed", 0, 2**31, 0, help="Of the intervals and tests.")
        st.caption(
            "Every model is asked with every ranking and pooling, all on the same tracks; they are"
            " compared query by query."
        )
        if st.form_submit_button("Evaluate", type="primary", icon=":material/play_arrow:"):
            options = Options(
                tuple(chosen), int(k), label, tuple(poolings), tuple(scorings), int(seed)
            )
            try:
                options.check()
            except KindredError as error:
                st.error(str(error))
            else:
                start(services, "evaluate", asdict(options))


# -- one that was done ---------------------------------------------------------------------------


def choose(services: Services, runs: list[Run]) -> Run:
    """Choose among the runs; one that was just done is chosen by itself."""
    by_id = {run.run_id: run for run in runs}
    state, newest = st.session_state, max(by_id)
    if "evaluate_newest" not in state:
        wanted = st.query_params.get("run", "")
        if wanted in by_id:
            state["evaluate_run"] = wanted
        elif wanted:
            st.warning(
                f"This link names an evaluation that is not here ({plain_text(wanted)}). It"
                " may have been deleted.",
                icon=":material/link_off:",
            )
    elif newest > state["evaluate_newest"]:
        state["evaluate_run"] = newest
    state["evaluate_newest"] = newest
    if state.get("evaluate_run") not in by_id:
        state.pop("evaluate_run", None)

    titles = run_titles(runs)
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    run_id = left.selectbox(
        "Evaluation",
        list(titles),
        format_func=titles.__getitem__,
        key="evaluate_run",
        persist_state="session",
    )
    run = by_id[run_id]
    with right.container(horizontal=True):
        buttons(services, run)
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id
    return run


def buttons(services: Services, run: Run) -> None:
    """Star, export, delete."""
    starred = run.body["starred"]
    if st.button(
        "Unstar" if starred else "Star",
        key="evaluate_star",
        icon=":material/star:" if starred else ":material/star_outline:",
    ):
        services.evaluations.star(run.run_id, not starred)
        st.rerun()
    export(services, run)
    with st.popover("Delete", icon=":material/delete:"):
        st.write("The evaluation and its answers go for good. No track is touched.")
        if st.button("Delete it", type="primary"):
            services.evaluations.delete(run.run_id)
            st.rerun()


def export(services: Services, run: Run) -> None:
    """Offer the run as files; tables are made when they are asked for."""
    here = reports_of(services, run) is not None
    name = f"kindred-evaluation-{run.run_id}"
    with st.popover("Export", icon=":material/download:"):
        st.download_button(
            "All figures (JSON)",
            json.dumps(run.document(), indent=2),
            f"{name}.json",
            "application/json",
            on_click="ignore",
        )
        for label, make, part in (
            ("By label (CSV)", services.evaluations.class_csv, "labels"),
            ("By query (CSV)", services.evaluations.query_csv, "queries"),
        ):
            st.download_button(
                label,
                lambda make=make: make(run.run_id).encode("utf-8", "backslashreplace"),  # type: ignore[misc]
                f"{name}-{part}.csv",
                "text/csv",
                on_click="ignore",
                disabled=not here,
            )


def headline(services: Services, run: Run) -> None:
    """The measures people read first, with their intervals, then what they cannot say."""
    reports, options = run.body["reports"], run.body["options"]
    one = reports[0]
    st.subheader(f"Same {plain_text(options['label'])}, first {options['k']} answers")
    if len(reports) > 1:
        said = several_in_words(reports, run.body["comparisons"].get("plain"))
    else:
        said = [in_words(one)]
        if one["variants"]["controlled"]["queries"]:
            said.append(
                "With tracks of the same work, album and recording left out of the answers: "
                + in_words(one, "controlled")
            )
    for sentence in said:
        st.markdown(plain_text(sentence))
    for column, name in zip(st.columns(3, gap="large"), HEADLINE, strict=True):
        measure = f"{name}@{options['k']}"
        with column:
            if len(reports) == 1:
                st.metric(
                    measure_title(measure),
                    shown(one[measure]["macro"]),
                    help=measure_help(measure),
                )
            else:
                st.markdown(f"**{measure_title(measure)}**", help=measure_help(measure))
            st.plotly_chart(
                charts.measure_chart(reports, measure),
                key=f"evaluate_{measure}",
                config=charts.BARE,
                alt=f"{measure_title(measure)} with its interval, chance and best possible",
            )
    st.caption(
        f"{plain_text(one['macro_rule'].capitalize())}. The bar is the 95% interval (works"
        " redrawn), the tick what a random order scores, and the line ends at what a perfect order"
        " would score. Plain leaves out the query alone; leakage-controlled also tracks of the"
        " same work, album and recording, which give the answer away."
    )
    warnings = dict.fromkeys(text for report in reports for text in report["warnings"])
    if warnings:
        st.warning(
            "\n".join(f"- {plain_text(text)}" for text in warnings),
            icon=":material/warning:",
        )
    if has_changed(services, run):
        st.info(
            "The library has changed since: tracks or vectors are not those that were evaluated."
            " Evaluate again for figures of today.",
            icon=":material/update:",
        )
    if reports_of(services, run) is None:
        st.info(
            "The answers to the queries are not on this machine, the figures are: it was evaluated"
            " elsewhere, or its files were removed. Evaluate again here to hear the answers.",
            icon=":material/cloud_off:",
        )
    with st.expander("All measures", icon=":material/table:"):
        three = st.column_config.NumberColumn(format="%.3f")
        st.dataframe(
            tables.measures_table(reports),
            hide_index=True,
            placeholder="–",
            column_config=dict.fromkeys(("Macro", "Chance", "Best possible", "Micro"), three),
        )
    with st.expander("About this evaluation", icon=":material/info:"):
        facts(run)


def facts(run: Run) -> None:
    """All that is needed to do it again."""
    body = run.body
    library = body["library"]
    rows = {
        "Done": f"{body['created_at']}, in {body['duration_s']:.1f} s",
        "Options": json.dumps(body["options"], ensure_ascii=False),
        "Tracks": f"{library['evaluated']:,} of {library['tracks']:,} (those with vectors)",
        "Library": f"{library['place']}, {library['library_id']}",
        "Library hash": library["sha256"],
        **{f"Space of {name}": json.dumps(space) for name, space in body["spaces"].items()},
        "Git revision": body.get("git") or "not run from its source tree",
        "Versions": ", ".join(f"{name} {value}" for name, value in body["versions"].items()),
        "Id": run.run_id,
    }
    text = "\n".join(f"{name}: {printable(value)}" for name, value in rows.items())
    st.code(text, language=None, wrap_lines=True)


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Evaluate", "How well the models find tracks of the same composer, or of any other label."
    )
    view = library_view(services)
    runs = services.evaluations.runs()
    show_jobs(services, "evaluate", only_open=True)
    new(services, view, runs)
    if runs:
        run = choose(services, runs)
        headline(services, run)
        sections(services, run, runs)
    frame.end()


page()
