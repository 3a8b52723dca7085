"""An organiser's way in a browser: design, draw, open, invite; a listener follows the link."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from kindred.config import Settings
from kindred.services import build
from tests.audit.library import plant
from tests.browser.conftest import App
from tests.browsing import free_port, serving

pytestmark = pytest.mark.browser

MINUTE = 60_000
NUMBERS = {
    "Real trials": 2, "Catch trials": 1, "Repeats": 0, "Practice": 1, "Listeners expected": 2,
    "Listeners an item": 2, "Clip, seconds": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Kindred with thirty tones of five composers and no study."""
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(folder / "library"), model_dir=str(folder / "models"))
        plant(services.storage, folder / "music", services.space())
        services.close()
    env = {"KINDRED_HOME": str(folder / "library"), "KINDRED_MODEL_DIR": str(folder / "models")}
    port = free_port()
    command = [sys.executable, "-m", "kindred", "serve", "--port", str(port)]
    with serving(command, port=port, log=folder / "server.log", env=env) as url:
        yield App(url, folder / "library", folder / "music")


def test_from_a_design_to_a_listeners_sitting(page: Page, chromium: Browser, library: App) -> None:
    page.goto(f"{library.url}/audit")
    for label, value in NUMBERS.items():
        page.get_by_label(label, exact=True).fill(str(value))
        page.keyboard.press("Enter")
    said = "2 listeners with 2 real trials each give 4 judgements of 2 items"
    expect(page.get_by_text(said)).to_be_visible(timeout=MINUTE)
    page.get_by_role("button", name="Draw it").click()
    # The job is followed, and what it drew is shown.
    expect(page.get_by_text("2 items, 1 catch trials and 1 for practice")).to_be_visible(
        timeout=2 * MINUTE
    )
    page.get_by_role("button", name="Open it").click()
    names = page.get_by_role("textbox", name="Invite, one name or label a line")
    names.fill('Ears\nMore, "ears"')
    page.get_by_role("button", name="Make links").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Links as CSV").click()
    links = dict(csv.reader(Path(download.value.path()).read_text("utf-8").splitlines()))
    assert list(links) == ["Ears", 'More, "ears"']
    assert all(link.startswith(f"{library.url}/listen/") for link in links.values())
    expect(names).to_have_value("")

    # Each listener comes by their link alone, on a machine of their own.
    context = chromium.new_context()
    listener = context.new_page()
    asked: list[str] = []
    listener.on("request", lambda request: asked.append(request.url))
    listener.goto(links["Ears"])
    expect(listener.get_by_role("heading", name="lend us your ears")).to_be_visible(timeout=MINUTE)
    assert asked
    assert all(url.startswith(f"{library.url}/listen/") for url in asked)
    context.close()

    page.get_by_text("Results", exact=True).click()
    expect(page.get_by_text("Nobody has answered yet.")).to_be_visible()
    page.goto(str(page.evaluate("location.href")))
    expect(page.get_by_text("3 trials of 1 s")).to_be_visible()
