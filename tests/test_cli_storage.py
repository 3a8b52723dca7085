"""The commands about stores, between the library and other folders: no server is needed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
from kindred.storage.local import LocalBackend
from kindred.storage.records import KINDS, Kind
from tests.contracts.test_storage_backend import everything, fill

SECRET = "s3cr3t-never-shown"


def kindred(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments])


def answered(*arguments: object) -> Any:
    result = kindred(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def library(home: Path, tmp_path: Path) -> Path:
    with LocalBackend(home) as store:
        everything(store, tmp_path)
    return home


@pytest.fixture
def other(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    assert answered("storage", "init", folder)["place"] == str(folder)
    return folder


def alike(one: Path, two: Path) -> bool:
    """Whether two libraries have the same content."""
    with LocalBackend(one) as a, LocalBackend(two) as b:
        return all(content(a, kind) == content(b, kind) for kind in KINDS)


def content(store: LocalBackend, kind: Kind) -> dict[str, str]:
    return {key: entry.digest for key, entry in store.entries(kind).items() if not entry.deleted}


def test_a_library_is_copied_and_read_back(library: Path, other: Path) -> None:
    planned = answered("storage", "migrate", "--from", "local", "--to", other, "--dry-run")
    assert planned["rows"] == 15
    with LocalBackend(other) as store:
        assert store.count_tracks() == 0
    moved = answered("storage", "migrate", "--from", "local", "--to", other)
    assert moved["right"]
    assert moved["verification"]["compared"]["tracks"] == 6
    assert [item["overlap"] for item in moved["answers"].values()] == [1.0]
    assert alike(library, other)
    assert answered("storage", "migrate", "--from", "local", "--to", other)["report"]["rows"] == 0


def test_both_sides_are_brought_to_one_state(library: Path, other: Path) -> None:
    answered("storage", "sync", "local", other)
    with LocalBackend(library) as here, LocalBackend(other) as there:
        here.delete_tracks(["t00"])
        here.put_tracks([replace(here.get_track("t01"), title="Changed here")])
        there.put_tracks([replace(there.get_track("t01"), title="Changed there")])
        there.put_tracks([replace(there.get_track("t02"), title="Only there")])
        fill(there, 7)  # the seventh is new, and what was changed there is as before
        there.put_tracks([replace(there.get_track("t01"), title="Changed there, later")])
    assert answered("storage", "sync", "local", other)["report"]["conflicts"] == 1
    assert alike(library, other)
    with LocalBackend(library) as here:
        assert here.count_tracks() == 6
        assert here.get_track("t01").title == "Changed there, later"
    [conflict] = answered("storage", "conflicts")["conflicts"]
    assert conflict["title"] == "Changed here"
    kept = answered("storage", "conflicts", "--keep", conflict["conflict_id"], "loser")
    assert kept["conflicts"] == []
    with LocalBackend(library) as here:
        assert here.get_track("t01").title == "Changed here"


def test_check_and_status_of_a_local_library(library: Path) -> None:
    checks = answered("storage", "check")["checks"]
    assert [check["name"] for check in checks] == ["Settings", "Schema", "Dimensions", "Latency"]
    assert "6 tracks" in checks[1]["found"]
    status = answered("storage", "status")
    assert (status["active"], status["online"], status["waiting"]) == ("local", True, 0)
    local, *others = status["stores"]
    assert local["tracks"] == 6
    assert local["size"] > 4096
    assert [store["configured"] for store in others] == [False, False]
    assert answered("storage", "deliver")["waiting"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "postgres"], "DATABASE_URL"),
        (["check", "astra"], "ASTRA_DB"),
        (["check", "nowhere"], "nowhere"),
        (["init", "nowhere"], "nowhere"),
        (["sync", "local", "local"], "one store"),
        (["sync", "local", "nowhere"], "nowhere"),
        (["migrate", "--from", "postgres", "--to", "local"], "DATABASE_URL"),
        (["conflicts", "--keep", "none", "loser"], "none"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], said: str) -> None:
    result = kindred("storage", *arguments)
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("store", ["postgres", "astra"])
def test_a_store_that_refuses_connections_is_named_without_its_secrets(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@127.0.0.1:9/music")
    monkeypatch.setenv("ASTRA_DB_API_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ASTRA_DB_APPLICATION_TOKEN", SECRET)
    monkeypatch.setenv("KINDRED_STORAGE_TIMEOUT", "1")
    caplog.set_level("DEBUG")
    result = kindred("storage", "check", store)
    assert result.exit_code == 1
    assert "127.0.0.1" in result.output
    for command in (["storage", "status"], ["doctor"]):
        shown = kindred(*command, "--json")
        assert "127.0.0.1" in shown.output or command == ["doctor"]
        assert SECRET not in shown.output
    assert SECRET not in result.output + caplog.text
