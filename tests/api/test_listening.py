"""The listener's surface by HTTP: one sitting behind one link, and not a word more."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from kindred.api.listening import bodies
from kindred.api.listening.app import listening_app
from kindred.api.listening.bodies import Pace
from kindred.errors import AudioError, StorageUnavailable
from tests.api import asgi
from tests.listening import SECRETS, STUDY, Planted, answered, mounted, track_id

STEPS = ("consent", "sound-check", "begin", "shown", "answer", "back")
DEVICE = {"device": {"width": 390, "touch": True}}


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted.make(tmp_path)


@pytest.fixture
def client(planted: Planted) -> Iterator[TestClient]:
    with TestClient(mounted(planted), base_url="http://testserver/listen/") as opened:
        yield opened


class Listener:
    """One link, used as the page uses it."""

    def __init__(self, client: TestClient, token: str) -> None:
        self.client, self.token = client, token

    def state(self) -> Any:
        return self.client.get(f"{self.token}/state").json()

    def post(self, step: str, body: Any = None) -> Response:
        return self.client.post(f"{self.token}/{step}", json=body or {})

    def begin(self) -> Any:
        """Go to the first practice trial."""
        self.state()
        sides = self.post("consent", DEVICE).json()["sound_check"]["sides"]
        self.post("sound-check", {"volume_ok": True, "sides": sides, "heard": sides})
        return self.post("begin").json()

    def to_trial(self) -> Any:
        """Go to the first trial that counts."""
        view = self.begin()
        while view["stage"] == "practice":
            view = self.post("answer", answered(view)).json()
        return view


@pytest.fixture
def listener(client: TestClient, planted: Planted) -> Listener:
    return Listener(client, planted.invite())


# -- the way through -------------------------------------------------------------------------------
def test_a_sitting_from_its_link_to_its_end(listener: Listener, planted: Planted) -> None:
    assert listener.state()["stage"] == "consent"
    view = listener.post("consent", DEVICE).json()
    assert view["stage"] == "sound_check"
    sides = view["sound_check"]["sides"]
    wrong = [{"left": "right", "right": "left"}[side] for side in sides]
    told = listener.post("sound-check", {"volume_ok": True, "sides": sides, "heard": wrong})
    assert (told.status_code, told.json()["error"]) == (422, "not-taken")
    assert "headphones" in told.json()["message"]
    assert listener.state()["stage"] == "sound_check"
    heard = {"volume_ok": True, "sides": sides, "heard": [*sides[:2], wrong[2]]}
    assert listener.post("sound-check", heard).json()["stage"] == "instructions"
    view = listener.post("begin").json()
    stages = []
    while view["stage"] != "done":
        stages.append(view["stage"])
        if view["stage"] == "break":
            view = listener.post("begin").json()
            continue
        shown = listener.post("shown", {"trial": view["trial"]["id"]}).json()
        assert shown["trial"] == view["trial"]
        view = listener.post("answer", answered(view, comment="ä♫")).json()
    assert stages == ["practice"] * 2 + ["trial"] * 5 + ["break"] + ["trial"] * 5
    assert view["progress"] == {"done": 10, "of": 10}
    kept = planted.store.judgements(STUDY)
    assert [item.position for item in kept] == list(range(-2, 10))
    assert all(item.shown_at and item.comment == "ä♫" for item in kept)
    assert {item.device["width"] for item in kept} == {390}


def test_an_answer_sent_again_counts_once(listener: Listener, planted: Planted) -> None:
    body = answered(listener.to_trial())
    views = [listener.post("answer", body).json() for _ in range(3)]
    assert views[0]["progress"]["done"] == 1
    assert views[0] == views[1] == views[2]
    assert len(planted.store.judgements(STUDY)) == 3


def test_a_trial_that_is_not_asked_now_is_a_conflict_that_says_where_to_go(
    listener: Listener,
) -> None:
    first = listener.to_trial()
    now = listener.post("answer", answered(first)).json()
    for step, body in (("answer", answered(first)), ("shown", {"trial": first["trial"]["id"]})):
        answer = listener.post(step, body)
        assert (answer.status_code, answer.json()["error"]) == (409, "not-this-trial")
        assert answer.json()["view"] == now


def test_back_goes_one_step_and_no_further(listener: Listener) -> None:
    first = listener.to_trial()
    assert not first["trial"]["can_go_back"]
    assert listener.post("back").status_code == 409
    listener.post("answer", answered(first, comment="first"))
    before = listener.post("back").json()["trial"]
    assert before["id"] == first["trial"]["id"]
    assert (before["answer"], before["comment"]) == ({"point": 1}, "first")
    changed = listener.post("answer", answered(first, answer=None)).json()
    refused = listener.post("back")
    assert (refused.status_code, refused.json()["view"]) == (409, changed)


# -- who may come in -------------------------------------------------------------------------------
def everything(listener: Listener) -> list[Response]:
    """Whatever a link opens, but the page."""
    body = {"id": "x", "trial": "x", "answer": None, "heard": [], "seconds": 1, **DEVICE}
    got = [listener.client.get(f"{listener.token}/{what}") for what in ("state", "clip/abc")]
    return [*got, *(listener.post(step, body) for step in STEPS if step != "answer")]


def test_links_that_are_not_valid(client: TestClient, planted: Planted, tmp_path: Path) -> None:
    token = planted.invite()
    other = Planted.make(tmp_path / "other").invite()
    for forged in ("x", token[:-1], token + "x", token.swapcase(), other, "%00", "ä", "a" * 5_000):
        for answer in everything(Listener(client, forged)):
            assert (answer.status_code, answer.json()["error"]) == (403, "unknown")


@pytest.mark.parametrize("code", ["expired", "revoked", "closed"])
def test_a_link_ends_in_the_middle_of_a_sitting(
    listener: Listener, planted: Planted, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = listener.to_trial()
    invitation = planted.store.invitations(STUDY)[0]
    if code == "expired":
        monkeypatch.setattr(planted.store, "now", lambda: "2999-01-01T00:00:00.000+00:00")
    elif code == "revoked":
        planted.store.revoke(invitation.invitation_id)
    else:
        planted.store.close_study(STUDY)
    answers = [*everything(listener), listener.post("answer", answered(view))]
    answers.append(listener.client.get(view["trial"]["clips"][0]["url"]))
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(403, code)}
    assert len(planted.store.judgements(STUDY)) == 2


def test_a_link_that_is_used_without_pause_is_slowed_down_alone(planted: Planted) -> None:
    now = 0.0
    app = listening_app(planted.sittings, pace=Pace(limit=5, seconds=10, clock=lambda: now))
    first, other = planted.invite(), planted.invite("Another")
    with TestClient(app) as client:
        statuses = [client.get(f"/{first}/state").status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert client.get(f"/{other}/state").status_code == 200
        assert client.get(f"/{first}/state").headers["Retry-After"] == "10"
        now = 10.0
        assert client.get(f"/{first}/state").status_code == 200


# -- what is sent ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"\xff\xfe{}", "application/json", 422),
        (b'{"seconds": NaN}', "application/json", 422),
        (b'{"seconds": -Infinity}', "application/json", 422),
        (b'{"seconds": 1' + b"0" * 400 + b"}", "application/json", 422),
        (b"[" * 30_000, "application/json", 422),
        (b'{"answer":' * 5_000, "application/json", 422),
        (b'{"comment": "' + b"x" * (64 << 10) + b'"}', "application/json", 413),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"{}", "", 415),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(
    listener: Listener, planted: Planted, content: bytes, kind: str, status: int
) -> None:
    listener.to_trial()
    answer = listener.client.post(
        f"{listener.token}/answer", content=content, headers={"Content-Type": kind}
    )
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}
    assert len(planted.store.judgements(STUDY)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1"}, {"id": None}, {"trial": 5}, {"answer": {"point": 3}}, {"answer": {"odd": 1}},
        {"answer": 1}, {"answer": {"point": True}}, {"answer": {"point": 10**14}}, {"heard": []},
        {"heard": "all"}, {"heard": [{"plays": 1, "seconds": 0.2, "whole": True}] * 3},
        {"heard": [{"plays": 0, "seconds": 1.0, "whole": True}] * 3},
        {"heard": [{"plays": 1, "seconds": 1.0, "whole": False}] * 3}, {"seconds": -1},
        {"seconds": 1e300}, {"seconds": "1"}, {"blurred": -1}, {"blurred": 0.5},
        {"comment": "x" * 2_001}, {"comment": None}, {"system": "mine"},
    ],
)  # fmt: skip
def test_answers_that_are_refused(
    listener: Listener, planted: Planted, changes: dict[str, Any]
) -> None:
    view = listener.to_trial()
    answer = listener.post("answer", answered(view, **changes))
    assert (answer.status_code in (409, 422), answer.json()["message"] != "") == (True, True)
    assert len(planted.store.judgements(STUDY)) == 2
    assert listener.post("answer", answered(view)).json()["progress"]["done"] == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"device": None}, {"device": []}, {"device": {"width": "1"}}, {"device": {"name": "me"}}],
)
def test_consent_with_a_device_that_is_none(listener: Listener, body: dict[str, Any]) -> None:
    assert listener.post("consent", body).status_code == 422
    assert listener.state()["stage"] == "consent"


@pytest.mark.parametrize(
    "body",
    [{}, {"volume_ok": 1, "heard": 5}, {"volume_ok": True, "heard": ["left"]},
     {"volume_ok": True, "heard": [None, {}, []]}, {"volume_ok": True, "heard": {"a": 1}}],
)  # fmt: skip
def test_sound_checks_that_are_none(listener: Listener, body: dict[str, Any]) -> None:
    listener.post("consent", DEVICE)
    assert listener.post("sound-check", body).status_code == 422
    assert listener.state()["stage"] == "sound_check"


def test_a_body_in_parts_without_end_is_bounded(planted: Planted) -> None:
    headers = {"Content-Type": "application/json"}
    path = f"/listen/{planted.invite()}/answer"
    parts = asgi.chunks(*[b"x" * 16_384] * 1_000)
    answer = asgi.request(mounted(planted), parts, path=path, headers=headers)
    assert (answer.status, answer.taken) == (413, 5)


def test_a_body_that_stops_coming_is_given_up(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.05)
    headers = {"Content-Type": "application/json"}
    path = f"/listen/{planted.invite()}/answer"
    answer = asgi.request(mounted(planted), asgi.silence(b"{"), path=path, headers=headers)
    assert answer.status == 408


# -- what comes back -------------------------------------------------------------------------------
def test_the_page_is_the_same_for_everyone(client: TestClient, planted: Planted) -> None:
    addresses = (planted.invite(), planted.invite("Another"), "nobody", "")
    pages = [client.get(address) for address in addresses]
    assert {(page.status_code, page.content) for page in pages} == {(200, pages[0].content)}
    named = re.findall(r'(?:src|href)="([^"]+)"', pages[0].text)
    named += [f"static/{name}.js" for name in ("parts", "server", "sound", "trial", "forms")]
    for name in named:
        file = client.get(name)
        assert file.status_code == 200
        assert "http://" not in file.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in file.text


def test_every_answer_keeps_its_headers_and_sets_no_cookie(listener: Listener) -> None:
    clip = listener.to_trial()["trial"]["clips"][0]["url"]
    get = listener.client.get
    answers = [get(listener.token), get("static/listen.js"), get(f"{listener.token}/state")]
    answers += [get(clip), get("nothing/here"), get("x/state"), listener.post("answer", [])]
    answers += [listener.client.delete(listener.token)]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert not {"set-cookie", "etag", "last-modified", "server"} & set(answer.headers)


@pytest.mark.parametrize(
    "address",
    ["static", "static/", "static/app.py", "static/%2e%2e%2fapp.py", "static/..%5capp.py",
     "static/listen.html/x", "{token}/", "{token}/state/", "{token}/clip", "{token}/clip/",
     "{token}/clip/%2e%2e%2f%2e%2e%2fsecret", "{token}/clip/00000000000000000000000000000000",
     "{token}/results", "docs/oauth2-redirect"],
)  # fmt: skip
def test_there_is_nothing_else(listener: Listener, address: str) -> None:
    listener.to_trial()
    found = listener.client.get(address.format(token=listener.token), follow_redirects=False)
    if address == "static":  # as good as any token
        assert found.content == listener.client.get("").content
    else:
        assert (found.status_code, found.json()["error"]) == (404, "not-found")


def test_clips_come_whole_or_in_parts_without_a_word_of_their_file(listener: Listener) -> None:
    clips = [clip["url"] for clip in listener.to_trial()["trial"]["clips"]]
    whole = [listener.client.get(url) for url in clips]
    assert len({len(answer.content) for answer in whole}) == 1
    allowed = {"accept-ranges", "content-length", "content-type", "content-range", "x-request-id"}
    for url, answer in zip(clips, whole, strict=True):
        assert answer.headers["Content-Type"] == "audio/mpeg"
        part = listener.client.get(url, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, answer.content[100:200])
        head = listener.client.head(url)
        assert (head.content, head.headers["Content-Length"]) == (b"", str(len(answer.content)))
        assert listener.client.get(url, headers={"Range": "bytes=999999999-"}).status_code == 416
        for found in (answer, part, head):
            ours = {name.title() for name in found.headers} - {name.title() for name in allowed}
            assert ours == {
                "Cache-Control", "Content-Security-Policy", "Cross-Origin-Opener-Policy",
                "Cross-Origin-Resource-Policy", "Referrer-Policy", "X-Content-Type-Options",
                "X-Robots-Tag",
            }  # fmt: skip


def test_only_clips_of_the_trial_that_is_asked_are_served(
    listener: Listener, planted: Planted
) -> None:
    first = listener.to_trial()
    urls = [clip["url"] for clip in first["trial"]["clips"]]
    own = urls[0].rpartition("/")[2]
    other = Listener(listener.client, planted.invite("Another"))
    other.to_trial()
    assert other.client.get(f"{other.token}/clip/{own}").status_code == 404
    second = listener.post("answer", answered(first)).json()
    assert listener.client.get(urls[0]).status_code == 200  # one may go back to it
    listener.post("answer", answered(second))
    assert listener.client.get(urls[0]).status_code == 404


def test_errors_that_are_not_for_listeners_are_told_in_other_words(
    listener: Listener,
    planted: Planted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "kindred.api.requests")
    view = listener.to_trial()
    song = planted.music(track_id(0))

    def away(*args: object, **values: object) -> Path:
        raise AudioError("damaged", f"{song} cannot be decoded.")

    def locked(*args: object, **values: object) -> None:
        raise StorageUnavailable(f"{planted.folder} is locked.")

    def broken(*args: object, **values: object) -> None:
        raise RuntimeError(f"{song} is odd.")

    monkeypatch.setattr(planted.clips, "path", away)
    told = [listener.client.get(view["trial"]["clips"][0]["url"])]
    for problem in (locked, broken):
        monkeypatch.setattr(planted.sittings, "view", problem)
        monkeypatch.setattr(planted.sittings, "answer", problem)
        told += [listener.client.get(f"{listener.token}/state")]
        told += [listener.post("answer", answered(view))]
    assert [answer.status_code for answer in told] == [503, 503, 503, 500, 500]
    for answer in told:
        assert str(planted.folder) not in answer.text
        assert "Xylocarp" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
    logged = " ".join(json.dumps(vars(item), default=str) for item in caplog.records)
    assert str(song) in logged  # who runs it is told
    assert listener.token not in logged


def test_no_answer_says_what_is_compared(listener: Listener) -> None:
    view = listener.begin()
    while view["stage"] != "done":
        text = json.dumps(view).lower()
        assert [word for word in SECRETS if word.lower() in text] == []
        step = "begin" if view["stage"] == "break" else "answer"
        view = listener.post(step, None if step == "begin" else answered(view)).json()
