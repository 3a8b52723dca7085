"""What an invitation opens on a server that other machines reach: one sitting and nothing else.

Asked for with the link alone: pages, their websocket and files, the API, audio and pictures by id,
another listener's clips, results; with an access key set, without one, where people sign in by
OIDC, and on a server of sittings alone. Bad links: forged, cut, another salt, revoked, closed; the
secret of the links is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from itsdangerous import URLSafeSerializer
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from streamlit.runtime import Runtime

from kindred.api.listening.serving import standalone
from kindred.audit.views import clip_name
from kindred.config import Settings
from kindred.services import Services, build
from kindred.ui import context, gate, server
from tests.audit.library import opened, plant

KEY = "a key that is long"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with an open study, to be shared."""
    folder = tmp_path_factory.mktemp("reach")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(folder / "library"), model_dir=str(folder / "models"))
        plant(services.storage, folder / "music", services.space())
        opened(services.audits, "descriptors", "descriptors, csls", listeners=40)
        services.close()
    return folder / "library"


@pytest.fixture(autouse=True)
def _leave_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "_instance", None)  # Streamlit runs once in a process
    monkeypatch.setattr(server, "_served", False)
    monkeypatch.setattr(context, "share", lambda services: None)


@pytest.fixture(params=["key", "closed", "oidc"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the server decides who may see pages."""
    monkeypatch.setattr(gate, "has_oidc", lambda: request.param == "oidc")
    if request.param == "key":
        monkeypatch.setenv("KINDRED_API_KEY", KEY)
    return str(request.param)


@pytest.fixture
def services(home: Path, mode: str) -> Iterator[Services]:
    built = build(home=str(home))
    yield built
    built.close()


@pytest.fixture
def anybody(services: Services) -> Iterator[TestClient]:
    """Somebody at another machine, with neither key nor cookie."""
    app = server.create_app(services, host="0.0.0.0")
    with TestClient(app, base_url="http://kindred.example.org", follow_redirects=False) as client:
        yield client


@pytest.fixture
def alone(services: Services) -> TestClient:
    """The server of `kindred audit serve`."""
    return TestClient(standalone(services.audits.sittings), follow_redirects=False)


def invite(services: Services, name: str = "Ears") -> str:
    """The path of a new link."""
    [study] = services.audits.store.studies()
    return services.audits.invite(study.study_id, [name])[0][1]


def to_trial(client: TestClient, link: str) -> dict[str, str]:
    """Go to the first trial; slot -> address of the clip."""
    client.post(f"{link}/consent", json={"device": {"width": 800, "touch": False}})
    sides = client.get(f"{link}/state").json()["sound_check"]["sides"]
    client.post(f"{link}/sound-check", json={"volume_ok": True, "sides": sides, "heard": sides})
    view = client.post(f"{link}/begin", json={}).json()
    return {clip["slot"]: f"/listen/{clip['url']}" for clip in view["trial"]["clips"]}


def check_own_sitting(client: TestClient, link: str) -> None:
    page = client.get(link)
    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    assert client.get(f"{link}/state").json()["stage"] == "consent"
    for address in to_trial(client, link).values():
        clip = client.get(address)
        assert (clip.status_code, clip.headers["content-type"]) == (200, "audio/mpeg")
        part = client.get(address, headers={"Range": "bytes=0-9"})
        assert (part.status_code, len(part.content)) == (206, 10)
    assert "set-cookie" not in client.get(f"{link}/state").headers


def test_a_link_opens_its_sitting(anybody: TestClient, services: Services) -> None:
    check_own_sitting(anybody, invite(services))


def test_a_link_opens_its_sitting_where_there_is_nothing_else(
    alone: TestClient, services: Services
) -> None:
    check_own_sitting(alone, invite(services))


PAGES = ["/", "/audit", "/audit?study=x", "/similar", "/library", "/storage", "/index.html",
         "/media/x", "/media/x.mp3", "/_stcore/host-config", "/_stcore/upload_file/x/y",
         "/component/x/index.html", "/app/static/x", "/static/x.js"]  # fmt: skip
MEDIA = ["/audio/t00", "/thumbnail/t00", "/audio/t00?start=0", "/audio/nothing"]
API = ["/api/tracks", "/api/tracks/t00", "/api/tracks/t00/nearest", "/api/maps", "/api/evaluations",
       "/api/audit", "/api/audits"]  # fmt: skip


def test_with_a_link_alone_nothing_else_is_reached(
    anybody: TestClient, services: Services, mode: str
) -> None:
    link = invite(services)
    to_trial(anybody, link)
    headers = {"Referer": f"http://kindred.example.org{link}"}
    refused = [*MEDIA, *API] + (PAGES if mode != "oidc" else [])
    for address in refused:
        for token in ("", link.rpartition("/")[2]):
            parts = f"{address}{'&' if '?' in address else '?'}token={token}" if token else address
            auth = {"Authorization": f"Bearer {token}", "X-API-Key": token} if token else {}
            answer = anybody.get(parts, headers=headers | auth)
            assert answer.status_code in (401, 403, 404), (address, answer.status_code)
            assert "Piece" not in answer.text
            if not address.startswith("/api"):
                assert answer.status_code in (401, 403), address
    browser = anybody.get("/audit", headers=headers | {"Accept": "text/html"})
    if mode == "key":
        assert (browser.status_code, browser.headers["location"]) == (303, "/sign-in")
    if mode == "closed":
        assert browser.status_code == 403


@pytest.mark.parametrize("mode", ["key", "closed"], indirect=True)  # OIDC: pages ask themselves
def test_with_a_link_alone_pages_do_not_talk(anybody: TestClient, services: Services) -> None:
    token = invite(services).rpartition("/")[2]
    for address in ("/_stcore/stream", f"/_stcore/stream?token={token}", "/audit/_stcore/stream"):
        with pytest.raises(WebSocketDisconnect) as refused, anybody.websocket_connect(address):
            pass
        assert refused.value.code == 4401


def test_what_lies_beside_a_sitting_is_not_there(anybody: TestClient, services: Services) -> None:
    link = invite(services)
    to_trial(anybody, link)
    for address in (
        f"{link}/results", f"{link}/export", f"{link}/judgements", f"{link}/audio/t00",
        f"{link}/clip/t00", f"{link}/clip/audit.db", f"{link}/clip/" + "0" * 32,
        "/listen/static/app.py", "/listen/static/audit.db", "/listen/audit/results",
    ):  # fmt: skip
        assert anybody.get(address).status_code == 404, address
    for address in ("/listen/results/state", "/listen/x/state", "/listen/ /state"):
        assert anybody.get(address).status_code == 403, address
    # Dots in an address lead nowhere else.
    for address in (
        "/listen/../audio/t00", "/listen/%2e%2e/audio/t00", "/listen//audio/t00",
        "/listen/static/..%2Fapp.py", f"{link}/clip/..%2F..%2Faudit.db",
    ):  # fmt: skip
        answer = anybody.get(address)
        assert answer.status_code in (400, 401, 403, 404), address
        assert len(answer.content) < 500


def test_another_listeners_clips_are_not_there(anybody: TestClient, services: Services) -> None:
    mine, other = invite(services), invite(services, "Other ears")
    own, others = to_trial(anybody, mine), to_trial(anybody, other)
    assert set(own.values()).isdisjoint(others.values())
    for address in others.values():
        assert anybody.get(f"{mine}/clip/{address.rpartition('/')[2]}").status_code == 404
    # Nor are those of trials to come.
    store, secret = services.audits.store, services.audits._secret
    sitting = next(
        item for item in store.sittings(store.studies()[0].study_id)
        if services.audits.link(store.invitation(item.invitation_id)) == mine  # type: ignore[arg-type]
    )  # fmt: skip
    for trial in store.trials(sitting.sitting_id)[1:]:
        name = clip_name(secret, sitting, trial.position, "a")
        assert anybody.get(f"{mine}/clip/{name}").status_code == 404


def test_links_that_are_not_ours(anybody: TestClient, services: Services) -> None:
    link = invite(services)
    [*_, invitation] = services.audits.store.invitations()
    token = link.rpartition("/")[2]
    secret = services.audits._secret
    forged = [
        token[:-1],
        token + "A",
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token.partition(".")[0],
        invitation.invitation_id,
        str(URLSafeSerializer("guess", salt="invitation").dumps(invitation.invitation_id)),
        str(URLSafeSerializer(secret, salt="other").dumps(invitation.invitation_id)),
    ]
    for bad in forged:
        answer = anybody.get(f"/listen/{bad}/state")
        assert (answer.status_code, answer.json()["error"]) == (403, "unknown"), bad
    services.audits.store.revoke(invitation.invitation_id)
    answer = anybody.get(f"{link}/state")
    assert (answer.status_code, answer.json()["error"]) == (403, "revoked")


def test_a_server_of_sittings_alone_answers_nothing_else(alone: TestClient) -> None:
    for address in [*PAGES, *MEDIA, *API, "/_stcore/health", "/sign-in", "/docs", "/listening"]:
        assert alone.get(address).status_code == 404, address
        assert alone.post(address).status_code in (404, 405), address
    with pytest.raises(WebSocketDisconnect), alone.websocket_connect("/_stcore/stream"):
        pass


def test_a_library_without_audits_gets_no_files(tmp_path: Path, mode: str) -> None:
    services = build(home=str(tmp_path / "empty"))
    app = server.create_app(services, host="0.0.0.0")
    with TestClient(app) as client:
        client.get("/api/health")
        client.get("/")
    assert not (tmp_path / "empty" / "audit").exists()


def test_with_the_secret_lost_listeners_are_told_to_come_again(
    home: Path, services: Services
) -> None:
    link = invite(services)
    secret = home / "audit" / "secret"
    kept = secret.read_bytes()
    secret.unlink()
    try:
        app = server.create_app(again := build(home=str(home)), host="0.0.0.0")
        with TestClient(app) as client:
            answer = client.get(f"{link}/state")
            assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
            assert "secret" not in answer.text
            assert answer.headers["cache-control"] == "no-store"
            secret.write_bytes(kept)  # put back from a backup, it goes on
            assert client.get(f"{link}/state").json()["stage"] == "consent"
        again.close()
    finally:
        secret.write_bytes(kept)
