"""Train: start a run, follow it, go on with it, and see how it learned."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kindred.errors import KindredError
from kindred.expressive.run import SIZES, STAGES, RunOptions
from kindred.jobs.runner import ACTIVE
from kindred.services import Services
from kindred.services.expressive import Run
from kindred.ui.evaluation.charts import BARE
from kindred.ui.expressive import charts, words
from kindred.ui.jobs import start
from kindred.ui.roles import role

_SIZES = {"full": "full: all works", "small": "small: a look", "tiny": "tiny: to see that it works"}
_SOURCES = {
    "auto": "MERT when its weights are here, else layered descriptors",
    "layers": "Kindred's layered descriptors",
    "mert": "MERT",
}
#: Seeds, epochs and minutes on two cores, of each size, where no run tells.
_USUAL = {"full": (5, 60, 30), "small": (2, 30, 4), "tiny": (2, 12, 1)}
_KINDS = {
    "oracle": "Oracle",
    "distilled": "Retriever, distilled",
    "projection": "Retriever, from labels",
}


def training(services: Services, run: Run | None, runs: list[Run]) -> None:
    """Draw the view."""
    if role(services.settings) == "organiser":
        with st.expander("New run", expanded=run is None, icon=":material/model_training:"):
            form(services, runs)
    elif run is None:
        st.info("Runs are started by organisers.", icon=":material/lock:")
    if run is not None:
        _one(services, run)


def form(services: Services, runs: list[Run]) -> None:
    """The options of a new run; no form, so that the estimate follows them."""
    left, right = st.columns(2)
    size = left.selectbox("Size", SIZES, index=1, format_func=_SIZES.__getitem__)
    source = right.selectbox("Features", list(_SOURCES), format_func=_SOURCES.__getitem__)
    usual_seeds, usual_epochs, _ = _USUAL[size]
    seeds = left.number_input(
        "Seeds", 1, 20, usual_seeds, key=f"expressive_seeds_{size}",
        help="Each is trained anew; the spread of their figures is reported.",
    )  # fmt: skip
    epochs = right.number_input(
        "Epochs, at most", 1, 1_000, usual_epochs, key=f"expressive_epochs_{size}",
        help="Training stops earlier when validation no longer improves.",
    )  # fmt: skip
    with st.expander("What people played and judged", icon=":material/groups:"):
        midi = st.text_input(
            "Folder of MIDI files",
            help="People's performances, on the machine that runs Kindred. They are a test of"
            " their own.",
        )
        judgements = st.text_area(
            "Folders of judgements, one a line",
            help="Labels that `kindred audit labels` wrote.",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Train", type="primary", icon=":material/play_arrow:")
        st.caption(f"Takes {estimate(runs, size, int(seeds), int(epochs))}.", width="content")
    if pressed:
        folders = tuple(line.strip() for line in judgements.splitlines() if line.strip())
        begin(
            services,
            RunOptions(
                size=size, source=source, seeds=int(seeds), epochs=int(epochs),
                midi=midi.strip(), judgements=folders,
            ),
        )  # fmt: skip


def begin(services: Services, options: RunOptions) -> None:
    """Begin a run and its job, or say why not."""
    if any(job.state in ACTIVE for job in services.jobs.recent(kind="expressive", limit=1)):
        st.error("A run is being trained. Wait for it, or stop it first.", icon=":material/error:")
        return
    try:
        run_id = services.expressive.begin(options)
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
        return
    start(services, "expressive", {"run_id": run_id})


def estimate(runs: list[Run], size: str, seeds: int, epochs: int) -> str:
    """About how long a run takes: as the last whole one of its size did, else as is usual."""
    usual_seeds, usual_epochs, minutes = _USUAL[size]
    like = [run for run in runs if run.is_whole and run.record.options.size == size]
    if like:
        options, spent = like[0].record.options, dict(like[0].record.seconds)
        share = (seeds + 1) * epochs / ((options.seeds + 1) * options.epochs)
        spent["train"] = spent.get("train", 0.0) * share
        return f"about {_minutes(sum(spent.values()) / 60)}, by the last run of this size"
    share = (seeds + 1) * epochs / ((usual_seeds + 1) * usual_epochs)
    return f"about {_minutes(minutes * (0.6 + 0.4 * share))} on two cores"


def _minutes(count: float) -> str:
    rounded = max(1, round(count))
    return f"{rounded} minute{'s' if rounded > 1 else ''}"


def _one(services: Services, run: Run) -> None:
    """A run: where it stands, how it learned, what it took."""
    if not run.is_whole:
        unfinished(services, run)
    curves = {
        _KINDS[kind]: [seed for seed in seeds if seed]
        for kind, seeds in services.expressive.curves(run.run_id).items()
    }
    if any(curves.values()):
        st.subheader("How it learned")
        st.plotly_chart(
            charts.curves(curves),
            key="expressive_curves",
            config=BARE,
            alt="nDCG@10 on validation works after every epoch",
        )
        st.caption(
            "One line a seed. Of each, the epoch that was best on validation is kept."
            f" Features: {words.features(run)}."
        )
    if run.record.seconds:
        st.subheader("What it took")
        spent = run.record.seconds
        st.dataframe(
            pd.DataFrame(
                [
                    {"Stage": words.stage(name), "Time": words.spent(spent[name])}
                    for name in STAGES
                    if name in spent
                ]
            ),
            hide_index=True,
            width=420,
        )
        st.caption("Clips and features are kept and shared: the next run makes what is missing.")
    with st.expander("About this run", icon=":material/info:"):
        _facts(run)
    if role(services.settings) == "organiser":
        _delete(services, run)


def unfinished(services: Services, run: Run) -> None:
    """Say where a run stands that is not whole, and let it go on."""
    if _job_state(services, run) not in ("", "done"):
        return  # the job's progress, or how it ended, stands above
    at = words.stage(run.record.state).lower()
    st.warning(f"This run stopped while {at}. What was done is kept.", icon=":material/pause:")
    if role(services.settings) != "organiser":
        return
    if st.button("Go on with it", icon=":material/play_arrow:"):
        start(services, "expressive", {"run_id": run.run_id})


def _job_state(services: Services, run: Run) -> str:
    """State of the latest job where it is this run's; else empty."""
    for job in services.jobs.recent(kind="expressive", limit=1):
        if job.params.get("run_id") == run.run_id:
            return job.state
    return ""


def _facts(run: Run) -> None:
    record, options = run.record, run.record.options
    rows = {
        "Begun": record.created_at,
        "Size": options.size,
        "Seeds and epochs": f"{options.seeds}, at most {options.epochs}",
        "Seed of clips": str(options.seed),
        "Features": f"{words.features(run)} ({record.feature_id})",
        "People's performances": options.midi or "none",
        "Judgements": ", ".join(options.judgements) or "none",
        "Versions": ", ".join(f"{name} {value}" for name, value in record.versions.items()),
        "Id": run.run_id,
    }
    text = "\n".join(f"{name}: {value}" for name, value in rows.items())
    st.code(text, language=None, wrap_lines=True)


def _delete(services: Services, run: Run) -> None:
    busy = _job_state(services, run) in ACTIVE
    with st.popover("Delete this run", icon=":material/delete:", disabled=busy):
        st.write(
            "Labels, scorers and evaluation of this run go for good. Clips and features stay, and"
            " so does what is released of it."
        )
        if st.button("Delete it", type="primary"):
            services.expressive.delete(run.run_id)
            st.query_params.pop("run", None)
            st.rerun()
