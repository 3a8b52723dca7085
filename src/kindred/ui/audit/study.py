"""One study: what was drawn, who is invited, how far they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from kindred.audit.power import summary
from kindred.audit.store import Invitation
from kindred.audit.study import FORMS, Clip, Item, Study
from kindred.errors import KindredError
from kindred.services import Services
from kindred.ui.tracks import printable


def draft(services: Services, study: Study) -> None:
    """A study that is not open yet: look it over, open it or drop it."""
    design, facts = study.design, study.facts
    st.caption(f"{FORMS[design.form][0]}.")
    for warning in facts.get("warnings", ()):
        st.warning(warning, icon=":material/warning:")
    kinds = {kind: len(study.of_kind(kind)) for kind in ("real", "catch", "practice")}
    st.markdown(
        f"{kinds['real']} items, {kinds['catch']} catch trials and {kinds['practice']} for practice"
        f" were drawn; {facts.get('skipped', 0)} of {facts.get('asked', 0)} queries gave nothing to"
        " ask, mostly since the systems agree."
    )
    st.markdown("\n".join(f"- {sentence}" for sentence in summary(design)))
    strata = facts.get("strata", {})
    if strata:
        with st.expander(f"Queries by {design.stratify}"):
            st.dataframe(
                pd.DataFrame({"From": list(strata), "Items": list(strata.values())}),
                hide_index=True,
            )
    with st.expander("Look at some items (you will know them when you listen yourself)"):
        items_table(services, study.of_kind("real")[:10])
    with st.container(horizontal=True):
        if st.button("Open it", type="primary", icon=":material/lock:"):
            _act(lambda: services.audits.store.open_study(study.study_id))
        if st.button("Drop it", icon=":material/delete:"):
            _act(lambda: _drop(services, study))


def _drop(services: Services, study: Study) -> None:
    services.audits.store.drop_draft(study.study_id)
    st.query_params.pop("study", None)


def items_table(services: Services, items: Sequence[Item]) -> None:
    """Items with the names of what is heard; for organisers only."""
    ids = {clip.track_id for item in items for clip in item.clips}
    tracks = {track.track_id: track for track in services.storage.get_tracks(sorted(ids))}

    def name(clip: Clip | None) -> str:
        if clip is None:
            return ""
        track = tracks.get(clip.track_id)
        title = printable(track.title or "Untitled") if track else "no longer in the library"
        return f"{title} at {clip.start:.0f} s"

    def answered(item: Item, index: int) -> str:
        placed = item.candidates[index].systems
        return ", ".join(f"{system} #{place.rank}" for system, place in placed.items())

    st.dataframe(
        pd.DataFrame(
            [
                {"Item": item.item_id[:8], "From": printable(item.stratum)}
                | ({"Reference": name(item.reference)} if item.reference else {})
                | {
                    f"{'ABCDE'[index]}": f"{name(candidate.clip)} ({answered(item, index)})"
                    for index, candidate in enumerate(item.candidates)
                }
                for item in items
            ]
        ),
        hide_index=True,
    )


def invitations(services: Services, study: Study) -> None:
    """Invite listeners, hand out links, take them back."""
    attendance = services.audits.attendance(study.study_id)
    columns = st.columns(4)
    for column, (label, value) in zip(
        columns,
        {
            "Invited": attendance.invited,
            "Begun": attendance.begun,
            "Finished": attendance.finished,
            "Answers": attendance.judgements,
        }.items(),
        strict=True,
    ):
        column.metric(label, f"{value:,}")
    if study.state == "open":
        with st.form("invite", border=True):
            names = st.text_area(
                "Invite, one name or label a line; only you see them",
                placeholder="listener 1",
                key=f"audit_names_{attendance.invited}",  # empty again once they are invited
            )
            days = st.number_input("Links are good for so many days", 1, 365, 30)
            if st.form_submit_button("Make links", type="primary") and names.strip():
                wanted = [name for name in names.splitlines() if name.strip()]
                _act(lambda: services.audits.invite(study.study_id, wanted, days=days))
    made = services.audits.store.invitations(study.study_id)
    if not made:
        return
    base = _base(services)
    finished = {item.invitation_id: item for item in services.audits.store.sittings(study.study_id)}
    st.dataframe(
        pd.DataFrame(
            {
                "Listener": [item.listener for item in made],
                "State": [_state(item, finished.get(item.invitation_id)) for item in made],
                "Link": [base + services.audits.link(item) for item in made],
                "Good until": [item.expires_at[:16].replace("T", " ") for item in made],
                "Last seen": [item.seen_at[:16].replace("T", " ") for item in made],
            }
        ),
        hide_index=True,
        column_config={"Link": st.column_config.LinkColumn("Link", display_text="open")},
    )
    st.caption(
        "A link opens one sitting and nothing else, on any device, and goes on where it stopped."
        f" Links begin with {base}; set KINDRED_PUBLIC_URL if listeners reach this machine under"
        " another address. `kindred audit serve` serves the sittings alone."
    )
    links = io.StringIO(newline="")
    csv.writer(links).writerows([item.listener, base + services.audits.link(item)] for item in made)
    with st.container(horizontal=True):
        st.download_button("Links as CSV", links.getvalue().encode(), "links.csv", "text/csv")
        open_ones = {item.invitation_id: item.listener for item in made if not item.revoked_at}
        if open_ones:
            with st.popover("Revoke"):
                chosen = st.selectbox(
                    "Whose link", list(open_ones), format_func=open_ones.__getitem__
                )
                if st.button("Revoke it"):
                    _act(lambda: services.audits.store.revoke(chosen))
        if study.state == "open":
            with st.popover("Close the study"):
                st.caption("Its links stop working, for good. Answers stay.")
                if st.button("Close it", type="primary"):
                    _act(lambda: services.audits.close(study.study_id))


def _state(invitation: Invitation, sitting: object) -> str:
    if getattr(sitting, "finished_at", ""):
        return "finished"
    if invitation.revoked_at:
        return "revoked"
    return "begun" if getattr(sitting, "consented_at", "") else "not begun"


def _base(services: Services) -> str:
    """Where links lead: as set, else as this page was reached."""
    if services.settings.public_url:
        return services.public_url()
    here = st.context.url or services.public_url()
    scheme, _, rest = here.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _act(action: Callable[[], object]) -> None:
    try:
        action()
    except KindredError as error:
        st.error(str(error))
    else:
        st.rerun()
