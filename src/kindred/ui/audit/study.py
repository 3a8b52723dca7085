"""One study: what was drawn, who is invited, how far they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pandas as pd
import streamlit as st

from kindred.audit.power import summary
from kindred.audit.store import Invitation, Sitting
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
    skipped = (
        f"; {facts['skipped']} of {facts['asked']} queries gave nothing to ask, mostly since the"
        " systems agree"
        if facts.get("skipped")
        else ""
    )
    st.markdown(
        f"{kinds['real']} items, {kinds['catch']} catch trials and {kinds['practice']} for practice"
        f" were drawn{skipped}."
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
    with st.expander("Listen to the catch trials"):
        _listen(services, study)
    with st.expander("The whole design, as it will be frozen"):
        st.json(asdict(design))
    with st.container(horizontal=True):
        if st.button("Open it", type="primary", icon=":material/lock:"):
            _act(lambda: services.audits.store.open_study(study.study_id))
        if st.button("Drop it", icon=":material/delete:"):
            _act(lambda: _drop(services, study))


def _drop(services: Services, study: Study) -> None:
    services.audits.store.drop_draft(study.study_id)
    st.query_params.pop("study", None)


def _listen(services: Services, study: Study) -> None:
    """A catch trial as it will be heard: whether its answer is as easy as it should be."""
    design, catches = study.design, study.of_kind("catch")
    if not catches:
        st.caption("There are none.")
        return
    number = st.selectbox(
        "Catch trial", range(len(catches)), format_func=lambda at: f"{at + 1} of {len(catches)}"
    )
    item = catches[number]
    names = ["Reference"] if item.reference else []
    names += [
        f"Candidate {index + 1}" + (", expected" if index == item.expected else "")
        for index in range(len(item.candidates))
    ]
    columns = st.columns(len(names))
    for column, name, clip in zip(columns, names, item.clips, strict=True):
        path = services.audits.clips.path(
            clip,
            seconds=design.clip_seconds,
            fade=design.fade_seconds,
            match_loudness=design.match_loudness,
        )
        column.caption(name)
        column.audio(str(path), format="audio/mpeg")


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
                    f"Candidate {index + 1}": f"{name(candidate.clip)} ({answered(item, index)})"
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
    with st.container(horizontal=True):
        st.metric("Invited", f"{attendance.invited:,}")
        st.metric("Begun", f"{attendance.begun:,}")
        st.metric("Finished", f"{attendance.finished:,}")
        st.metric("Answers", f"{attendance.judgements:,}")
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
    sittings = {item.invitation_id: item for item in services.audits.store.sittings(study.study_id)}
    now = services.audits.store.now()
    st.dataframe(
        pd.DataFrame(
            {
                "Listener": [item.listener for item in made],
                "State": [_state(item, sittings.get(item.invitation_id), now) for item in made],
                "Link": [base + services.audits.link(item) for item in made],
                "Good until, UTC": [item.expires_at[:16].replace("T", " ") for item in made],
                "Last seen, UTC": [item.seen_at[:16].replace("T", " ") for item in made],
            }
        ),
        hide_index=True,
        column_config={"Link": st.column_config.LinkColumn("Link", width="large")},
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
        open_ones = {  # numbered as in the table: one listener may have several links
            item.invitation_id: f"{number}. {item.listener}"
            for number, item in enumerate(made, 1)
            if not item.revoked_at
        }
        if open_ones:
            with st.popover("Revoke"):
                chosen = st.selectbox(
                    "Whose link",
                    list(open_ones),
                    index=None,  # who comes next in the list is not revoked by a second click
                    format_func=open_ones.__getitem__,
                    key=f"audit_revoke_{len(open_ones)}",
                )
                if st.button("Revoke it", disabled=chosen is None) and chosen:
                    _act(lambda: services.audits.store.revoke(chosen))
        if study.state == "open":
            with st.popover("Close the study"):
                st.caption("Its links stop working, for good. Answers stay.")
                if st.button("Close it", type="primary"):
                    _act(lambda: services.audits.close(study.study_id))


def _state(invitation: Invitation, sitting: Sitting | None, now: str) -> str:
    if sitting and sitting.finished_at:
        return "finished"
    if invitation.revoked_at:
        return "revoked"
    if now >= invitation.expires_at:
        return "expired"
    return "begun" if sitting and sitting.consented_at else "not begun"


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
