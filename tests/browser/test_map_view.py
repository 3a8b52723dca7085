"""What a person does on the map: move, look, listen, select, by mouse, finger and keyboard."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page, expect

from tests.browsing import free_port, serving

pytestmark = pytest.mark.browser

Pixel = tuple[float, float]
NO_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : get.call(this, kind, ...more);
};
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("map")
    port = free_port()
    command = [sys.executable, "-m", "tests.browser.map_server", str(port), str(folder)]
    env = {"KINDRED_SCRATCH_SERVED": "1"}
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield url


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same under plain ``streamlit run``."""
    folder = tmp_path_factory.mktemp("plain")
    port = free_port()
    app = str(Path(__file__).with_name("map_app.py"))
    command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(port)]
    env = {"KINDRED_SCRATCH_SERVED": "0", "PYTHONPATH": str(Path(__file__).parents[2])}
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield url


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    yield from window(chromium, viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    yield from window(chromium, viewport={"width": 390, "height": 844}, has_touch=True)


def window(chromium: Browser, **options: Any) -> Iterator[Page]:
    """A window; an error in the page's scripts fails the test."""
    context = chromium.new_context(**options, reduced_motion="reduce")
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def show(page: Page, url: str, query: str) -> None:
    page.goto(f"{url}/?{query}")
    page.locator(".kindred-map[data-drawn]").first.wait_for()


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def playing(page: Page) -> str | None:
    """The id of what sounds."""
    state = page.evaluate("window.kindred?.state ?? {}")
    return state["track_id"] if state.get("playing") else None


def events(page: Page) -> str:
    return page.get_by_text("Events:").inner_text().removeprefix("Events:").strip()


def middle(page: Page, map_number: int = 0) -> Pixel:
    box = page.locator(".overlay").nth(map_number).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picture(page: Page, map_number: int = 0) -> bytes:
    """What the map shows once it is still, without the pointer's card."""
    page.mouse.move(2, 2)
    stage = page.locator(".stage").nth(map_number)
    seen = b""
    for _ in range(20):
        page.wait_for_timeout(150)
        before, seen = seen, stage.screenshot()
        if before == seen:
            return seen
    raise AssertionError("the map does not come to rest")


def same(one: bytes, other: bytes) -> bool:
    """Whether two pictures differ by no more than rounding; Streamlit fades pages in reruns."""
    pictures = (Image.open(io.BytesIO(picture)).convert("RGB") for picture in (one, other))
    return all(high <= 4 for _, high in ImageChops.difference(*pictures).getextrema())


def point_at(page: Page, map_number: int = 0) -> Pixel:
    """Move the mouse over a point near the middle and return where it is."""
    x, y = middle(page, map_number)
    for turn in range(60):
        there = x + 4 * turn, y + 2 * turn
        page.mouse.move(*there)
        page.wait_for_timeout(30)
        if page.locator(".tip").nth(map_number).is_visible():
            return there
    raise AssertionError("no point was met")


def test_webgl_draws_where_the_browser_has_it(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    expect(page.locator(".kindred-map")).to_have_attribute("data-engine", "webgl2")
    expect(page.locator(".note")).to_be_hidden()
    assert len(picture(page)) > 50_000  # an empty stage is a tenth of it


def test_without_webgl_the_map_is_drawn_all_the_same_and_says_so(page: Page, served: str) -> None:
    page.add_init_script(NO_WEBGL)
    show(page, served, "n=2000")
    expect(page.locator(".kindred-map")).to_have_attribute("data-engine", "canvas")
    expect(page.locator(".note")).to_contain_text("no WebGL 2")
    assert len(picture(page)) > 50_000
    x, y = point_at(page)
    page.mouse.click(x, y)
    until(lambda: playing(page) is not None)


def test_hover_names_the_track_as_text_with_its_cover_or_its_letters(
    page: Page, served: str
) -> None:
    show(page, served, "n=1")
    page.mouse.move(*middle(page))
    expect(page.locator(".tip-title")).to_have_text("<img src=x onerror=alert(1)>")
    expect(page.locator(".tip-subtitle")).to_have_text("Composer 0")
    expect(page.locator(".tip img")).to_have_attribute("src", re.compile(r"^/thumbnail/00000000-"))
    page.mouse.move(2, 2)
    expect(page.locator(".tip")).to_be_hidden()
    show(page, served, "n=2")  # the second track has no cover
    page.get_by_role("button", name="Fly").click()
    expect(page.get_by_text("Run 2.")).to_be_visible()
    page.mouse.move(*middle(page))
    expect(page.locator(".tip-title")).to_have_text("Fugue No. 1 in D major")
    page.wait_for_timeout(400)
    expect(page.locator(".tip img")).to_have_attribute("src", re.compile("^data:image/svg"))


def test_a_click_plays_at_once_and_python_hears_of_it(page: Page, served: str) -> None:
    show(page, served, "n=500")
    page.mouse.click(*point_at(page))
    until(lambda: playing(page) is not None)
    track_id = playing(page)
    until(lambda: events(page) == f"opened {track_id}")
    page.mouse.click(*point_at(page))  # the same point: a pause, which is no event
    until(lambda: playing(page) is None)
    assert events(page) == f"opened {track_id}"


def test_under_plain_streamlit_a_click_only_tells(page: Page, plain: str) -> None:
    show(page, plain, "n=500")
    page.mouse.click(*point_at(page))
    until(lambda: events(page).startswith("opened "))
    assert playing(page) is None
    expect(page.locator(".tip img")).to_have_attribute("src", re.compile("^data:image/svg"))


def test_a_rerun_sends_no_points_and_leaves_the_view(page: Page, served: str) -> None:
    received: list[int] = []
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda payload: received.append(len(payload))),
    )
    show(page, served, "n=20000")
    until(lambda: "Run 1." in page.content())
    page.wait_for_timeout(500)
    assert sum(received) > 400_000
    before = picture(page)
    page.mouse.move(*middle(page))
    for _ in range(4):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(50)
    zoomed = picture(page)
    assert not same(zoomed, before)
    received.clear()
    page.get_by_role("button", name="Rerun").click()
    expect(page.get_by_text("Run 2.")).to_be_visible()
    page.wait_for_timeout(500)
    assert sum(received) < 30_000
    assert same(picture(page), zoomed)


