"""What every page needs: the services of this process, made once."""

from __future__ import annotations

import streamlit as st

from kindred.services import Services, build

_shared: Services | None = None


def share(services: Services) -> None:
    """Let the pages of this process use services that exist already."""
    global _shared  # noqa: PLW0603
    _shared = services


@st.cache_resource(show_spinner=False)
def _built() -> Services:
    return build()


def services() -> Services:
    """Return the services, built from the environment on first use."""
    return _shared if _shared is not None else _built()
