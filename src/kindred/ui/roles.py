"""Who is at the page: an organiser may design audits and read their results, a listener may not.

Without sign-in there is one person, who is everything. With it (st.login, OIDC), organisers are
those whose address KINDRED_ORGANISERS names. Annotators see no page at all, only their sitting.
"""

from __future__ import annotations

from typing import Literal

import streamlit as st

from kindred.config import Settings
from kindred.ui.gate import has_oidc

Role = Literal["organiser", "listener"]


def role(settings: Settings) -> Role:
    """The role of who is at the page."""
    if not has_oidc():
        return "organiser"
    named = {item.strip().casefold() for item in settings.organisers.split(",")} - {""}
    return "organiser" if _address() in named else "listener"


def demand_sign_in() -> None:
    """Where people sign in: offer it to who has not, and stop the page."""
    if not has_oidc() or st.user.is_logged_in:
        return
    st.title("Kindred")
    st.info("Sign in to come in.", icon=":material/login:")
    st.button("Sign in", on_click=st.login, type="primary")
    st.stop()


def _address() -> str:
    """The signed-in person's address; only one that the provider vouches for counts."""
    verified = st.user.get("email_verified", True)  # some providers send it as text
    return str(st.user.get("email") or "").casefold() if verified in (True, "true") else ""
