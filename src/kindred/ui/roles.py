"""Who is at the page: an organiser may design audits and read their results, a listener may not.

Without sign-in there is one person, who is everything. With it (st.login, OIDC), organisers are
those whose address KINDRED_ORGANISERS names. Annotators see no page at all, only their sitting.
"""

from __future__ import annotations

from typing import Literal

import streamlit as st

from kindred.config import Settings
from kindred.ui.gate import address_of, has_oidc, is_member, named

Role = Literal["organiser", "listener"]


def role(settings: Settings) -> Role:
    """The role of who is at the page."""
    if not has_oidc():
        return "organiser"
    return "organiser" if address_of(st.user) in named(settings.organisers) else "listener"


def demand_sign_in() -> None:
    """Where people sign in: offer it to who has not, and stop the page."""
    if not has_oidc() or st.user.is_logged_in:
        return
    st.title("Kindred")
    st.info("Sign in to come in.", icon=":material/login:")
    st.button("Sign in", on_click=st.login, type="primary")
    st.stop()


def demand_membership(settings: Settings) -> None:
    """Where people sign in and KINDRED_MEMBERS says who may: stop the page for anybody else."""
    if not has_oidc() or is_member(settings, address_of(st.user)):
        return
    st.title("Kindred")
    st.error("This address may not come in. Ask who runs this Kindred.", icon=":material/lock:")
    st.button("Sign out", on_click=st.logout)
    st.stop()
