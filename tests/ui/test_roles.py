"""Who may run audits. Bad input: other case, blanks, nobody named, addresses nobody vouches for."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from kindred.config import Settings
from kindred.ui import roles

NAMED = " One@Example.org ,two@example.org,, "


def sign_in(monkeypatch: pytest.MonkeyPatch, **claims: Any) -> None:
    monkeypatch.setattr(roles, "has_oidc", lambda: True)
    monkeypatch.setattr(st, "user", claims)


def role(organisers: str = NAMED) -> str:
    return roles.role(Settings(organisers=organisers))


@pytest.mark.parametrize("organisers", ["", NAMED])
def test_without_sign_in_there_is_one_person(
    monkeypatch: pytest.MonkeyPatch, organisers: str
) -> None:
    monkeypatch.setattr(roles, "has_oidc", lambda: False)
    assert role(organisers) == "organiser"


@pytest.mark.parametrize("email", ["one@example.org", "ONE@EXAMPLE.ORG", "two@example.org"])
@pytest.mark.parametrize("verified", [{}, {"email_verified": True}, {"email_verified": "true"}])
def test_who_is_named_is_an_organiser(
    monkeypatch: pytest.MonkeyPatch, email: str, verified: dict[str, Any]
) -> None:
    sign_in(monkeypatch, email=email, **verified)
    assert role() == "organiser"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": None},
        {"email": ""},
        {"email": "three@example.org"},
        {"email": "one@example.org.evil.net"},
        {"email": "one@example.org,two@example.org"},
        {"email": " one@example.org"},
        {"email": "one@example.org", "email_verified": False},
        {"email": "one@example.org", "email_verified": "false"},
        {"email": "one@example.org", "email_verified": None},
        {"name": "one@example.org"},
    ],
)
def test_anybody_else_is_a_listener(
    monkeypatch: pytest.MonkeyPatch, claims: dict[str, Any]
) -> None:
    sign_in(monkeypatch, **claims)
    assert role() == "listener"


@pytest.mark.parametrize("organisers", ["", " , ,"])
@pytest.mark.parametrize("email", ["", "one@example.org"])
def test_where_nobody_is_named_nobody_is_an_organiser(
    monkeypatch: pytest.MonkeyPatch, organisers: str, email: str
) -> None:
    sign_in(monkeypatch, email=email)
    assert role(organisers) == "listener"


class Stopped(Exception):
    """The page was stopped."""


@pytest.mark.parametrize(
    ("members", "email", "stopped"),
    [
        ("", "one@example.org", False),
        ("@example.org", "one@example.org", False),
        ("@example.org", "one@example.net", True),
        ("@example.org", "", True),
    ],
)
def test_a_page_is_for_members(
    monkeypatch: pytest.MonkeyPatch, members: str, email: str, stopped: bool
) -> None:
    def stop() -> None:
        raise Stopped

    sign_in(monkeypatch, email=email)
    monkeypatch.setattr(st, "stop", stop)
    settings = Settings(members=members)
    if stopped:
        with pytest.raises(Stopped):
            roles.demand_membership(settings)
    else:
        roles.demand_membership(settings)
