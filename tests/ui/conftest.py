"""A running scratch app and a headless Chromium; without either the tests fail, they never skip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browsing import free_port, serving
from tests.ui.scratch_audio import make_files


def _serve(folder: Path, *, served: bool) -> Iterator[str]:
    port = free_port()
    # The conftest above clears KINDRED_ settings for the test process; these are for the child.
    env = {"KINDRED_SCRATCH": str(folder), "KINDRED_SCRATCH_SERVED": "1" if served else "0"}
    command = [sys.executable, "-m", "tests.ui.scratch_server", str(port)]
    with serving(command, port=port, log=folder / f"server-{port}.log", env=env) as url:
        yield url


@pytest.fixture(scope="session")
def scratch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    make_files(folder)
    return folder


@pytest.fixture(scope="session")
def app_url(scratch_folder: Path) -> Iterator[str]:
    yield from _serve(scratch_folder, served=True)


@pytest.fixture(scope="session")
def unserved_url(scratch_folder: Path) -> Iterator[str]:
    yield from _serve(scratch_folder, served=False)


@pytest.fixture
def page(chromium: Browser, app_url: str) -> Iterator[Page]:
    """A desktop page on the results; an error in the page's scripts fails the test."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(app_url)
    opened.wait_for_selector(".deck.results .card")
    yield opened
    context.close()
    assert errors == []
