"""Evaluate in a browser: run from the page, read the headline, drill to a query, listen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from kindred.config import Settings
from kindred.services import build
from tests.browser.conftest import App
from tests.browser.test_app import player, until
from tests.browsing import free_port, serving
from tests.conftest import tone

pytestmark = pytest.mark.browser

COMPOSERS = ["Ada"] * 6 + ["Ben"] * 5 + ["Cyd"] * 3


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Kindred with 14 tones: the lowest are Ada's, then Ben's, then Cyd's."""
    folder = tmp_path_factory.mktemp("evaluate")
    for number in range(len(COMPOSERS)):
        tone(folder / "music" / f"{number:02d}.wav", hz=120 * 1.3**number, seconds=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(folder / "library"))
        services.ingest().run([folder / "music"])
        tracks = sorted(services.storage.list_tracks(), key=lambda track: track.path)
        services.storage.put_tracks(
            replace(track, title=f"Tone {number}", composer=name, work=f"Work {number // 2}")
            for number, (track, name) in enumerate(zip(tracks, COMPOSERS, strict=True))
        )
        services.close()
    env = {"KINDRED_HOME": str(folder / "library"), "KINDRED_MODEL_DIR": str(folder / "models")}
    port = free_port()
    command = [sys.executable, "-m", "kindred", "serve", "--port", str(port)]
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield App(url, folder / "library", folder / "music")


def table(page: Page, number: int) -> Locator:
    """A table as it is drawn, counting those outside closed expanders."""
    return page.locator("[data-testid=stDataFrame]:visible").nth(number).locator("canvas").first


def choose_row(page: Page, number: int, row: int) -> None:
    """Click the box before a row."""
    table(page, number).click(position={"x": 16, "y": 52 + 35 * row}, force=True)


@pytest.fixture(scope="module")
def evaluated(music: App, chromium: Browser) -> App:
    """After a run of two systems that was started on the page and followed to its end."""
    page = chromium.new_page()
    page.goto(f"{music.url}/evaluate")
    expect(page.get_by_label("Ranked by")).to_be_visible()
    page.get_by_label("Ranked by").click()
    page.get_by_role("option", name="CSLS, against hubs").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_text("Same composer, first 5 answers")).to_be_visible(timeout=120_000)
    expect(page.get_by_text("nDCG@5 no two of them are told apart")).to_be_visible()
    page.close()
    return music


def test_the_headline_is_read_first(page: Page, evaluated: App) -> None:
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Of 5 answers, so many are by the same composer")).to_be_visible()
    charts = page.locator(".js-plotly-plot")
    expect(charts).to_have_count(3)
    for chart in charts.all():
        for text in ("Plain", "Leakage-controlled", "chance 0.", "best "):
            expect(chart.get_by_text(text).first).to_be_attached()
    until(lambda: "run=" in str(page.evaluate("location.href")))
    expect(page.get_by_text("New evaluation")).to_be_visible()
    expect(page.get_by_label("Ranked by")).to_be_hidden()  # folded away


def test_from_a_composer_to_a_query_to_its_answers_and_listening(
    page: Page, evaluated: App
) -> None:
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Queries: Ada")).to_be_visible()
    choose_row(page, 0, 1)
    expect(page.get_by_text("Queries: Ben")).to_be_visible()
    expect(page.locator(".deck.query").filter(has_text="Ben")).to_be_visible()
    expect(page.locator(".deck.query")).to_have_count(1)
    worst = page.locator(".deck.query h3").inner_text()
    choose_row(page, 1, 4)
    # For a moment both the old query and the new one are drawn.
    expect(page.locator(".deck.query h3").filter(has_text=worst)).to_have_count(0)
    expect(page.locator(".deck.query h3")).to_have_count(1)
    answers = page.locator(".deck.results .card")
    expect(answers).to_have_count(5)
    marks = page.locator(".deck.results .verdict")
    for mark in marks.all():
        right = "Ben" in (mark.locator("xpath=..").locator(".subtitle").inner_text())
        # A word and a shape of its own, before any colour.
        expect(mark).to_contain_text("Hit" if right else "Miss")
        expect(mark).to_contain_text("same composer" if right else "")
        expect(mark.locator("svg.icon")).to_have_count(1)
    hits = page.locator(".verdict.hit").count()
    assert 0 < hits < 5
    expect(page.get_by_text(f"{hits} of 5 answers are right")).to_be_visible()
    answers.nth(2).get_by_role("button", name="Play").click()
    until(lambda: bool(player(page).get("playing")) and player(page)["position"] > 0.3)
    page.locator(".deck.query").get_by_role("button", name="Play").click()
    until(lambda: player(page).get("position", 9) < 5 and bool(player(page)["playing"]))


def test_every_section_draws_and_two_systems_are_compared(page: Page, evaluated: App) -> None:
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Queries: Ada")).to_be_visible()
    page.get_by_text("Confusion", exact=True).click()
    expect(page.get_by_text("Most often taken for another")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    page.get_by_text("Hubs", exact=True).click()
    expect(page.get_by_text("Every track is in 5 answers on average")).to_be_visible()
    expect(page.locator(".deck.results .verdict").first).to_contain_text("answers")
    page.get_by_text("Compare", exact=True).click()
    expect(page.get_by_text("Where two disagree most")).to_be_visible()
    expect(page.get_by_text("descriptors − descriptors, csls").first).to_be_attached()


def test_a_run_is_exported_starred_and_found_again_by_its_address(
    page: Page, evaluated: App
) -> None:
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Queries: Ada")).to_be_visible()
    page.get_by_role("button", name="Export").click()
    for name, words in (
        ("All figures (JSON)", '"precision@5"'),
        ("By label (CSV)", "descriptors,plain,Ada"),
        ("By query (CSV)", "answer_5"),
    ):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        with open(download.value.path(), encoding="utf-8") as file:
            assert words in file.read()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Star").click()
    expect(page.get_by_role("button", name="Unstar")).to_be_visible()
    page.goto(str(page.evaluate("location.href")))
    expect(page.get_by_text("Same composer, first 5 answers")).to_be_visible()
    page.get_by_role("button", name="Unstar").click()
    expect(page.get_by_role("button", name="Star", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_it_scrolls_one_way_only(chromium: Browser, evaluated: App, scheme: Any) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    page = context.new_page()
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Queries: Ada")).to_be_visible()
    for section in ("Confusion", "Hubs", "Compare"):
        page.get_by_text(section, exact=True).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    context.close()


def test_nothing_is_asked_from_outside(page: Page, evaluated: App) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{evaluated.url}/evaluate")
    expect(page.get_by_text("Queries: Ada")).to_be_visible()
    page.get_by_text("Confusion", exact=True).click()
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    ours = (evaluated.url, "data:", "blob:", "ws://127.")
    assert [url for url in asked if not url.startswith(ours)] == []