def test_another_colouring_leaves_points_and_view(page: Page, served: str) -> None:
    received: list[int] = []
    show(page, served, "n=20000")
    page.on("websocket", lambda _: received.append(1))
    expect(page.locator(".legend-title")).to_have_text("Genre")
    page.get_by_role("button", name="Tempo").click()
    expect(page.locator(".legend-title")).to_have_text("Tempo")
    expect(page.locator(".legend .bar")).to_contain_text("bpm")
    assert received == []


def test_dragging_moves_and_buttons_zoom_and_fit(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    whole = picture(page)
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 150, y + 80, steps=5)
    page.mouse.up()
    moved = picture(page)
    assert not same(moved, whole)
    page.wait_for_timeout(300)
    assert events(page) == ""  # a drag is no click
    page.get_by_role("button", name="Zoom in").click()
    assert not same(picture(page), moved)
    page.get_by_role("button", name="Show the whole map").click()
    assert same(picture(page), whole)


def lasso(page: Page, around: Pixel, radius: float) -> None:
    x, y = around
    page.mouse.move(x - radius, y - radius)
    page.mouse.down()
    for dx, dy in ((1, -1), (1, 1), (-1, 1), (-1, -1)):
        page.mouse.move(x + dx * radius, y + dy * radius, steps=6)
    page.mouse.up()


