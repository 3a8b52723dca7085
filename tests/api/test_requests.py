"""What every request gets: an id, a typed error, a line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from kindred.api import logs
from kindred.api.access import Access
from kindred.api.app import create_api, standalone
from kindred.errors import (
    ArtifactError,
    KindredError,
    LibraryBusy,
    QueryError,
    SpaceMismatch,
    StorageUnavailable,
    WeightsMissing,
)
from kindred.search.query import SimilarQuery
from kindred.services import Services
from tests.api.conftest import World, open_artifact


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The log's lines so far, parsed."""
    caplog.set_level(logging.INFO, "kindred.api.requests")

    class Lines(list[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return (json.loads(logs.JsonLines().format(item)) for item in caplog.records)

    return Lines()


# -- ids -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_a_request_id_is_taken_and_given_back(either: TestClient, given: str) -> None:
    for path in ("/api/health", "/api/nothing", "/nothing", "/api/tracks/nobody", "/api/search"):
        answer = either.get(path, headers={"X-Request-ID": given})
        assert answer.headers["X-Request-ID"] == given
        if answer.status_code != 200:
            assert answer.json()["error"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\tb", "é", "<script>", "a,b"])
def test_another_is_made_where_it_is_no_plain_word(either: TestClient, given: str) -> None:
    answers = [
        either.get("/api/health", headers={"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]
        for _ in range(2)
    ]
    made = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(made) == 2
    assert all(len(item) == 32 and item.isalnum() for item in made)


# -- errors ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "said"),
    [
        ("GET", "/", 404, "NotFound", "/api/docs"),
        ("GET", "/api", 404, "NotFound", "/api/docs"),
        ("GET", "/api/health/", 404, "NotFound", "/api/docs"),
        ("GET", "/health", 404, "NotFound", "/api/docs"),
        ("GET", "/api/tracks//nearest", 404, "NotFound", "/api/docs"),
        ("POST", "/api/tracks", 405, "MethodNotAllowed", "POST"),
        ("GET", "/api/embed", 405, "MethodNotAllowed", "GET"),
        ("TRACE", "/api/health", 405, "MethodNotAllowed", "TRACE"),
        ("GET", "/api/tracks/nobody", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/tracks/nobody/nearest", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/tracks/nobody/composer-eval", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/tracks/nobody/cover", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/tracks/t001/cover", 404, "NoCover", "no cover"),
        ("GET", "/api/search?track_id=nobody", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/search?track_id=t001&minus=nobody", 404, "TrackNotFound", "'nobody'"),
        ("GET", "/api/search?track_id=t001&minus=t001", 400, "QueryError", "wanted and unwanted"),
        ("GET", "/api/search", 422, "InvalidRequest", "track_id: Field required"),
        ("GET", "/api/search?track_id=", 422, "InvalidRequest", "track_id.0"),
        ("GET", "/api/search?track_id=t001&not_same=mood", 422, "InvalidRequest", "not_same.0"),
        ("GET", "/api/search?track_id=t001&diversity=nan", 422, "InvalidRequest", "diversity"),
        ("GET", "/api/search?track_id=t001&diversity=1.01", 422, "InvalidRequest", "diversity"),
        ("GET", "/api/search?" + "track_id=t001&" * 21, 422, "InvalidRequest", "at most 20"),
        ("GET", "/api/tracks?limit=0", 422, "InvalidRequest", "limit"),
        ("GET", "/api/tracks?limit=1001", 422, "InvalidRequest", "limit"),
        ("GET", "/api/tracks?limit=1&limit=x", 422, "InvalidRequest", "limit"),
        ("GET", "/api/tracks?offset=-1", 422, "InvalidRequest", "offset"),
        ("GET", "/api/tracks?offset=" + "9" * 5_000, 422, "InvalidRequest", "offset"),
        ("GET", "/api/tracks?ofset=1", 422, "InvalidRequest", "ofset: Extra inputs"),
        ("GET", "/api/tracks?composer=" + "x" * 201, 422, "InvalidRequest", "composer.0"),
        ("GET", "/api/tracks?q=" + "x" * 201, 422, "InvalidRequest", "q: "),
        *(
            ("GET", f"/api/tracks/t001/{route}?k={k}", 422, "InvalidRequest", "k: ")
            for route in ("nearest", "composer-eval")
            for k in ("0", "101", "-1", "x", "", "1.5", "1e2", "%00")
        ),
    ],
)
def test_bad_requests_are_refused_with_a_type_and_a_reason(
    either: TestClient, method: str, path: str, status: int, kind: str, said: str
) -> None:
    answer = either.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "request_id"}
    assert (error["type"], error["request_id"]) == (kind, answer.headers["X-Request-ID"])
    assert said in error["message"]
    assert len(error["message"]) < 1_000


def test_405_says_what_is_allowed(either: TestClient) -> None:
    assert either.delete("/api/tracks").headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueryError("no"), 400),
        (KindredError("no"), 400),
        (WeightsMissing("no"), 409),
        (SpaceMismatch("no"), 409),
        (LibraryBusy("no"), 409),
        (StorageUnavailable("no"), 503),
        (ArtifactError("no"), 503),
    ],
)
def test_our_errors_have_their_status(
    live_services: Services, monkeypatch: pytest.MonkeyPatch, error: KindredError, status: int
) -> None:
    def refuse(query: SimilarQuery) -> None:
        raise error

    monkeypatch.setattr(live_services, "similar", refuse)
    with TestClient(standalone(create_api(live_services))) as client:
        answer = client.get("/api/tracks/t001/nearest")
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == type(error).__name__
    assert answer.json()["error"]["message"] == "no"


def test_a_bug_is_a_500_without_its_insides(
    live_services: Services, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    def fail(query: SimilarQuery) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(live_services, "similar", fail)
    with TestClient(standalone(create_api(live_services))) as client:
        answer = client.get("/api/tracks/t001/nearest", headers={"X-Request-ID": "it"})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "InternalError"
    assert "it" in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    told, logged = list(lines)
    assert (told["request_id"], told["level"]) == ("it", "error")
    assert "ZeroDivisionError: a secret of the inside" in told["traceback"]
    assert (logged["request_id"], logged["status"]) == ("it", 500)


# -- the log ---------------------------------------------------------------------------------------
def test_one_line_a_request(either: TestClient, lines: list[dict[str, Any]]) -> None:
    either.get("/api/tracks/t001/nearest?k=3", headers={"X-Request-ID": "one"})
    either.get("/api/tracks/nobody")
    either.get("/api/nowhere/t001")
    either.get("/nowhere")
    either.put("/api/health")
    logged = list(lines)
    assert [(line["method"], line["path"], line["status"]) for line in logged] == [
        ("GET", "/api/tracks/{track_id}/nearest", 200),
        ("GET", "/api/tracks/{track_id}", 404),
        ("GET", "", 404),
        ("GET", "", 404),
        ("PUT", "/api/health", 405),
    ]
    assert set(logged[0]) == {
        "time", "level", "logger", "message", "request_id", "method", "path", "status", "ms",
        "client",
    }  # fmt: skip
    assert (logged[0]["request_id"], logged[0]["client"]) == ("one", "testclient")
    assert 0 < logged[0]["ms"] < 60_000


def test_nothing_private_is_logged(
    world: World, lines: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    api = create_api(open_artifact(world), Access(b"the-right-key", is_open=False))
    with TestClient(standalone(api)) as client:
        client.get(
            "/api/search?track_id=t001&composer=PRIVATE", headers={"X-API-Key": "the-right-key"}
        )
        client.get("/api/tracks?q=PRIVATE", headers={"Authorization": "Bearer PRIVATE"})
        client.post("/api/embed", content=b"PRIVATE", headers={"Content-Type": "audio/PRIVATE"})
        client.get("/api/PRIVATE?key=the-right-key")
    assert len(list(lines)) == 4
    written = "".join(logs.JsonLines().format(record) for record in caplog.records)
    for word in ("PRIVATE", "right-key", "t001"):
        assert word not in written


def test_log_lines_are_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("kindred.api")
    kept = (logger.handlers[:], logger.level, logger.propagate, logs.requests.level)
    try:
        logs.to_stderr("kindred.api")
        logs.to_stderr("kindred.api")  # again changes nothing
        logs.requests.info("request", extra={"fields": {"path": 'a"\n{b}'}})
        logging.getLogger("kindred.api.else").info("not shown")
    finally:
        logger.handlers[:], level, logger.propagate, requests_level = kept
        logger.setLevel(level)
        logs.requests.setLevel(requests_level)
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["path"] == 'a"\n{b}'


def test_answers_may_not_be_sniffed_or_read_by_other_origins(either: TestClient) -> None:
    answer = either.get("/api/health", headers={"Origin": "https://example.org"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
