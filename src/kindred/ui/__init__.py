"""Everything shared by the Streamlit pages; the only place in src that imports streamlit."""
