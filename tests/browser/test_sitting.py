"""A listener's sitting in a browser: by keyboard, by touch, and through whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from kindred.audit.judgement import Judgement
from tests.browser.test_app import until
from tests.listening import STUDY, Planted, Server

pytestmark = pytest.mark.browser

MINUTE = 60_000
#: What follows a trial.
NEXT = ".trial.locked, .feedback, .break, section.done"


class Sitter:
    """A listener at a page, by keyboard alone unless the test does otherwise."""

    def __init__(self, page: Page, planted: Planted, token: str) -> None:
        self.page, self.planted, self.token = page, planted, token

    def open(self, server: Server) -> None:
        self.page.goto(f"{server.url}/{self.token}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", name=text)).to_be_visible(timeout=MINUTE)

    def begin(self, each: Callable[[], None] = lambda: None) -> None:
        """From consent to the first trial; ``each`` is called on every screen."""
        self.heading("lend us your ears")
        self.press("Enter")
        self.heading("How loud?")
        each()
        self.press(" ")
        expect(self.page.get_by_role("button", name="It is comfortable")).to_be_enabled()
        self.press("Enter")
        self.heading("Left or right?")
        self.press(" ")
        for side in self.planted.sittings.view(self.token)["sound_check"]["sides"]:
            expect(self.page.get_by_role("button", name="Left")).to_be_enabled(timeout=MINUTE)
            each()
            self.press(f"Arrow{side.title()}")
        self.heading("How it goes")
        each()
        self.press("Enter")
        expect(self.page.locator(".trial")).to_be_visible()

    def hear(self) -> None:
        """One press, and the clips follow one another."""
        expect(self.page.get_by_text("Loading…")).to_have_count(0, timeout=MINUTE)
        self.press(" ")
        self.heard()

    def heard(self) -> None:
        count = self.page.locator(".clip").count()
        expect(self.page.locator(".clip.heard")).to_have_count(count, timeout=MINUTE)

    def answer(self, *keys: str) -> None:
        """Hear the trial, answer it and wait for what comes next."""
        self.hear()
        self.press(*keys, "Enter")
        expect(self.page.locator(NEXT)).to_be_visible(timeout=MINUTE)

    def judgements(self) -> list[Judgement]:
        found = self.planted.store.judgements(STUDY)
        return [item for item in found if item.position >= 0]


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return ready(tmp_path)


def ready(folder: Path, **changes: object) -> Planted:
    """A planted study without practice whose clips have been made."""
    made = Planted.make(folder, **{"practice": 0} | changes)
    made.clips.prepare(made.store.study(STUDY))
    return made


@pytest.fixture
def server(planted: Planted) -> Iterator[Server]:
    with Server(planted.folder) as running:
        yield running


@pytest.fixture
def sitter(page: Page, planted: Planted, server: Server) -> Sitter:
    made = Sitter(page, planted, planted.invite())
    made.open(server)
    return made


@contextmanager
def phone(chromium: Browser) -> Iterator[BrowserContext]:
    size = {"width": 390, "height": 844}
    opened = chromium.new_context(viewport=size, is_mobile=True, has_touch=True)  # type: ignore[arg-type]
    yield opened
    opened.close()


# -- whole sittings --------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_trials_by_keyboard_alone(page: Page, tmp_path: Path) -> None:
    planted = ready(tmp_path, trials=20, catches=6, repeats=4, practice=2)
    with Server(tmp_path) as server:
        sitter = Sitter(page, planted, planted.invite())
        sitter.open(server)
        sitter.begin()
        for title in ("Practice", "That was the practice"):
            sitter.answer("3")
            sitter.heading(title)
            sitter.press("Enter")
        for number in range(30):
            if number == 15:
                sitter.heading("Half-way")
                expect(page.locator("#count")).to_have_text("15 of 30 done")
                sitter.press("Enter")
            expect(page.locator("#count")).to_have_text(f"{number + 1} of 30")
            if number == 4:
                sitter.press("m")
                page.keyboard.type("1 c r: words")
                sitter.press("Escape")
            sitter.answer("c" if number == 29 else str(number % 5 + 1))
        sitter.heading("That was it")
    kept = sitter.judgements()
    assert [item.position for item in kept] == list(range(30))
    points = [item.answer["point"] if item.answer else None for item in kept]
    assert points == [number % 5 - 2 for number in range(29)] + [None]
    assert [item.comment for item in kept if item.comment] == ["1 c r: words"]
    for item in kept:
        assert [heard.whole for heard in item.heard] == [True] * 3
        assert all(0.9 < heard.seconds < 1.3 * heard.plays for heard in item.heard)
        assert item.seconds > 3.0 > item.deciding_seconds > 0
        assert item.device == {"width": 1440, "touch": False}


@pytest.mark.slow
def test_a_sitting_on_a_phone_by_touch(chromium: Browser, planted: Planted, server: Server) -> None:
    with phone(chromium) as context:
        page = context.new_page()
        sitter = Sitter(page, planted, planted.invite())
        sitter.open(server)

        def tap(name: str) -> None:
            page.get_by_role("button", name=name).tap()

        tap("I agree")
        tap("Play the test sound")
        tap("It is comfortable")
        tap("Play the first tone")
        for side in planted.sittings.view(sitter.token)["sound_check"]["sides"]:
            expect(page.get_by_role("button", name="Left")).to_be_enabled(timeout=MINUTE)
            tap(side.title())
        tap("Start the practice")
        while not page.locator("section.done").count():
            expect(page.locator(".trial")).to_be_visible()
            expect(page.get_by_text("Loading…")).to_have_count(0, timeout=MINUTE)
            page.locator(".clip").first.tap()
            sitter.heard()
            page.locator(".choice").nth(3).tap()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            for target in page.locator("button:visible, .choice").all():
                box = target.bounding_box()
                assert box is not None
                assert box["height"] >= 44
                assert box["width"] >= 44
            tap("Next")
            expect(page.locator(NEXT)).to_be_visible(timeout=MINUTE)
            if page.locator(".break").count():
                tap("Go on")
        sitter.heading("That was it")
    kept = sitter.judgements()
    assert [item.answer for item in kept] == [{"point": 1}] * 10
    assert kept[0].device == {"width": 390, "touch": True}


@pytest.mark.parametrize(
    ("form", "keys", "answer"),
    [
        ("graded", ["1", "n", "2", "s", "3", "v", "ArrowUp", "4", "v", "ArrowDown", "5", "n"],
         {"broad": [0, 1, 2, 2, 0], "fine": [17, 50, 88, 78, 17]}),
        ("odd", ["ArrowRight", "3"], {"odd": 2}),
    ],
)  # fmt: skip
def test_the_other_forms_by_keyboard(
    page: Page, tmp_path: Path, form: str, keys: list[str], answer: object
) -> None:
    planted = ready(tmp_path, form=form, trials=1, catches=0, repeats=0)
    with Server(tmp_path) as server:
        sitter = Sitter(page, planted, planted.invite())
        sitter.open(server)
        sitter.begin()
        sitter.answer(*keys)
        sitter.heading("That was it")
    assert [item.answer for item in sitter.judgements()] == [answer]


# -- hearing ---------------------------------------------------------------------------------------
def test_nothing_is_answered_before_everything_was_heard_to_its_end(
    sitter: Sitter, page: Page
) -> None:
    sitter.begin()
    clips = page.locator(".clip")
    hint = page.locator(".hint")
    expect(hint).to_have_text("Still to hear to the end: Reference, A and B")
    expect(page.get_by_text("Loading…")).to_have_count(0, timeout=MINUTE)
    sitter.press("1", "c", "Enter")
    assert page.locator(".choice input:checked").count() == 0
    sitter.press("a")
    expect(clips.nth(1)).to_have_attribute("aria-label", "Pause A")
    sitter.press(" ")  # paused before its end
    expect(clips.nth(1)).to_have_attribute("aria-label", "Play A")
    page.wait_for_timeout(1_200)
    expect(page.locator(".clip.heard")).to_have_count(0)
    sitter.press(" ")  # and on to its end; then the reference and B follow
    sitter.heard()
    expect(hint).to_contain_text("All heard")
    for choice in page.locator(".choice input").all():
        expect(choice).to_be_enabled()
    sitter.press("5", "Enter")
    expect(page.locator("#count")).to_have_text("2 of 10")
    heard = sitter.judgements()[0].heard
    assert all(clip.whole and 1.0 <= clip.seconds < 1.15 for clip in heard)


def test_one_clip_sounds_at_a_time(sitter: Sitter, page: Page) -> None:
    sitter.begin()
    expect(page.get_by_text("Loading…")).to_have_count(0, timeout=MINUTE)
    for keys in ("r", "a", "b", "0", "ArrowRight", "ArrowLeft"):
        sitter.press(keys)
        until(lambda: page.locator("[aria-label^='Pause']").count() == 1)
        until(lambda: page.locator(".clip.current").count() == 1)


def test_a_clip_that_cannot_be_played_is_asked_for_again(sitter: Sitter, page: Page) -> None:
    page.route("**/clip/*", lambda route: route.fulfill(body=b"no music", status=200))
    sitter.begin()
    silent = page.locator(".status", has_text="Cannot be played")
    expect(silent).to_have_count(3)
    expect(page.locator(".hint")).to_contain_text("cannot be played here")
    page.unroute("**/clip/*")
    for clip in page.locator(".clip").all():
        clip.click()
    expect(silent).to_have_count(0)
    expect(page.locator(".hint")).to_contain_text("Still to hear")
    sitter.heard()  # the one pressed last, then the others
    sitter.press("2", "Enter")
    expect(page.locator("#count")).to_have_text("2 of 10")


# -- coming back -----------------------------------------------------------------------------------
def test_a_reload_goes_on_where_it_was_and_one_step_back_shows_the_answer(
    sitter: Sitter, page: Page
) -> None:
    sitter.begin()
    sitter.answer("4")
    sitter.answer("2")
    page.reload()
    expect(page.locator("#count")).to_have_text("3 of 10")
    sitter.press("Backspace")
    expect(page.locator("#count")).to_have_text("3 of 10")
    expect(page.locator(".choice input").nth(1)).to_be_checked()
    sitter.answer("5")
    expect(page.locator("#count")).to_have_text("3 of 10")
    expect(page.get_by_role("button", name="Back")).to_have_count(0)
    kept = sitter.judgements()
    assert [(item.position, item.revision) for item in kept] == [(0, 0), (1, 0), (1, 1)]
    assert [item.answer for item in kept] == [{"point": 1}, {"point": -1}, {"point": 2}]


def test_a_second_window_is_told_where_the_first_one_is(
    sitter: Sitter, page: Page, server: Server
) -> None:
    sitter.begin()
    other = Sitter(page.context.new_page(), sitter.planted, sitter.token)
    other.open(server)
    expect(other.page.locator("#count")).to_have_text("1 of 10")
    sitter.answer("1")
    expect(page.locator("#count")).to_have_text("2 of 10")
    other.answer("5")
    expect(other.page.locator("#count")).to_have_text("2 of 10")
    expect(other.page.locator("#notice")).to_contain_text("answered already")
    other.answer("5")
    expect(other.page.locator("#notice")).to_be_hidden()
    assert [item.answer for item in sitter.judgements()] == [{"point": -2}, {"point": 2}]


# -- servers and networks that fail ----------------------------------------------------------------
def test_a_server_that_is_killed_loses_nothing(sitter: Sitter, page: Page, server: Server) -> None:
    sitter.begin()
    sitter.hear()
    server.kill()
    sitter.press("4", "Enter")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("Not saved yet", timeout=MINUTE)
    expect(page.locator("#count")).to_have_text("1 of 10")
    server.start()
    # "Try now", unless the page has just tried by itself.
    page.evaluate("document.querySelector('#notice button')?.click()")
    expect(page.locator("#count")).to_have_text("2 of 10", timeout=MINUTE)
    expect(notice).to_be_hidden()
    assert [item.answer for item in sitter.judgements()] == [{"point": 1}]
    assert page.evaluate("localStorage.length") == 0


def test_an_answer_outlives_its_page_when_the_server_is_away(
    sitter: Sitter, page: Page, server: Server
) -> None:
    sitter.begin()
    sitter.hear()
    server.kill()
    sitter.press("2", "Enter")
    expect(page.locator("#notice")).to_contain_text("Not saved yet", timeout=MINUTE)
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert sitter.token not in kept
    context = page.context
    page.close(run_before_unload=False)
    server.start()
    again = Sitter(context.new_page(), sitter.planted, sitter.token)
    again.open(server)
    expect(again.page.locator("#count")).to_have_text("2 of 10", timeout=MINUTE)
    assert [item.answer for item in sitter.judgements()] == [{"point": -1}]
    assert again.page.evaluate("localStorage.length") == 0


def test_an_answer_whose_acknowledgement_is_lost_counts_once(sitter: Sitter, page: Page) -> None:
    sitter.begin()
    lost: list[int] = []

    def lose(route: object) -> None:
        if len(lost) < 2:
            lost.append(route.fetch().status)  # type: ignore[attr-defined]
            route.abort()  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    page.route("**/answer", lose)
    sitter.answer("3")
    expect(page.locator("#count")).to_have_text("2 of 10", timeout=MINUTE)
    assert lost == [200, 200]
    assert [item.answer for item in sitter.judgements()] == [{"point": 0}]


def test_two_clicks_are_one_answer(sitter: Sitter, page: Page) -> None:
    sitter.begin()
    sitter.hear()
    sitter.press("3")
    page.get_by_role("button", name="Next").dblclick()
    expect(page.locator("#count")).to_have_text("2 of 10")
    page.wait_for_timeout(300)
    expect(page.locator("#count")).to_have_text("2 of 10")
    assert len(sitter.judgements()) == 1


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("incomplete", "This link is not complete"),
        ("unknown", "This link is not known here"),
        ("expired", "This link has expired"),
        ("revoked", "This link was withdrawn"),
        ("closed", "This study is closed"),
    ],
)
def test_links_that_lead_nowhere_say_why(
    page: Page, planted: Planted, server: Server, code: str, title: str
) -> None:
    token = planted.invite(days=1e-5 if code == "expired" else 1)
    invitation = planted.store.invitations(STUDY)[0]
    if code == "expired":
        until(lambda: invitation.expires_at < planted.store.now())  # in about a second
    elif code == "revoked":
        planted.store.revoke(invitation.invitation_id)
    elif code == "closed":
        planted.store.close_study(STUDY)
    address = {"incomplete": "", "unknown": f"{token}x"}.get(code, token)
    page.goto(f"{server.url}/{address}")
    expect(page.get_by_role("heading", name=title)).to_be_visible()


def test_a_study_that_closes_under_a_sitting_says_so(sitter: Sitter, page: Page) -> None:
    sitter.begin()
    sitter.hear()
    sitter.planted.store.close_study(STUDY)
    sitter.press("3", "Enter")
    sitter.heading("This study is closed")
    assert page.evaluate("localStorage.length") == 0