def test_a_lasso_with_shift_selects_and_the_button_clears(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    page.keyboard.down("Shift")
    lasso(page, middle(page), 90)
    page.keyboard.up("Shift")
    until(lambda: events(page).startswith("selected "))
    told = int(events(page).split()[1])
    assert 0 < told < 2000
    expect(page.locator(".counter")).to_have_text(f"{told} selected")
    page.get_by_role("button", name="Clear the selection").click()
    until(lambda: events(page).endswith("cleared 0"))
    expect(page.locator(".counter")).to_be_hidden()


def test_a_box_selects_all_and_a_hidden_category_is_left_out(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    box = page.locator(".overlay").bounding_box()
    assert box is not None

    def select_all() -> None:
        page.get_by_role("button", name="Select with a box").click()
        page.mouse.move(box["x"] + 15, box["y"] + 15)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 60, box["y"] + box["height"] - 3, steps=4)
        page.mouse.up()

    select_all()
    until(lambda: events(page) == "selected 2000")
    baroque = page.locator(".legend button", has_text="Baroque")
    count = int(baroque.locator(".count").inner_text())
    baroque.click()
    expect(baroque).to_have_attribute("aria-pressed", "false")
    select_all()
    until(lambda: events(page) == f"selected 2000, selected {2000 - count}")


def test_the_legend_shows_one_alone_and_all_again(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    shown = page.locator(".legend button[aria-pressed=true]")
    expect(shown).to_have_count(14)  # twelve, the others, the unknown
    page.locator(".legend button", has_text="Folk").dblclick()
    expect(shown).to_have_count(1)
    page.locator(".legend button", has_text="Folk").click(modifiers=["Alt"])
    expect(shown).to_have_count(14)


def test_keys_walk_play_zoom_and_leave(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    page.locator(".overlay").focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        said.append(page.locator(".live").inner_text())
    assert len(set(said)) >= 3
    assert "Composer" in said[0]
    page.keyboard.press("Enter")
    until(lambda: playing(page) is not None)
    before = page.locator(".stage").screenshot()
    page.keyboard.press("+")
    page.wait_for_timeout(250)
    assert not same(page.locator(".stage").screenshot(), before)


def test_python_selects_opens_and_flies(page: Page, served: str) -> None:
    show(page, served, "n=500&opened=1&lines=1")
    page.get_by_role("button", name="Select two").click()
    expect(page.locator(".counter")).to_have_text("2 selected")
    whole = picture(page)
    page.get_by_role("button", name="Fly").click()
    expect(page.get_by_text("Run 3.")).to_be_visible()
    assert not same(picture(page), whole)
    page.mouse.move(*middle(page))
    expect(page.locator(".tip-title")).to_contain_text("No. 499")


def test_two_maps_share_the_selection_and_point_at_the_same_track(page: Page, served: str) -> None:
    show(page, served, "n=500&two=1")
    page.locator(".kindred-map[data-drawn]").nth(1).wait_for()
    still = picture(page, 1)
    page.keyboard.down("Shift")
    lasso(page, middle(page), 80)
    page.keyboard.up("Shift")
    until(lambda: events(page).startswith("selected "))
    told = events(page).split()[1]
    expect(page.locator(".counter").nth(1)).to_have_text(f"{told} selected")
    chosen = picture(page, 1)
    assert not same(chosen, still)
    point_at(page)
    page.wait_for_timeout(250)
    assert not same(page.locator(".stage").nth(1).screenshot(), chosen)  # a ring on the same track


@pytest.mark.parametrize("query", ["n=0", "n=1", "n=5&lines=1&opened=1&regions=1&path=1"])
def test_few_points_or_none(page: Page, served: str, query: str) -> None:
    show(page, served, query)
    expect(page.locator(".note")).to_be_visible(visible=query == "n=0")
    page.locator(".overlay").focus()
    for key in ("ArrowRight", "ArrowDown", "Enter", "+", "0", "Escape"):
        page.keyboard.press(key)
    page.keyboard.down("Shift")
    lasso(page, middle(page), 120)
    page.keyboard.up("Shift")
    page.mouse.wheel(0, -200)
    page.get_by_role("button", name="Rerun").click()
    expect(page.get_by_text("Events:")).to_be_visible()


def test_fingers_pinch_drag_and_tap(phone: Page, served: str) -> None:
    show(phone, served, "n=1")
    x, y = middle(phone)
    phone.touchscreen.tap(x, y)
    until(lambda: playing(phone) is not None)
    show(phone, served, "n=2000")
    before = phone.locator(".stage").screenshot()
    touch = phone.context.new_cdp_session(phone)

    def fingers(kind: str, *places: Pixel) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = middle(phone)
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for gap in (40, 60, 90, 120):
        fingers("touchMove", (x - gap, y), (x + gap, y))
    fingers("touchEnd")
    phone.wait_for_timeout(300)
    pinched = phone.locator(".stage").screenshot()
    assert not same(pinched, before)
    fingers("touchStart", (x, y))
    for step in (15, 40, 70):
        fingers("touchMove", (x, y + step))
    fingers("touchEnd")
    phone.wait_for_timeout(300)
    assert not same(phone.locator(".stage").screenshot(), pinched)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_lost_context_is_restored(page: Page, served: str) -> None:
    show(page, served, "n=2000")
    before = picture(page)
    page.evaluate(
        """async () => {
          const find = (root) => root.querySelector(".kindred-map canvas.points")
            ?? [...root.querySelectorAll("*")].flatMap((e) => e.shadowRoot ?? [])
              .map(find).find(Boolean);
          const lost = find(document).getContext("webgl2").getExtension("WEBGL_lose_context");
          lost.loseContext();
          await new Promise((resolve) => setTimeout(resolve, 200));
          lost.restoreContext();
        }"""
    )
    page.wait_for_timeout(300)
    assert same(picture(page), before)
