"""Who reaches pages and audio, decided before anything answers.

============================  =====================================================================
listening on                  pages, ``/audio``, ``/clips``, ``/thumbnail``
============================  =====================================================================
localhost, without OIDC       open: one person, on their own machine
beyond, with an access key    open to a browser that has signed in with the key
with OIDC, wherever           pages ask for st.login themselves; media need its signed cookie
beyond, with neither          closed; the answer says how to open them
============================  =====================================================================

``/listen`` is always open: each of its links is a signed invitation of its own
(:mod:`kindred.api.listening`). So is ``/api``, which has its own key. Somebody with an invitation
has neither cookie nor key and so reaches their sitting alone.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Literal
from urllib.parse import parse_qs

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kindred.api.access import is_loopback
from kindred.config import Settings

COOKIE = "kindred_session"
_DAYS_30 = 30 * 24 * 3600
#: Answer for themselves who may come in.
_OPEN = ("/listen/", "/api/")
_MEDIA = ("/audio", "/clips", "/thumbnail")
_MAX_FORM = 4_096
_WRONG_KEY_SECONDS = 0.5

Mode = Literal["open", "key", "oidc", "closed"]


def has_oidc() -> bool:
    """Whether Streamlit's secrets have an ``[auth]`` section, so that people sign in by OIDC."""
    from streamlit.auth_util import get_secrets_auth_section

    return bool(get_secrets_auth_section())


def mode_of(host: str, settings: Settings, *, oidc: bool) -> Mode:
    """How the gate stands for a server that listens on an address."""
    if oidc:
        return "oidc"
    if is_loopback(host):
        return "open"
    return "key" if settings.api_key.get_secret_value().strip() else "closed"


def named(text: str) -> set[str]:
    """The addresses, or @domains, of a setting."""
    return {item.strip().casefold() for item in text.split(",")} - {""}


def address_of(claims: Mapping[str, Any]) -> str:
    """A signed-in person's address; only one that the provider vouches for counts."""
    verified = claims.get("email_verified", True)  # some providers send it as text
    return str(claims.get("email") or "").casefold() if verified in (True, "true") else ""


def is_member(settings: Settings, address: str) -> bool:
    """Whether somebody who has signed in may come in."""
    members = named(settings.members)
    domain = f"@{address.rpartition('@')[2]}"
    known = members | named(settings.organisers)
    return not members or (bool(address) and (address in known or domain in members))


class Gate:
    """ASGI middleware.

    Parameters
    ----------
    app : ASGIApp
    mode : {"open", "key", "oidc", "closed"}
    key : str
        The access key of mode "key"; a new one ends every session.
    admits : callable
        Of mode "oidc": whether an address may come in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        mode: Mode,
        key: str = "",
        admits: Callable[[str], bool] = lambda address: True,
    ) -> None:
        self.app, self.mode, self.key, self.admits = app, mode, key.strip(), admits
        self.sessions = URLSafeTimedSerializer(self.key or "none", salt="kindred pages")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self.mode == "open":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        connection = HTTPConnection(scope)
        if path.startswith(_OPEN) or path == "/_stcore/health" or self._may_enter(connection, path):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401, "reason": "Sign in first."})
        else:
            await (await self._refuse(Request(scope, receive)))(scope, receive, send)

    def _may_enter(self, connection: HTTPConnection, path: str) -> bool:
        if self.mode == "oidc":
            claims = _claims(connection) if _below(path, _MEDIA) else {}
            return claims is not None and (not claims or self.admits(address_of(claims)))
        if self.mode == "closed":
            return False
        try:
            self.sessions.loads(connection.cookies.get(COOKIE, ""), max_age=_DAYS_30)
        except BadData:
            return False
        return True

    async def _refuse(self, request: Request) -> Response:
        if self.mode == "closed":
            return PlainTextResponse(
                "This server listens beyond localhost, and nobody has said who may come in. Set"
                " KINDRED_API_KEY and start it again, or listen on 127.0.0.1.\n",
                status_code=403,
            )
        if request.url.path == "/sign-in":
            return await self._sign_in(request)
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/sign-in", status_code=303)
        return PlainTextResponse("Sign in first, at /sign-in.\n", status_code=401)

    async def _sign_in(self, request: Request) -> Response:
        if request.method != "POST":
            return _page()
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM:
                return _page("That is too long for a key.", 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            await asyncio.sleep(_WRONG_KEY_SECONDS)
            return _page("This is not the key.", 401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            str(self.sessions.dumps("in")),
            max_age=_DAYS_30,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer


def _below(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _claims(connection: HTTPConnection) -> dict[str, Any] | None:
    """What the cookie says that Streamlit signs after st.login; ``None`` without a valid one."""
    from streamlit.web.server.server_util import AUTH_COOKIE_NAME
    from streamlit.web.server.starlette import starlette_auth_routes as auth

    try:
        request = Request(connection.scope)
        signed = auth._get_cookie_value_from_request(request, AUTH_COOKIE_NAME)
        claims = json.loads(signed) if signed else None
    except Exception:  # noqa: BLE001
        return None  # whatever is wrong with a cookie, it lets nobody in
    return claims if isinstance(claims, dict) and claims else None


def _page(problem: str = "", status: int = 200) -> HTMLResponse:
    said = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return HTMLResponse(
        _HTML.replace("<!-- said -->", said),
        status,
        {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )


_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Kindred</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif; }
body { min-height: 90vh; display: grid; place-items: center; margin: 0 1rem; }
form { display: grid; gap: .8rem; width: min(22rem, 100%); }
h1 { margin: 0; font-size: 1.5rem; }
input, button { font: inherit; padding: .6rem .8rem; border-radius: .5rem; border: 1px solid gray; }
button { background: #2f5fd0; color: white; border: 0; cursor: pointer; }
[role=alert] { color: light-dark(#b3261e, #ffb4ab); margin: 0; }
</style>
<form method="post" action="/sign-in">
<h1>Kindred</h1>
<label for="key">Access key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<!-- said -->
<button>Come in</button>
</form></html>
"""
