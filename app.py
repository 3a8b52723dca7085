"""Kindred's pages. `kindred serve` runs this in one process with the API and the audio."""

import streamlit as st

st.set_page_config(page_title="Kindred", page_icon=":material/graphic_eq:", layout="wide")

st.navigation(
    [
        st.Page(
            "pages/similar.py",
            title="Similar",
            icon=":material/graphic_eq:",
            url_path="similar",
            default=True,
        ),
        st.Page(
            "pages/library.py",
            title="Library",
            icon=":material/library_music:",
            url_path="library",
        ),
    ],
    position="top",
).run()
