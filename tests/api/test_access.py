"""The key: who must have it, what it opens, and servers that will not start without it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from kindred.api.access import Access, is_loopback
from kindred.api.app import create_api, standalone
from kindred.config import load_settings
from kindred.errors import ConfigError
from kindred.services import Services
from kindred.ui import context
from kindred.ui import server as ui_server
from tests.api.conftest import World, open_artifact
from tests.api.server import serving_api
from tests.browsing import free_port, serving

KEY = "kéy-0123456789"


@pytest.fixture
def locked(world: World) -> Any:
    return standalone(create_api(open_artifact(world), Access.at("0.0.0.0", SecretStr(KEY))))


def paths(app: Starlette) -> list[tuple[str, str]]:
    """Every method and path of the description, with an id filled in."""
    with TestClient(app) as client:
        found = client.get("/api/openapi.json").json()["paths"]
    return [
        (method, "/api" + path.replace("{track_id}", "t001"))
        for path, methods in found.items()
        for method in methods
    ]


GIVEN: list[tuple[Mapping[str, bytes], bool]] = [
    ({}, False),
    ({"X-API-Key": KEY.encode()}, True),
    ({"Authorization": b"Bearer " + KEY.encode()}, True),
    ({"Authorization": b"bearer " + KEY.encode()}, True),
    ({"X-API-Key": b""}, False),
    ({"X-API-Key": KEY.encode()[:-1]}, False),
    ({"X-API-Key": KEY.encode() + b"0"}, False),
    ({"X-API-Key": KEY.upper().encode()}, False),
    ({"Authorization": KEY.encode()}, False),
    ({"Authorization": b"Basic " + KEY.encode()}, False),
    ({"Authorization": b"Bearer"}, False),
    ({"Authorization": b"Bearer wrong"}, False),
    ({"X-API-Key": b"wrong", "Authorization": b"Bearer " + KEY.encode()}, False),
]


@pytest.mark.parametrize(("headers", "opens"), GIVEN)
def test_the_key_and_nothing_else_opens_every_route_but_health(
    locked: Starlette, headers: Mapping[str, bytes], opens: bool
) -> None:
    asked = paths(locked)
    assert len(asked) == 11
    with TestClient(locked) as client:
        for method, path in asked:
            answer = client.request(method, path, headers=headers)  # type: ignore[arg-type]
            if opens or path == "/api/health":
                assert answer.status_code != 401, path
            else:
                assert answer.status_code == 401, path
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.json()["error"]["type"] == "Unauthorized"
                assert "X-API-Key" in answer.json()["error"]["message"]
                assert KEY not in answer.text


def test_the_key_comes_before_the_parameters(locked: Starlette) -> None:
    with TestClient(locked) as client:
        assert client.get("/api/tracks?limit=x").status_code == 401
        assert client.get("/api/tracks/nobody").status_code == 401


def test_the_description_names_both_ways(locked: Starlette) -> None:
    with TestClient(locked) as client:
        described = client.get("/api/openapi.json").json()
    schemes = described["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("name")) for scheme in schemes.values()} == {
        ("apiKey", "X-API-Key"),
        ("http", None),
    }
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert bool(operation.get("security")) == (path != "/health")


def test_the_description_is_the_same_of_library_and_artifact(
    world: World, live_services: Services
) -> None:
    both = [create_api(source).openapi() for source in (live_services, open_artifact(world))]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.9.1", True),
        ("[::1]", True), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("", False),
        ("example.org", False), ("127.0.0.1.example.org", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert Access.at(host, SecretStr("")).is_open is loopback
    assert Access.at(host, SecretStr("")).is_closed is not loopback
    assert Access.at(host, SecretStr("key")) == Access(b"key", is_open=False)


def test_a_key_of_spaces_is_none() -> None:
    assert Access.at("0.0.0.0", SecretStr(" \n")).is_closed
    with pytest.raises(ConfigError, match=r"KINDRED_API_KEY.*127\.0\.0\.1"):
        Access.at("0.0.0.0", SecretStr(" ")).demand("0.0.0.0")
    Access.at("0.0.0.0", SecretStr("key")).demand("0.0.0.0")
    Access.at("localhost", SecretStr("")).demand("localhost")


def test_the_setting_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_API_KEY", KEY)
    settings = load_settings()
    assert settings.api_key.get_secret_value() == KEY
    assert KEY not in repr(settings)


# -- kindred api -----------------------------------------------------------------------------------
def kindred(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kindred", *arguments],
        env=os.environ | dict(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_kindred_api_does_not_start_beyond_localhost_without_a_key(world: World) -> None:
    for arguments in (["--host", "0.0.0.0"], ["--host", "::", "--artifacts", str(world.artifact)]):
        done = kindred("api", "--port", str(free_port()), *arguments, env={})
        assert done.returncode == 1
        assert "KINDRED_API_KEY" in done.stderr
        assert "openssl" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_kindred_api_says_what_is_no_artifact(world: World, tmp_path: Path) -> None:
    for folder in (world.artifact.parent, tmp_path / "none"):
        done = kindred("api", "--artifacts", str(folder), env={})
        assert done.returncode == 1
        assert "is not an artifact" in done.stderr
    assert (
        str(world.artifact)
        in kindred("api", "--artifacts", str(world.artifact.parent), env={}).stderr
    )


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_an_artifact_is_served_without_a_library(world: World, tmp_path: Path) -> None:
    env = {"KINDRED_HOME": str(tmp_path / "nothing"), "KINDRED_API_KEY": "key"}
    with serving_api("--artifacts", str(world.artifact), log=tmp_path / "log", env=env) as url:
        assert get(f"{url}/tracks/a%2Fb/nearest")[0] == 401
        status, body = get(f"{url}/tracks/a%2Fb/nearest", **{"X-API-Key": "key"})
        assert (status, b'"track_id":"a/b"' in body) == (200, True)
    assert not (tmp_path / "nothing").exists()
    assert "key" not in (tmp_path / "log").read_text().replace("KINDRED_API_KEY", "")


# -- kindred serve ---------------------------------------------------------------------------------
def test_kindred_serve_asks_for_the_key_at_the_api_alone(world: World, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "kindred", "serve", "--port", str(port)]
    env = {"KINDRED_HOME": str(world.home), "KINDRED_API_KEY": "key"}
    with serving(command, port=port, log=tmp_path / "log", env=env) as url:
        assert get(f"{url}/")[0] == 200
        assert get(f"{url}/api/health")[0] == 200
        assert get(f"{url}/api/tracks")[0] == 401
        assert get(f"{url}/api/tracks", Authorization="Bearer key")[0] == 200
        assert get(f"{url}/api/tracks/a%2Fb", **{"X-API-Key": "key"})[0] == 200
        status, body = get(f"{url}/audio/t001")
        assert (status, b"is gone" in body) == (404, True)  # found, no file on record


def test_beyond_localhost_kindred_serve_is_closed_without_a_key(
    live_services: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served: list[Starlette] = []
    monkeypatch.setattr(ui_server, "_served", False)
    monkeypatch.setattr(context, "_shared", None)
    monkeypatch.setattr(
        st,
        "App",
        lambda script, routes, middleware, lifespan: Starlette(
            routes=routes, middleware=middleware
        ),
    )
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.append(app))
    monkeypatch.setattr("kindred.api.serving.check_address", lambda host, port: None)
    monkeypatch.setattr("kindred.api.logs.to_stderr", lambda name: None)
    ui_server.serve(live_services, host="0.0.0.0", port=1)
    assert "The API is closed" in capsys.readouterr().err
    with TestClient(served[0]) as client:
        assert client.get("/api/health").status_code == 200
        for headers in ({}, {"X-API-Key": ""}, {"Authorization": "Bearer "}):
            answer = client.get("/api/tracks", headers=headers)
            assert answer.status_code == 401
            assert "KINDRED_API_KEY" in answer.json()["error"]["message"]
        for path in ("/", "/audio/t001", "/thumbnail/t001"):
            answer = client.get(path)
            assert answer.status_code == 403
            assert "KINDRED_API_KEY" in answer.text
