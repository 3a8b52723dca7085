"""The map in a browser: hear a point, read its neighbours, draw around some, come back by link."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from kindred.config import Settings
from kindred.maps.options import MapOptions
from kindred.services import build
from tests.browser.conftest import App
from tests.browser.test_app import address, player, tracks, until
from tests.browsing import free_port, serving
from tests.conftest import tone

pytestmark = pytest.mark.browser

COUNT = 14


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Kindred with 14 tones and a map of them."""
    folder = tmp_path_factory.mktemp("map")
    for number in range(COUNT):
        tone(folder / "music" / f"{number:02d}.wav", hz=120 * 1.3**number, seconds=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(folder / "library"))
        services.ingest().run([folder / "music"])
        services.storage.put_tracks(
            replace(track, title=f"Tone {track.title}", composer="Ada")
            for track in services.storage.list_tracks()
        )
        assert services.maps.build("descriptors", MapOptions(method="pca")) is not None
        services.close()
    env = {"KINDRED_HOME": str(folder / "library"), "KINDRED_MODEL_DIR": str(folder / "models")}
    port = free_port()
    command = [sys.executable, "-m", "kindred", "serve", "--port", str(port)]
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield App(url, folder / "library", folder / "music")


def show(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(".kindred-map[data-drawn]").first.wait_for(timeout=30_000)


def stage(page: Page) -> tuple[float, float, float, float]:
    box = page.locator(".overlay").first.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def click_a_point(page: Page) -> None:
    """Look for a point line by line, and click it."""
    x, y, width, height = stage(page)
    for row in range(1, 24):
        for column in range(1, 40):
            page.mouse.move(x + width * column / 40, y + height * row / 24)
            if page.locator(".tip").first.is_visible():
                page.mouse.click(x + width * column / 40, y + height * row / 24)
                return
    raise AssertionError("no point was met")


def test_a_point_is_heard_and_its_true_neighbours_are_told(page: Page, mapped: App) -> None:
    show(page, f"{mapped.url}/map")
    click_a_point(page)
    until(lambda: bool(player(page).get("playing")))
    track_id = player(page)["track_id"]
    expect(page.get_by_text("of this track's 10 nearest neighbours")).to_be_visible()
    title = next(name for name, other in tracks(mapped).items() if other == track_id)
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    until(lambda: f"open={track_id}" in address(page))
    assert "map=" in address(page)
    page.get_by_role("button", name="Open in Similar").click()
    expect(page.locator(".deck.query").filter(has_text=title)).to_be_visible()
    until(lambda: f"/similar?track={track_id}" in address(page))
    assert player(page)["track_id"] == track_id  # it goes on


def test_what_is_known_is_said_once_and_counts_are_whole(page: Page, mapped: App) -> None:
    show(page, f"{mapped.url}/map")
    click_a_point(page)
    expect(page.locator(".tip-subtitle")).to_have_text("Ada")
    expect(page.locator(".tip-value")).to_have_text("")  # coloured by composer: not Ada again
    show(page, f"{mapped.url}/map?colour=trust")
    expect(page.locator(".legend .bar")).to_have_text(re.compile(r"^\d of 10(\d|10) of 10$"))


def test_a_lasso_stands_in_the_address_and_comes_back(page: Page, mapped: App) -> None:
    show(page, f"{mapped.url}/map")
    x, y, width, height = stage(page)
    page.keyboard.down("Shift")
    page.mouse.move(x + 4, y + 4)
    page.mouse.down()
    for there in ((width - 4, 4), (width - 4, height - 4), (4, height - 4), (4, 8)):
        page.mouse.move(x + there[0], y + there[1], steps=12)
    page.mouse.up()
    page.keyboard.up("Shift")
    heading = page.get_by_role("heading", name=f"{COUNT} selected")
    expect(heading).to_be_visible()
    until(lambda: "pick=" in address(page))
    link = address(page)
    page.reload()
    expect(heading).to_be_visible(timeout=30_000)
    assert address(page) == link
    page.get_by_role("button", name="Clear", exact=True).first.click()
    expect(heading).to_be_hidden()
    until(lambda: "pick=" not in address(page))
    show(page, link)  # whoever gets the link sees the same
    expect(heading).to_be_visible()
    page.get_by_role("button", name="Play in order").click()
    until(lambda: bool(player(page).get("playing")))
