"""A running scratch app and a headless Chromium; without either the tests fail, they never skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.ui.scratch_audio import make_files

ROOT = Path(__file__).parents[2]
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _serve(folder: Path, *, served: bool) -> Iterator[str]:
    port = _free_port()
    log = folder / f"server-{port}.log"
    # The conftest above clears KINDRED_ settings for the test process; these are for the child.
    env = os.environ | {
        "KINDRED_SCRATCH": str(folder),
        "KINDRED_SCRATCH_SERVED": "1" if served else "0",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ui.scratch_server", str(port)],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise RuntimeError(f"The scratch app did not start:\n{log.read_text()}")


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


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    path = os.environ.get("KINDRED_CHROMIUM") or found or "/usr/bin/chromium"
    browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
    yield browser
    browser.close()


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
