"""Who reaches what: an invitation opens a sitting and nothing else."""

from __future__ import annotations

import pytest
from itsdangerous import URLSafeTimedSerializer
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from kindred.config import Settings
from kindred.ui import gate
from kindred.ui.gate import COOKIE, Gate, Mode, is_member, mode_of

KEY = "a key that is long"
PAGES = ["/", "/similar", "/audit", "/_stcore/host-config", "/static/x.js", "/media/abc.mp3"]
MEDIA = ["/audio/t1", "/thumbnail/t1"]
OWN = ["/listen/token/state", "/listen/static/listen.js", "/api/tracks", "/_stcore/health"]


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"inside {request.url.path}")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("inside")
    await socket.close()


def client(mode: Mode, key: str = KEY) -> TestClient:
    inner = Starlette(
        routes=[
            WebSocketRoute("/_stcore/stream", talk),
            Route("/{path:path}", answer, methods=["GET", "POST"]),
        ]
    )
    return TestClient(Gate(inner, mode=mode, key=key), follow_redirects=False)  # type: ignore[arg-type]


@pytest.fixture
def keyed() -> TestClient:
    return client("key")


def inside(found: TestClient, path: str) -> bool:
    return found.get(path).text == f"inside {path}"


@pytest.mark.parametrize(
    ("host", "key", "oidc", "mode"),
    [
        ("127.0.0.1", "", False, "open"),
        ("localhost", KEY, False, "open"),
        ("::1", "", False, "open"),
        ("0.0.0.0", KEY, False, "key"),
        ("192.168.1.2", KEY, False, "key"),
        ("0.0.0.0", "", False, "closed"),
        ("0.0.0.0", "  ", False, "closed"),
        ("0.0.0.0", "", True, "oidc"),
        ("127.0.0.1", "", True, "oidc"),
    ],
)
def test_mode(host: str, key: str, oidc: bool, mode: str) -> None:
    assert mode_of(host, Settings(api_key=SecretStr(key)), oidc=oidc) == mode


def test_on_localhost_all_is_open() -> None:
    assert all(inside(client("open"), path) for path in [*PAGES, *MEDIA, *OWN])


@pytest.mark.parametrize("mode", ["key", "closed"])
def test_without_signing_in_only_what_asks_for_itself_answers(mode: Mode) -> None:
    found = client(mode)
    assert all(inside(found, path) for path in OWN)
    like = ["/listen", "/api", "/listening", "/apix", "/_stcore/healthy", "//audio/t1"]
    for path in [*PAGES, *MEDIA, *like]:
        refused = found.get(path)
        assert refused.status_code in (401, 403), path
        assert "inside" not in refused.text
    with pytest.raises(WebSocketDisconnect), found.websocket_connect("/_stcore/stream"):
        pass


def test_a_browser_is_led_to_the_key(keyed: TestClient) -> None:
    led = keyed.get("/similar", headers={"Accept": "text/html"})
    assert (led.status_code, led.headers["location"]) == (303, "/sign-in")
    assert 'name="key"' in keyed.get("/sign-in").text


def test_the_key_opens_everything_for_a_browser(keyed: TestClient) -> None:
    entered = keyed.post("/sign-in", data={"key": f" {KEY} "})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert KEY not in cookie
    assert all(inside(keyed, path) for path in [*PAGES, *MEDIA])
    with keyed.websocket_connect("/_stcore/stream") as socket:
        assert socket.receive_text() == "inside"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("key=wrong", 401),
        ("key=", 401),
        ("", 401),
        ("key=%ff%00", 401),
        ("key=" + "x" * 9_000, 413),
    ],
)
def test_a_wrong_key_opens_nothing(
    keyed: TestClient, monkeypatch: pytest.MonkeyPatch, body: str, status: int
) -> None:
    monkeypatch.setattr(gate, "_WRONG_KEY_SECONDS", 0.0)
    refused = keyed.post("/sign-in", content=body)
    assert refused.status_code == status
    assert "set-cookie" not in refused.headers
    assert "alert" in refused.text


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "in",
        str(URLSafeTimedSerializer("another key", salt="kindred pages").dumps("in")),
        str(URLSafeTimedSerializer(KEY, salt="invitation").dumps("in")),
    ],
    ids=["none", "unsigned", "another key", "another salt"],
)
def test_a_forged_session_opens_nothing(keyed: TestClient, cookie: str) -> None:
    keyed.cookies.set(COOKIE, cookie)
    assert keyed.get("/audio/t1").status_code == 401


def test_a_session_ends(keyed: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed.post("/sign-in", data={"key": KEY})
    assert inside(keyed, "/")
    monkeypatch.setattr(gate, "_DAYS_30", -1)
    assert keyed.get("/").status_code == 401


def test_where_people_sign_in_media_need_the_cookie_that_streamlit_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from streamlit.web.server.starlette import starlette_auth_routes as auth
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    monkeypatch.setattr(auth, "get_cookie_secret", lambda: "secret")
    found = client("oidc", key="")
    assert all(inside(found, path) for path in [*PAGES, *OWN])
    assert all(found.get(path).status_code == 401 for path in MEDIA)
    found.cookies.set(auth.USER_COOKIE_NAME, "made-up")
    assert all(found.get(path).status_code == 401 for path in MEDIA)
    signed = create_signed_value("secret", auth.USER_COOKIE_NAME, '{"email": "a@example.org"}')
    found.cookies.set(auth.USER_COOKIE_NAME, signed.decode())
    assert all(inside(found, path) for path in MEDIA)


@pytest.mark.parametrize(
    ("members", "address", "admitted"),
    [
        ("", "anybody@example.org", True),
        ("", "", True),
        ("one@example.org", "one@example.org", True),
        (" One@Example.org ", "one@example.org", True),
        ("one@example.org", "two@example.org", False),
        ("@example.org", "two@example.org", True),
        ("@example.org", "two@sub.example.org", False),
        ("@example.org", "two@example.org.evil.net", False),
        ("one@example.org", "", False),
        ("one@example.org", "boss@example.net", True),
    ],
)
def test_members(members: str, address: str, admitted: bool) -> None:
    settings = Settings(members=members, organisers="boss@example.net")
    assert is_member(settings, address) is admitted


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ('{"email": "in@example.org"}', 200),
        ('{"email": "out@example.org"}', 401),
        ('{"email": "in@example.org", "email_verified": false}', 401),
        ('{"name": "in@example.org"}', 401),
        ("{}", 401),
        ("[]", 401),
        ("no JSON", 401),
    ],
)
def test_media_are_for_members(monkeypatch: pytest.MonkeyPatch, claims: str, status: int) -> None:
    from streamlit.web.server.starlette import starlette_auth_routes as auth
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    monkeypatch.setattr(auth, "get_cookie_secret", lambda: "secret")
    inner = Starlette(routes=[Route("/{path:path}", answer)])
    gated = Gate(inner, mode="oidc", admits=lambda address: address == "in@example.org")
    found = TestClient(gated)  # type: ignore[arg-type]
    signed = create_signed_value("secret", "_streamlit_user", claims)
    found.cookies.set("_streamlit_user", signed.decode())
    assert found.get("/audio/t1").status_code == status
