"""Expressive in a browser: a clip is heard, an aspect alone ranks anew, and a phone shows all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import App
from tests.browser.test_app import player, until
from tests.browsing import free_port, serving

pytestmark = pytest.mark.browser

SYSTEMS = ("Cosine", "Discovery-guided", "Oracle", "Retriever")


@pytest.fixture(scope="module")
def served(made_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Kindred with a run that failed its gates."""
    folder = tmp_path_factory.mktemp("expressive")
    shutil.copytree(made_home, folder / "library")
    env = {"KINDRED_HOME": str(folder / "library"), "KINDRED_MODEL_DIR": str(folder / "models")}
    port = free_port()
    command = [sys.executable, "-m", "kindred", "serve", "--port", str(port)]
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield App(url, folder / "library", folder)


def titles(page: Page, system: str) -> list[str]:
    """What a scorer's cards are called, with where they come from."""
    deck = page.get_by_role("list", name=system, exact=True)
    return deck.locator(".card .words").all_inner_texts()


def test_a_clip_is_heard_and_an_aspect_alone_ranks_anew(page: Page, served: App) -> None:
    page.goto(f"{served.url}/expressive")
    expect(page.locator(".deck.results .card")).to_have_count(20, timeout=60_000)
    for system in ("Oracle", "Retriever"):
        expect(page.get_by_role("heading", name=system)).to_contain_text("failed its gates")
    before = {system: titles(page, system) for system in SYSTEMS}
    page.locator(".deck.query").get_by_role("button", name="Play").click()
    until(lambda: bool(player(page).get("playing")) and player(page)["position"] > 0.3)
    page.get_by_role("button", name="Only timbre").click()
    until(lambda: titles(page, "Retriever") != before["Retriever"])
    expect(page.locator(".deck.results .card")).to_have_count(20)
    assert titles(page, "Cosine") == before["Cosine"]  # it knows no aspects
    assert player(page)["playing"]  # ranking anew does not stop the music
    found = page.get_by_role("list", name="Retriever", exact=True).locator(".card")
    found.nth(1).get_by_role("button", name="Play").click()
    until(lambda: bool(player(page).get("playing")) and player(page)["position"] > 0.3)
    expect(page.locator(".js-plotly-plot")).to_have_count(2)


def test_every_view_fits_a_phone(chromium: Browser, served: App) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    for view, text in (
        ("listen", "Moments that match in"),
        ("gates", "What each score hears"),
        ("train", "How it learned"),
        ("aspects", "What must not matter"),
    ):
        page.goto(f"{served.url}/expressive?view={view}")
        expect(page.get_by_text(text)).to_be_visible(timeout=60_000)
        expect(page.get_by_test_id("stAlertContentError")).to_contain_text("Failed its gates.")
        width = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert width <= 390, view
    page.close()
