"""What a person does: pick, play, stop, hop, subtract, give a clip, export, add, use a phone."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import App
from tests.conftest import tone

pytestmark = pytest.mark.browser


def tracks(app: App) -> dict[str, str]:
    """Ids by title."""
    with urllib.request.urlopen(f"{app.url}/api/tracks") as answer:
        return {item["title"]: item["track_id"] for item in json.load(answer)["tracks"]}


def player(page: Page) -> dict[str, Any]:
    """What the one player is doing."""
    state: dict[str, Any] = page.evaluate("() => ({...(window.kindred?.state ?? {})})")
    return state


def address(page: Page) -> str:
    """Where the browser says it is; ``page.url`` lags behind what a page changes by itself."""
    return str(page.evaluate("location.href"))


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def card(page: Page, title: str) -> Locator:
    return page.locator(".deck.results .card", has_text=title).first


def pick(page: Page, title: str) -> None:
    """Type into the box and choose the first that is offered."""
    box = page.get_by_label("Sounds like").first
    box.click()
    box.fill(title)
    page.get_by_role("option", name=title).first.click()
    page.keyboard.press("Escape")


def open_similar(page: Page, app: App, title: str) -> None:
    page.goto(f"{app.url}/similar?track={tracks(app)[title]}")
    expect(page.locator(".deck.query").filter(has_text=title)).to_be_visible()
    expect(page.locator(".deck.results .card").first).to_be_visible()


def test_pick_play_stop(page: Page, app: App) -> None:
    page.goto(f"{app.url}/similar")
    pick(page, "Middle")
    expect(page.locator(".deck.query").filter(has_text="Middle")).to_be_visible()
    until(lambda: f"track={tracks(app)['Middle']}" in address(page))
    first = page.locator(".deck.results .card").first
    first.get_by_role("button", name="Play").first.click()
    until(lambda: player(page).get("playing") and player(page)["position"] > 0.3)
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("Space")
    until(lambda: not player(page)["playing"])


def test_one_track_stops_the_other(page: Page, app: App) -> None:
    open_similar(page, app, "Low")
    for title in ("Warm", "Bright"):
        card(page, title).get_by_role("button", name="Play").first.click()
        until(lambda title=title: player(page).get("track_id") == tracks(app)[title])  # type: ignore[misc]
        until(lambda: player(page)["playing"])
    assert (
        page.evaluate("[...document.querySelectorAll('audio')].filter(a => !a.paused).length") <= 1
    )


def test_sound_goes_on_from_page_to_page(page: Page, app: App) -> None:
    open_similar(page, app, "Low")
    card(page, "Warm").get_by_role("button", name="Play").first.click()
    until(lambda: player(page).get("position", 0) > 0.3)
    before = player(page)["position"]
    page.get_by_role("link", name="Library").first.click()
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    until(lambda: player(page)["playing"] and player(page)["position"] > before)


def test_hop_and_subtract(page: Page, app: App) -> None:
    ids = tracks(app)
    open_similar(page, app, "Low")
    card(page, "Bright").get_by_role("button", name="More like this").click()
    expect(page.locator(".deck.query").filter(has_text="Bright")).to_be_visible()
    until(lambda: f"track={ids['Bright']}" in address(page) and ids["Low"] not in address(page))
    card(page, "High").get_by_role("button", name="Less like this").click()
    until(lambda: f"less={ids['High']}" in address(page))
    expect(page.locator(".deck.results .card", has_text="High")).to_have_count(0)
    page.reload()
    expect(page.locator(".deck.query").filter(has_text="Bright")).to_be_visible()
    expect(page.locator(".deck.results .card", has_text="High")).to_have_count(0)


def test_a_cold_deep_link_opens(page: Page, app: App) -> None:
    open_similar(page, app, "High")
    expect(page.get_by_text("exact search over")).to_be_visible()
    expect(page.get_by_text("Page not found")).to_have_count(0)


def test_a_link_to_nothing_is_said(page: Page, app: App) -> None:
    page.goto(f"{app.url}/similar?track=gone")
    expect(page.get_by_text("names a track that is not in the library")).to_be_visible()


def test_a_clip_is_heard_and_not_kept(page: Page, app: App, tmp_path: Path) -> None:
    before = tracks(app)
    clip = tone(tmp_path / "my clip.wav", hz=445, seconds=4)
    page.goto(f"{app.url}/similar")
    page.get_by_role("button", name="Use a clip").click()
    page.locator("input[type=file]").set_input_files(clip)
    expect(page.get_by_text("Looking for what sounds like")).to_be_visible(timeout=20_000)
    page.keyboard.press("Escape")
    expect(page.locator(".deck.results .card").first).to_contain_text("Middle")
    assert tracks(app) == before
    card(page, "Bright").get_by_role("button", name="More like this").click()
    expect(page.locator(".deck.query").filter(has_text="Bright")).to_be_visible()
    expect(page.get_by_text("Looking for what sounds like")).to_have_count(0)


def test_a_clip_that_is_not_audio_is_said(page: Page, app: App, tmp_path: Path) -> None:
    clip = tmp_path / "fake.wav"
    clip.write_text("this is a text")
    page.goto(f"{app.url}/similar")
    page.get_by_role("button", name="Use a clip").click()
    page.locator("input[type=file]").set_input_files(clip)
    expect(page.get_by_text("fake.wav:")).to_be_visible(timeout=20_000)


def test_export(page: Page, app: App) -> None:
    open_similar(page, app, "Low")
    page.get_by_role("button", name="Export").click()
    texts = {}
    for name in ("kindred.m3u8", "kindred.csv", "kindred.jspf"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        texts[name] = Path(download.value.path()).read_text("utf-8")
    assert texts["kindred.m3u8"].startswith("#EXTM3U")
    assert str(app.music / "Warm.wav") in texts["kindred.m3u8"]
    assert texts["kindred.csv"].count("\n") >= 6
    assert len(json.loads(texts["kindred.jspf"])["playlist"]["track"]) == 5


def test_the_table_plays_and_leads_to_similar(page: Page, app: App) -> None:
    page.goto(f"{app.url}/library")
    table = page.locator("[data-testid=stDataFrame] canvas").first
    expect(table).to_be_visible()
    table.click(position={"x": 16, "y": 52}, force=True)
    until(lambda: bool(player(page).get("playing")))
    page.get_by_role("button", name="Find what sounds like it").click()
    expect(page.locator(".deck.query")).to_be_visible()


def test_files_dropped_here_come_in_and_others_are_refused(
    page: Page, app: App, tmp_path: Path
) -> None:
    fresh = tone(tmp_path / "Dropped Tone.wav", hz=666, seconds=3)
    fake = tmp_path / "fake.mp3"
    fake.write_bytes(b"PK\x03\x04 not music at all")
    page.goto(f"{app.url}/library")
    page.get_by_text("Add music").click()
    page.locator("input[type=file]").first.set_input_files([fresh, fake])
    expect(page.get_by_text("fake.mp3").first).to_be_visible()
    page.get_by_role("button", name="Add them").click()
    expect(page.get_by_text("Taking in uploads")).to_be_visible(timeout=30_000)
    until(lambda: "Dropped Tone" in tracks(app), 60)
    expect(page.get_by_text("fake.mp3: ")).to_be_visible(timeout=30_000)


def test_a_folder_is_read_and_what_failed_is_listed(page: Page, app: App, tmp_path: Path) -> None:
    tone(tmp_path / "more" / "From a Folder.flac", hz=555, seconds=3)
    page.goto(f"{app.url}/library")
    page.get_by_text("Add music").click()
    page.get_by_label("Folder", exact=True).fill(str(tmp_path / "more"))
    page.get_by_role("button", name="Read it").click()
    until(lambda: "From a Folder" in tracks(app), 60)
    page.get_by_text("Not usable").last.click()
    expect(page.get_by_text("These files were left out")).to_be_visible()


ADDRESSES = ("/", "/similar", "/library", "/map", "/evaluate", "/audit", "/models", "/storage")


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_one_way_only(chromium: Browser, app: App, path: str, scheme: Any) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    page = context.new_page()
    page.goto(app.url + path)
    expect(page.locator("h1")).to_be_visible()
    page.wait_for_timeout(800)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    context.close()
    assert wide <= 0


def test_nothing_is_asked_from_outside(page: Page, app: App) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ADDRESSES:
        page.goto(app.url + path)
        expect(page.locator("h1")).to_be_visible()
        page.wait_for_timeout(500)
    outside = [url for url in asked if not url.startswith((app.url, "data:", "blob:", "ws://127."))]
    assert outside == []


def test_the_models_page_says_what_is_missing_and_fails_in_words(page: Page, app: App) -> None:
    page.goto(f"{app.url}/models")
    expect(page.get_by_text("189 dimensions")).to_be_visible()
    expect(page.get_by_text("not for commercial use").first).to_be_visible()
    page.get_by_role("button", name="Fetch CLAP").first.click()
    # There is no network where tests run: the job ends at once and says so.
    expect(page.get_by_text("could not be fetched").first).to_be_visible(timeout=60_000)
