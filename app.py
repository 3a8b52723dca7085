"""Kindred's pages. `kindred serve` runs this in one process with the API and the audio.

Nothing a page needs is here: a deep link may run a page without this file.
"""

import streamlit as st

st.navigation(
    [
        st.Page("pages/home.py", title="Kindred", default=True),
        st.Page(
            "pages/similar.py",
            title="Similar",
            url_path="similar",
        ),
        st.Page(
            "pages/library.py",
            title="Library",
            url_path="library",
        ),
        st.Page("pages/map.py", title="Map", url_path="map"),
        st.Page("pages/evaluate.py", title="Evaluate", url_path="evaluate"),
        st.Page("pages/audit.py", title="Audit", url_path="audit"),
        st.Page("pages/expressive.py", title="Expressive", url_path="expressive"),
        st.Page("pages/models.py", title="Models", url_path="models"),
        st.Page("pages/storage.py", title="Storage", url_path="storage"),
    ],
    position="top",
).run()
