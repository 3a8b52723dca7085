"""Expressive: learned similarity of how music is played, heard, judged and let out."""

import streamlit as st

from kindred.errors import KindredError
from kindred.expressive.run import RunOptions
from kindred.services import Services
from kindred.services.expressive import Run
from kindred.ui import frame
from kindred.ui.evaluation.words import plain_text
from kindred.ui.expressive import training, words
from kindred.ui.expressive.explained import explained
from kindred.ui.expressive.gates import gates
from kindred.ui.expressive.listen import listen
from kindred.ui.jobs import show_jobs
from kindred.ui.roles import role

VIEWS = {"listen": "Listen", "gates": "Gates", "train": "Train", "aspects": "Aspects"}


def choose(runs: list[Run]) -> Run:
    """Which run is looked at; it is in the address, and one that was just begun is chosen."""
    by_id, titles = {run.run_id: run for run in runs}, words.titles(runs)
    newest, named = max(by_id), st.query_params.get("run", "")
    if st.session_state.get("expressive_newest", newest) < newest:
        named = newest
    elif named and named not in by_id:
        st.warning(
            f"This link names a run that is not here ({plain_text(named)}). It may have been"
            " deleted.",
            icon=":material/link_off:",
        )
    st.session_state["expressive_newest"] = newest
    if named not in by_id:
        named = next((run.run_id for run in runs if run.is_whole), newest)
    # It has no key: with one, a title that changed would be shown as it was.
    run_id = st.selectbox(
        "Run",
        list(titles),
        index=list(titles).index(named),
        format_func=titles.__getitem__,
        label_visibility="collapsed",
    )
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id
    return by_id[run_id]


def standing(run: Run) -> None:
    """Which model, on which features, and whether it may be trusted: on every view."""
    word, icon, colour = words.standing(run)
    text = (
        f"**{word.capitalize()}.** Oracle and retriever of run `{run.run_id[-4:]}`, size"
        f" {run.record.options.size}, on {words.features(run)}."
    )
    if run.is_whole and not run.passed:
        failed = words.stopped(run)
        text += f" Not passed: {words.joined(failed)}." if failed else " Its gates cannot be read."
        text += " It is not released: what it ranks is here to be looked into, not relied on."
    draw = {"red": st.error, "green": st.success, "blue": st.info, "gray": st.info}[colour]
    draw(text, icon=icon)


def nothing_yet(services: Services) -> None:
    """What the page is for, where there is no run."""
    st.info(
        "There is no run yet. A run plays some hundred clips from scores, each with its own tempo,"
        " phrasing, dynamics, articulation and instrument; trains a slow scorer (the oracle) and a"
        " fast one (the retriever) to hear these apart; and holds them against gates.",
        icon=":material/model_training:",
    )
    if role(services.settings) != "organiser":
        st.caption("Runs are started by organisers.")
    elif st.button("Start a small run", type="primary", icon=":material/play_arrow:"):
        training.begin(services, RunOptions(size="small"))


def choose_view() -> str:
    """Which part of the page; it is in the address."""
    named = st.query_params.get("view", "listen")
    view = st.segmented_control(
        "View",
        list(VIEWS),
        default=named if named in VIEWS else "listen",
        required=True,
        format_func=VIEWS.__getitem__,
        key="expressive_view",
        persist_state="session",
        label_visibility="collapsed",
    )
    if st.query_params.get("view", "listen") != view:
        st.query_params["view"] = view
    return view


def draw(services: Services, runs: list[Run]) -> None:
    """The run and the view that were chosen."""
    run = choose(runs)
    standing(run)
    view = choose_view()
    if view == "train":
        training.training(services, run, runs)
    elif view == "aspects":
        explained(services, run)
    elif not run.is_whole:
        training.unfinished(services, run)
        st.info("It can be listened to and read once it is whole.", icon=":material/hourglass:")
    elif view == "gates":
        gates(services, run)
    else:
        listen(services, run)


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Expressive",
        "Learned similarity of how music is played: pick a clip, move the sliders, and hear the"
        " ranking change.",
    )
    if role(services.settings) == "organiser":  # a job can be stopped by who sees it
        show_jobs(services, "expressive", only_open=True)
    if damaged := services.expressive.damaged():
        st.warning(
            f"{len(damaged)} runs cannot be read: {plain_text(', '.join(damaged))}. Remove their"
            " files, or put back what they were.",
            icon=":material/broken_image:",
        )
    runs = services.expressive.runs()
    try:
        if runs:
            draw(services, runs)
        else:
            nothing_yet(services)
            explained(services, None)
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
    frame.end()


page()
