"""Home: what this is, and somewhere to begin."""

import streamlit as st

from kindred.ui import frame
from kindred.ui.jobs import job_button, show_jobs
from kindred.ui.suggestions import start_anywhere
from kindred.ui.tracks import library_view

STEPS = (
    (":material/headphones:", "Listen", "Press play on any cover. One player follows you around."),
    (
        ":material/graphic_eq:",
        "Hop",
        "**More like this** looks for what sounds alike. **Less like this** steers away.",
    ),
    (
        ":material/balance:",
        "See why",
        "Every match says how much of it is timbre, harmony, rhythm and dynamics.",
    ),
)


def page() -> None:
    """Draw the page."""
    services = frame.begin("Kindred", "Explore a music library by ear.")
    for column, (icon, name, text) in zip(st.columns(3), STEPS, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"{icon} **{name}**")
            st.caption(text)
    view = library_view(services)
    if not view.labels:
        st.info(
            "The library is empty. The demo library takes about two minutes: scores of composers"
            " from Palestrina to Joplin, played by synthesised ensembles.",
            icon=":material/library_music:",
        )
        with st.container(horizontal=True):
            job_button(
                services,
                "demo",
                {},
                label="Build the demo library",
                icon=":material/auto_awesome:",
                type="primary",
            )
            st.page_link(
                "pages/library.py", label="Add your own music", icon=":material/library_music:"
            )
        show_jobs(services)
        frame.end()
        return
    st.subheader("Start anywhere")
    st.caption(f"Six of {len(view.labels):,} tracks.")
    frame.end(start_anywhere(services, view, key="home_start"))


page()
