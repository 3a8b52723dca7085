"""The form in which an organiser designs a study, and what it says while it is filled in."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import Any

import streamlit as st

from kindred.audit.power import summary
from kindred.audit.study import ASPECTS, FORMS, Design, Exclusions
from kindred.errors import KindredError
from kindred.services import Services
from kindred.ui.jobs import start

_FORM_NAMES = {"ab": "A or B", "graded": "Grades", "odd": "Odd one out"}


def design_form(services: Services) -> None:
    """Choose what is asked, of whom, and by which rules; start the job that draws it."""
    known = list(services.audits.systems())
    if not known:
        st.info(
            "No encoder has vectors of this library yet, so there is nothing to compare.",
            icon=":material/hourglass_empty:",
        )
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        design = _chosen(known)
    with right:
        st.subheader("What it can find")
        try:
            design.check()
        except KindredError as error:
            st.info(str(error), icon=":material/edit:")
            return
        st.markdown("\n".join(f"- {sentence}" for sentence in summary(design)))
        st.caption(
            "Everything chosen here, the rules of exclusion too, is frozen when the study opens,"
            " and every answer carries its hash."
        )
        if st.button("Draw it", type="primary", icon=":material/casino:"):
            start(services, "audit", {"design": asdict(design)})
        st.caption("Items are drawn and clips prepared; nobody is asked until you open it.")


def _chosen(known: list[str]) -> Design:
    title = st.text_input("Title", "Listening study", help="Only you see it.")
    given: dict[str, Any] = {"title": title}
    form = st.segmented_control(
        "Form",
        list(FORMS),
        format_func=_FORM_NAMES.__getitem__,
        default="ab",
        required=True,
    )
    st.caption(FORMS[form][0])
    aspect = st.selectbox(
        "What is asked about", list(ASPECTS), format_func=lambda name: name.capitalize()
    )
    st.caption(ASPECTS[aspect][1])
    given |= {"form": form, "aspect": aspect}
    default = known[:2] if form == "ab" else known[:1]
    given["systems"] = tuple(
        st.multiselect(
            "Systems",
            known,
            default=default,
            help="Encoders, and how they rank: plain cosine, or rescaled against hubs.",
        )
    )
    a, b, c, d = st.columns(4)
    given["trials"] = int(a.number_input("Real trials", 1, 200, 20))
    given["catches"] = int(b.number_input("Catch trials", 0, 60, 6, help="Their answer is known."))
    given["repeats"] = int(
        c.number_input("Repeats", 0, 60, 4, help="Asked again, the other way round.")
    )
    given["practice"] = int(d.number_input("Practice", 0, 10, 2))
    a, b, c = st.columns(3)
    given["listeners"] = int(a.number_input("Listeners expected", 1, 10_000, 10))
    given["overlap"] = int(
        b.number_input("Listeners an item", 1, 1_000, 3, help="At least so many hear each item.")
    )
    given["clip_seconds"] = float(c.number_input("Clip, seconds", 1.0, 60.0, 10.0, 1.0))
    with st.expander("Clips, sampling and rules of exclusion"):
        given["clip_choice"] = st.selectbox(
            "Which stretch is heard",
            ["matching", "random"],
            format_func={
                "matching": "where the first system finds both most alike",
                "random": "any",
            }.__getitem__,
        )
        given["stratify"] = st.selectbox(
            "Queries are drawn evenly from", ["composer", "cluster", "none"]
        )
        given["k"] = int(st.number_input("How deep answers are looked at", 1, 100, 5))
        given["match_loudness"] = st.checkbox(
            "Bring all clips to -23 LUFS", aspect != "dynamics", key=f"audit_loudness_{aspect}"
        )
        st.session_state.setdefault("audit_seed", secrets.randbelow(1_000_000))
        given["seed"] = int(st.number_input("Seed", 0, 1_000_000, key="audit_seed"))
        st.markdown("**A listener's answers do not count when**")
        catches = st.slider("fewer catch trials are right than", 0.0, 1.0, 5 / 6, 0.01)
        kappa = st.slider(
            "repeats agree less than (weighted kappa; -1: no matter)", -1.0, 1.0, -1.0, 0.05
        )
        fast = st.number_input("an answer is hasty under so many seconds", 0.0, 60.0, 0.3, 0.1)
        hasty = st.slider("and more answers are hasty than", 0.0, 1.0, 0.25, 0.05)
        given["exclusions"] = Exclusions(
            min_catches=catches, min_repeat_agreement=kappa, min_seconds=fast, max_hasty=hasty
        )
    return Design(**given)
