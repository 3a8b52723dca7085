"""The Storage page, and every page while the store is away; no page ever shows a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from kindred.services import Services, build
from kindred.ui import context
from tests.browsing import ROOT
from tests.conftest import tone
from tests.contracts.test_storage_backend import fill
from tests.doubles.data_api import DataApiDouble

TOKEN = "AstraCS:s3cr3t-never-shown"
PASSWORD = "pa55word-never-shown"
PAGES = ("similar", "library", "models", "evaluate", "storage")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[Services] = []

    def build_once() -> Services:
        made.append(build())
        return made[-1]

    monkeypatch.setattr(context, "build", build_once)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()
    for services in made:
        services.close()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataApiDouble]:
    """A Data API that is set up and in use; Postgres is set up and does not answer."""
    with DataApiDouble(token=TOKEN) as running:
        monkeypatch.setenv("STORAGE_BACKEND", "astra")
        monkeypatch.setenv("ASTRA_DB_API_ENDPOINT", running.url)
        monkeypatch.setenv("ASTRA_DB_APPLICATION_TOKEN", TOKEN)
        monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{PASSWORD}@127.0.0.1:9/music")
        monkeypatch.setenv("KINDRED_STORAGE_TIMEOUT", "2")
        yield running


@pytest.fixture
def shared(double: DataApiDouble) -> Iterator[Services]:
    """A library of six tracks in it, of which this machine has a copy."""
    services = build()
    services.stores.init("astra")
    fill(services.storage, 6)
    services.storage.refresh()  # type: ignore[attr-defined]
    yield services
    services.close()


def run(page: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90)
    return app.switch_page(f"pages/{page}.py").run()


def texts(app: AppTest) -> str:
    """All that a page says."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    shown = [item.value for kind in kinds for item in getattr(app, kind)]
    return "\n".join([*shown, *(item.value for item in app.code)])


def test_a_local_library_says_how_to_set_up_the_others() -> None:
    app = run("storage")
    assert not app.exception
    assert [item.value for item in app.subheader][:3] == ["This computer", "Postgres", "Astra DB"]
    assert "DATABASE_URL=" in texts(app)
    assert "ASTRA_DB_APPLICATION_TOKEN=" in texts(app)
    assert "With a second store set up" in texts(app)


@pytest.mark.usefixtures("shared")
def test_stores_are_shown_as_they_stand_and_looked_over() -> None:
    app = run("storage")
    assert not app.exception
    said = texts(app)
    assert "6 tracks" in said
    assert "127.0.0.1:9" in said  # Postgres does not answer, and why
    app.button(key="check-astra").click().run()
    assert not app.exception
    for name in ("Settings", "Schema", "Dimensions", "Latency"):
        assert f"**{name}**" in texts(app)


def test_the_library_is_compared_with_the_local_one(shared: Services) -> None:
    app = run("storage")
    [start] = [button for button in app.button if button.label == "Compare"]
    start.click().run()
    assert not app.exception
    assert "tracks: 6 to add" in texts(app)


def test_tables_are_made_from_the_page(double: DataApiDouble) -> None:
    app = run("storage")
    assert "has no table" in texts(app)
    app.button(key="init-astra").click().run()
    assert not app.exception
    assert "has no table" not in texts(app)
    assert "0 tracks" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_store_that_sleeps_is_said_on_every_page_which_shows_the_copy(
    shared: Services, double: DataApiDouble, page: str
) -> None:
    shared.close()
    double.pause()
    app = run(page)
    assert not app.exception
    assert any("this machine's copy of" in item.value for item in app.warning)
    if page == "library":
        assert "6" in [metric.value for metric in app.metric]


def test_what_is_written_meanwhile_waits_and_is_sent(
    shared: Services, double: DataApiDouble, tmp_path: Path
) -> None:
    shared.close()
    double.pause()
    services = build()
    tone(tmp_path / "music" / "Offline.wav", hz=700, seconds=3)
    services.read([tmp_path / "music"])
    services.close()
    app = run("storage")
    assert "Not sent yet" in texts(app)
    double.resume()
    app.button(key="send").click().run()
    assert not app.exception
    assert "Not sent yet" not in texts(app)
    again = build()
    assert "Offline" in [track.title for track in again.storage.list_tracks()]
    again.close()


@pytest.mark.parametrize("page", PAGES)
def test_no_page_shows_a_secret(
    shared: Services, double: DataApiDouble, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    app = run(page)
    double.fail("401", times=50)
    app.run()
    said = texts(app) + caplog.text
    assert TOKEN not in said
    assert PASSWORD not in said
