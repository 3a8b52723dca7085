"""Kindred itself, served with a library of tones, and a page on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browsing import free_port, serving
from tests.conftest import tone

NOTES = {"Low": 110, "Warm": 160, "Middle": 440, "Bright": 1_500, "High": 4_000, "Piercing": 8_000}


@dataclass(frozen=True)
class App:
    """A running Kindred: its address, its library folder and the folder of its music."""

    url: str
    home: Path
    music: Path


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("app")
    for name, hz in NOTES.items():
        tone(folder / "music" / f"{name}.wav", hz=hz, seconds=20)
    (folder / "music" / "broken.mp3").write_bytes(b"this is not music")
    env = {"KINDRED_HOME": str(folder / "library"), "KINDRED_MODEL_DIR": str(folder / "models")}
    command = [sys.executable, "-m", "kindred"]
    subprocess.run([*command, "ingest", str(folder / "music")], env=os.environ | env, check=True)
    port = free_port()
    serve = [*command, "serve", "--port", str(port)]
    with serving(serve, port=port, log=folder / "server.log", env=env) as url:
        yield App(url, folder / "library", folder / "music")


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A desktop window; an error in the page's scripts fails the test."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []
