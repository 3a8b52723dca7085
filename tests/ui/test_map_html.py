"""The map as a file: one that opens from disk, asks for nothing, and finds what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from kindred.ui.map_html import to_html
from kindred.ui.map_view import Colouring, Points

HOSTILE = "</script><script>alert(1)</script>"


def made() -> tuple[Points, Colouring]:
    rng = np.random.default_rng(0)
    titles = [f"Title {i}" for i in range(300)]
    titles[7] = "Rusalka: Měsíčku na nebi"
    titles[8] = HOSTILE
    points = Points(
        [f"t{i}" for i in range(300)],
        rng.normal(size=(300, 2)).astype(np.float32),
        titles,
        ["Antonín Dvořák" if i == 7 else f"Composer {i % 9}" for i in range(300)],
    )
    return points, Colouring.of_labels("Era", [("Late", "Early", "")[i % 3] for i in range(300)])


def test_names_cannot_become_markup() -> None:
    points, colours = made()
    html = to_html(points, colours, [(0, 0, HOSTILE, 1)], title=HOSTILE)
    assert "<script>alert" not in html
    assert html.count("</script>") == 1
    assert "http://" not in html.split("<script")[1].replace("http://www.w3.org/", "")


def test_a_colouring_of_other_points_is_refused() -> None:
    with pytest.raises(ValueError, match="2 entries for 300 points"):
        to_html(made()[0], Colouring.plain(2), title="Map")


@pytest.mark.browser
def test_the_file_opens_from_disk_and_finds_a_track(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    file.write_text(to_html(*made(), [(0, 0, HOSTILE, 1)], title="My music"), "utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 1200, "height": 800})
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda one: one.url.startswith("http") and troubles.append(one.url))
    page.goto(file.as_uri())
    page.locator(".kindred-map[data-drawn]").wait_for()
    expect(page.locator(".legend button")).to_have_count(3)
    page.get_by_label("Find a track").fill("dvorak mesicku")
    page.keyboard.press("Enter")
    expect(page.locator(".tip-title")).to_have_text("Rusalka: Měsíčku na nebi")
    page.get_by_label("Find a track").fill("no such thing")
    expect(page.locator(".find .none")).to_be_visible()
    context.close()
    assert troubles == []
