"""Audit: blind listening studies, designed, held and read by their organiser."""

import streamlit as st

from kindred.audit.study import Study
from kindred.errors import KindredError
from kindred.services import Services
from kindred.ui import frame
from kindred.ui.audit.design import design_form
from kindred.ui.audit.results import show_results
from kindred.ui.audit.study import draft, invitations
from kindred.ui.cards import CardItem
from kindred.ui.jobs import show_jobs
from kindred.ui.roles import role
from kindred.ui.server import is_served

NEW = "new"


def choose(studies: list[Study]) -> str:
    """Which study is looked at, or a new one; it is in the address."""
    names = {  # Streamlit goes by labels: no two may be the same
        study.study_id: f"{study.design.title} · {study.state} · {study.study_id}"
        for study in reversed(studies)
    }
    options = [*names, NEW]
    named = st.query_params.get("study", "")
    if st.session_state.get("audit_latest", options[0]) != options[0] != NEW:
        named = options[0]  # it was drawn meanwhile
    st.session_state["audit_latest"] = options[0]
    if named and named not in options:
        st.warning("This link names a study that is not here.", icon=":material/link_off:")
    chosen = st.selectbox(
        "Study",
        options,
        index=options.index(named) if named in options else 0,
        format_func=lambda name: names.get(name, "Design a new study"),
        label_visibility="collapsed",
    )
    if st.query_params.get("study") != chosen:
        st.query_params["study"] = chosen
    return chosen


def one(services: Services, study: Study) -> list[CardItem]:
    """A study that was drawn."""
    design = study.design
    st.markdown(
        f"**{design.question}** {' against '.join(f'*{name}*' for name in design.systems)} ·"
        f" {design.length} trials of {design.clip_seconds:g} s · design `{study.design_hash[:12]}`"
    )
    if study.state == "draft":
        draft(services, study)
        return []
    section = st.segmented_control(
        "Section",
        ["Listeners", "Results"],
        default="Listeners" if study.state == "open" else "Results",
        required=True,
        label_visibility="collapsed",
        key=f"audit_section_{study.study_id}",
    )
    if section == "Results":
        return show_results(services, study)
    if not is_served():
        st.warning(
            "Sittings are served by `kindred serve` or `kindred audit serve`, not by `streamlit"
            " run`.",
            icon=":material/link_off:",
        )
    invitations(services, study)
    return []


def page() -> None:
    """Draw the page."""
    services = frame.begin(
        "Audit", "Is the model's idea of similar that of listeners? Ask them, blind."
    )
    if role(services.settings) != "organiser":
        st.info("Audits are designed and read by organisers.", icon=":material/lock:")
        frame.end()
        return
    show_jobs(services, "audit", only_open=True)
    try:
        studies = services.audits.store.studies()
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
        frame.end()
        return
    if not services.storage.count_tracks() and not studies:
        frame.end_empty()
        return
    chosen = choose(studies)
    queue: list[CardItem] = []
    try:
        if chosen == NEW:
            design_form(services)
        else:
            queue = one(services, services.audits.store.study(chosen))
    except KindredError as error:
        st.error(str(error), icon=":material/error:")
    frame.end(queue)


page()
