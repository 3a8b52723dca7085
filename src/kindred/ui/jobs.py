"""Background jobs on a page: start, watch, stop, resume."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kindred.errors import KindredError
from kindred.jobs.runner import ACTIVE
from kindred.services import Services
from kindred.storage.records import JobRecord
from kindred.ui.roles import role

_TITLES = {
    "ingest": "Reading music",
    "uploads": "Taking in uploads",
    "import": "Importing a table",
    "demo": "Building the demo library",
    "fetch-model": "Fetching a model",
    "change-encoder": "Changing the model",
    "migrate": "Moving the library",
    "sync": "Synchronising",
    "evaluate": "Evaluating",
    "map": "Building a map",
    "audit": "Preparing an audit",
    "expressive": "Training an expressive model",
    "analyse": "Listening for expressive similarity",
}


def job_button(
    services: Services,
    kind: str,
    params: dict[str, Any],
    *,
    label: str,
    then: str = "",
    **options: Any,
) -> None:
    """A button that starts a job; why it cannot start is said below it.

    ``then`` names a page on which the job can be watched, where this one does not show it.
    """
    if st.button(label, key=f"start-{kind}-{label}", **options):
        start(services, kind, params, then=then)


def start(services: Services, kind: str, params: dict[str, Any], *, then: str = "") -> None:
    """Start a job and draw the page again, or say why not."""
    try:
        services.jobs.start(kind, params)
    except KindredError as error:
        st.error(str(error))
        return
    if then:
        st.switch_page(then)
    st.rerun()


def show_jobs(services: Services, kind: str | None = None, *, only_open: bool = False) -> None:
    """Draw the latest jobs, of one kind or all, and follow those at work until they end.

    With ``only_open`` only the last one is drawn, and not when it is done. Jobs of audits are for
    organisers.
    """
    recent = _recent(services, kind, 5)
    if any(job.state in ACTIVE for job in recent):
        _following(services, kind, 1 if only_open else 3)
    elif not only_open:
        _draw(services, kind, 3)
    elif recent and recent[0].state != "done":
        _draw(services, kind, 1)


def _recent(services: Services, kind: str | None, count: int) -> list[JobRecord]:
    jobs = services.jobs.recent(kind=kind, limit=2 * count)
    if role(services.settings) != "organiser":
        jobs = [job for job in jobs if job.kind != "audit"]
    return jobs[:count]


@st.fragment(run_every=1.0)
def _following(services: Services, kind: str | None, count: int) -> None:
    if not _draw(services, kind, count):
        st.rerun()  # the library has changed: draw the whole page


def _draw(services: Services, kind: str | None, count: int) -> bool:
    """Draw the jobs; return whether one is at work."""
    jobs = _recent(services, kind, count)
    for job in jobs:
        with st.container(border=True):
            _draw_job(services, job)
    return any(job.state in ACTIVE for job in jobs)


def _draw_job(services: Services, job: JobRecord) -> None:
    title = _TITLES.get(job.kind, job.kind)
    if job.state in ACTIVE:
        share = job.done / job.total if job.total else 0.0
        count = f"{job.done} of {job.total}" if job.total else "starting"
        st.progress(share, text=f"**{title}** · {count}")
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.text(job.message)
        stopping = job.cancel_requested
        if right.button(
            "Stopping" if stopping else "Stop", key=f"stop-{job.job_id}", disabled=stopping
        ):
            services.jobs.cancel(job.job_id)
            st.rerun(scope="fragment")
        return
    if job.state == "done":
        st.success(f"**{title}**: {job.result.get('sentence', 'done')}", icon=":material/check:")
    elif job.state == "failed":
        st.error(f"**{title}** failed: {job.message}", icon=":material/error:")
    else:
        what = "was stopped" if job.state == "cancelled" else "was interrupted"
        kept = "Nothing of it is kept." if job.kind == "map" else "What was done is kept."
        st.warning(f"**{title}** {what}. {kept}", icon=":material/pause:")
    for name, reason in job.result.get("refused", []):
        st.text(f"{name}: {reason}")
    if job.state != "done" and st.button("Resume", key=f"resume-{job.job_id}"):
        services.jobs.resume(job.job_id)
        st.rerun()
