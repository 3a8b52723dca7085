"""What a person does with the player and the cards, in a real browser with real sound."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.scratch_audio import HOSTILE

pytestmark = pytest.mark.browser

AUDIO = "document.querySelector('#kindred-player').shadowRoot.querySelector('audio')"


def state(page: Page) -> dict[str, Any]:
    return page.evaluate("window.kindred.state")


def bar(page: Page) -> Locator:
    return page.locator("#kindred-player .bar")


def card(page: Page, title: str) -> Locator:
    return page.locator(".deck.results .card").filter(has_text=title)


def until(page: Page, true: Callable[[], bool], *, seconds: float = 8) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still {state(page)}"
        page.wait_for_timeout(50)


def start(page: Page, title: str, track_id: str) -> None:
    card(page, title).locator(".play").click()
    until(page, lambda: state(page)["track_id"] == track_id and state(page)["playing"])


def test_nothing_is_shown_before_something_plays(page: Page) -> None:
    until(page, lambda: page.evaluate("Boolean(window.kindred?.state)"))
    expect(page.locator("#kindred-player")).to_be_hidden()


def test_a_card_plays_and_position_advances(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    expect(bar(page)).to_be_visible()
    expect(bar(page).locator(".title")).to_have_text("Nocturne in E-flat major, Op. 9 No. 2")
    until(page, lambda: state(page)["position"] > 1.0)
    assert state(page)["duration"] == pytest.approx(30, abs=0.1)
    expect(card(page, "Nocturne in E-flat")).to_have_attribute("data-playing", "")
    expect(card(page, "Nocturne in E-flat").locator(".time")).to_have_text(re.compile(r"0:0[1-9]"))
    clip = (
        card(page, "Nocturne in E-flat").locator(".wave-done").evaluate("(e) => e.style.clipPath")
    )
    assert clip not in {"", "inset(0px 100% 0px 0px)"}


def test_a_second_card_stops_the_first(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    start(page, "Spiegel im Spiegel", "s06")
    expect(page.locator(".deck.results .card[data-playing]")).to_have_count(1)
    assert page.evaluate("document.querySelectorAll('audio').length") == 0
    assert page.evaluate("document.querySelectorAll('#kindred-player').length") == 1


def test_the_same_button_pauses(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    button = card(page, "Nocturne in E-flat").get_by_role("button", name="Pause Nocturne")
    button.click()
    until(page, lambda: not state(page)["playing"])
    expect(
        card(page, "Nocturne in E-flat").get_by_role("button", name="Play Nocturne")
    ).to_be_visible()


def test_space_pauses_unless_the_focus_owns_it(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    until(page, lambda: not state(page)["playing"])
    page.keyboard.press("Space")
    until(page, lambda: state(page)["playing"])

    words = page.get_by_label("Words")
    words.click()
    page.keyboard.type("a b")
    expect(words).to_have_value("a b")
    assert state(page)["playing"]


def test_space_on_a_button_presses_it_once(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    bar(page).get_by_role("button", name="Pause").focus()
    page.keyboard.press("Space")
    until(page, lambda: not state(page)["playing"])
    page.wait_for_timeout(300)
    assert not state(page)["playing"]


def test_clicking_the_waveforms_seeks(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    wave = bar(page).locator(".wave")
    box = wave.bounding_box()
    assert box is not None
    wave.click(position={"x": box["width"] * 0.5, "y": box["height"] / 2})
    until(page, lambda: 14.5 < state(page)["position"] < 17)

    small = card(page, "Nocturne in E-flat").locator(".wave")
    box = small.bounding_box()
    assert box is not None
    small.click(position={"x": box["width"] * 0.8, "y": box["height"] / 2})
    until(page, lambda: 23.5 < state(page)["position"] < 26)
    assert state(page)["playing"]


def test_dragging_seeks_where_it_ends(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    box = bar(page).locator(".wave").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 10, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, y, steps=4)
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
    assert state(page)["position"] < 5
    page.mouse.up()
    until(page, lambda: 17.5 < state(page)["position"] < 20)


def test_a_waveform_of_another_card_starts_there(page: Page) -> None:
    wave = card(page, "Spiegel im Spiegel").locator(".wave")
    wave.scroll_into_view_if_needed()
    box = wave.bounding_box()
    assert box is not None
    wave.click(position={"x": box["width"] * 0.5, "y": box["height"] / 2})
    until(page, lambda: state(page)["track_id"] == "s06" and 14.5 < state(page)["position"] < 17)


def test_arrows_seek_five_seconds_in_the_bar(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    bar(page).get_by_role("button", name="Pause").click()
    until(page, lambda: not state(page)["playing"])
    before = state(page)["position"]
    bar(page).get_by_role("slider", name="Position in Nocturne").focus()
    page.keyboard.press("ArrowRight")
    until(page, lambda: abs(state(page)["position"] - before - 5) < 0.1)
    bar(page).get_by_role("button", name="Play").focus()
    page.keyboard.press("ArrowLeft")
    until(page, lambda: abs(state(page)["position"] - before) < 0.1)


def test_next_and_previous_go_through_the_cards(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    bar(page).get_by_role("button", name="Next track").click()
    until(page, lambda: state(page)["track_id"] == "s02" and state(page)["playing"])
    bar(page).get_by_role("button", name="Previous track").click()
    until(page, lambda: state(page)["track_id"] == "s01" and state(page)["playing"])


def test_the_end_goes_on_to_the_next(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    page.evaluate(
        "dispatchEvent(new CustomEvent('kindred:seek', {detail: {track_id: 's01', at: 0.985}}))"
    )
    until(page, lambda: state(page)["track_id"] == "s02" and state(page)["playing"])


def test_sound_goes_on_over_a_rerun_and_a_page_switch(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    until(page, lambda: state(page)["position"] > 0.7)
    page.evaluate(
        f"""(() => {{
          const audio = {AUDIO};
          window.breaks = [];
          window.sameAudio = audio;
          for (const name of ["pause", "emptied", "seeking", "loadstart", "waiting"])
            audio.addEventListener(name, () => window.breaks.push(name));
        }})()"""
    )
    page.get_by_role("button", name="Rerun").click()
    expect(page.get_by_text("Run 2.")).to_be_visible()
    before = state(page)["position"]
    page.get_by_role("link", name="Trouble").click()
    expect(page.get_by_role("heading", name="Trouble")).to_be_visible()
    page.get_by_role("link", name="Results").click()
    expect(page.get_by_role("heading", name="What sounds like this?")).to_be_visible()
    until(page, lambda: state(page)["position"] > before + 0.5)
    assert page.evaluate("window.breaks") == []
    assert page.evaluate(f"window.sameAudio === {AUDIO}")
    # Cards that were drawn anew know what is playing.
    expect(card(page, "Nocturne in E-flat")).to_have_attribute("data-playing", "")


def test_an_order_from_python_is_carried_out_once(page: Page) -> None:
    page.get_by_role("link", name="Ordered").click()
    until(page, lambda: state(page)["track_id"] == "s02" and state(page)["playing"])
    page.get_by_role("link", name="Results").click()
    start(page, "Nocturne in E-flat", "s01")
    page.get_by_role("link", name="Ordered").click()
    expect(page.get_by_role("heading", name="Ordered from Python")).to_be_visible()
    page.wait_for_timeout(500)
    assert state(page)["track_id"] == "s01"
    page.get_by_role("button", name="Again").click()
    until(page, lambda: state(page)["track_id"] == "s02" and state(page)["playing"])
    bar(page).get_by_role("button", name="Next track").click()
    until(page, lambda: state(page)["track_id"] == "s03")


def test_more_and_less_arrive_in_python_as_often_as_clicked(page: Page) -> None:
    more = card(page, "Nocturne in E-flat").get_by_role("button", name="More like this")
    more.click()
    expect(page.get_by_text("Events: more s01 x1")).to_be_visible()
    expect(more).to_have_attribute("aria-pressed", "true")
    more.click()
    expect(page.get_by_text("Events: more s01 x2")).to_be_visible()
    card(page, "Spiegel").get_by_role("button", name="Less like this").click()
    expect(page.get_by_text("Events: less s06 x1, more s01 x2")).to_be_visible()
    expect(page.locator("#kindred-player")).to_be_hidden()


def test_a_click_keeps_the_focus_where_it_was(page: Page) -> None:
    more = card(page, "Nocturne in E-flat").get_by_role("button", name="More like this")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Events: more s01 x1")).to_be_visible()
    expect(more).to_have_attribute("aria-pressed", "true")
    expect(more).to_be_focused()


def test_a_hostile_title_is_text(page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expect(page.locator(".deck.results h3").nth(2)).to_contain_text(HOSTILE)
    start(page, HOSTILE, "s03")
    expect(bar(page).locator(".title")).to_have_text(HOSTILE)
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("#kindred-player img[src='x'], .card b:has-text('Nobody')").count() == 0
    assert dialogs == []


def test_missing_and_damaged_files_are_said_in_words(page: Page) -> None:
    page.get_by_role("link", name="Trouble").click()
    expect(page.get_by_role("heading", name="Trouble")).to_be_visible()
    play = page.locator(".deck.results .play")
    expect(play).to_have_count(3)  # until then the page before may still be there to be clicked
    play.nth(0).click()
    status = bar(page).get_by_role("status")
    expect(status).to_have_text("This file can no longer be found.")
    assert not state(page)["playing"]
    play.nth(1).click()
    expect(status).to_have_text(re.compile("cannot be played here"))
    play.nth(2).click()
    until(page, lambda: state(page)["track_id"] == "s02" and state(page)["playing"])
    expect(status).to_have_text("")


def test_a_track_without_an_address_is_said_in_words(page: Page) -> None:
    until(page, lambda: page.evaluate("Boolean(window.kindred?.player)"))
    page.evaluate(
        "dispatchEvent(new CustomEvent('kindred:play',"
        " {detail: {track_id: 'x', title: 'X', url: ''}}))"
    )
    expect(bar(page).get_by_role("status")).to_have_text("This file can no longer be found.")


def test_a_refused_autoplay_asks_for_a_press(page: Page) -> None:
    page.evaluate(
        "0, HTMLMediaElement.prototype.play = () =>"
        " Promise.reject(new DOMException('', 'NotAllowedError')), 0"
    )
    page.get_by_role("link", name="Ordered").click()
    expect(bar(page).get_by_role("status")).to_have_text("Press play to listen.")


def test_a_card_without_a_file_cannot_be_played(page: Page) -> None:
    expect(card(page, "Untitled demo 7").locator(".play")).to_be_disabled()


def test_reasons_can_be_read_and_heard(page: Page) -> None:
    picture = card(page, "Nocturne in E-flat").get_by_role("img", name="Why it is near")
    label = picture.get_attribute("aria-label") or ""
    shares = [int(n) for n in re.findall(r"(?:timbre|harmony|rhythm|dynamics) (\d+) %", label)]
    assert len(shares) == 4
    assert sum(shares) == 100
    expect(card(page, "Nocturne in E-flat").locator(".legend")).to_contain_text("timbre")


def test_touch_targets_and_names_of_the_bar(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    for button in bar(page).get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
        assert button.get_attribute("aria-label")
    for button in card(page, "Nocturne in E-flat").get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44


def test_volume_and_mute(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    bar(page).get_by_role("slider", name="Volume").fill("0.4")
    assert page.evaluate(f"{AUDIO}.volume") == pytest.approx(0.4)
    bar(page).get_by_role("button", name="Mute").click()
    assert page.evaluate(f"{AUDIO}.muted") is True
    bar(page).get_by_role("button", name="Unmute").click()
    assert page.evaluate(f"{AUDIO}.muted") is False
    assert page.evaluate("localStorage.getItem('kindred.volume')") == "0.4"


def test_media_session_knows_the_track(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    assert page.evaluate("navigator.mediaSession.metadata.title").startswith("Nocturne")
    assert page.evaluate("navigator.mediaSession.playbackState") == "playing"


def test_nothing_hides_behind_the_bar(page: Page) -> None:
    start(page, "Nocturne in E-flat", "s01")
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 1e6)")
    words = page.get_by_label("Words").bounding_box()
    foot = bar(page).bounding_box()
    assert words is not None
    assert foot is not None
    assert words["y"] + words["height"] <= foot["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_sideways_scrolling(chromium: Browser, app_url: str, scheme: Any) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(app_url)
    page.wait_for_selector(".deck.results .card")
    page.locator(".deck.results .play").first.tap()
    until(page, lambda: state(page)["playing"])
    wide = """[...document.querySelectorAll('.stBidiComponent')].length &&
      [document.documentElement, document.querySelector('[data-testid=stMain]')]
        .map((e) => e.scrollWidth - e.clientWidth)"""
    assert page.evaluate(wide) == [0, 0]
    foot = bar(page).bounding_box()
    assert foot is not None
    assert (foot["x"], foot["width"]) == (0, 390)
    for one in page.locator(".deck.results .card").all():
        box = one.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    expect(bar(page).get_by_role("slider", name="Volume")).to_be_hidden()
    context.close()


def test_theme_changes_reach_the_bar(chromium: Browser, app_url: str) -> None:
    context = chromium.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(app_url)
    page.wait_for_selector(".deck.results .card")
    page.locator(".deck.results .play").first.click()
    expect(bar(page)).to_be_visible()
    ink = f"getComputedStyle({AUDIO}.parentNode.querySelector('.bar')).color"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    until(page, lambda: page.evaluate(ink) != light)
    context.close()


def test_a_hundred_cards_are_quick(page: Page) -> None:
    before = time.monotonic()
    page.get_by_role("link", name="Many").click()
    expect(page.locator(".deck.results .card")).to_have_count(100)
    assert time.monotonic() - before < 10
    page.locator(".deck.results .play").first.click()
    until(page, lambda: state(page)["track_id"] == "s000")


def test_without_an_audio_route_streamlit_plays(chromium: Browser, unserved_url: str) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(unserved_url)
    page.wait_for_selector(".deck.results .card")
    card(page, "Spiegel im Spiegel").locator(".play").click()
    expect(page.get_by_text("Events: play s06 x1")).to_be_visible()
    expect(page.locator("audio")).to_have_count(1)
    assert page.locator("#kindred-player").count() == 0
    context.close()


def test_nothing_is_asked_from_outside(chromium: Browser, app_url: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    outside: list[str] = []
    inside = (app_url, app_url.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(inside) else outside.append(r.url))
    page.goto(app_url)
    page.wait_for_selector(".deck.results .card")
    page.locator(".deck.results .play").first.click()
    until(page, lambda: state(page)["playing"])
    page.get_by_role("link", name="Trouble").click()
    expect(page.get_by_role("heading", name="Trouble")).to_be_visible()
    assert outside == []
    context.close()
