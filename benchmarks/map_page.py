"""How fast the map is at 50,000 tracks, beside plotly's scattergl in `st.plotly_chart`.

A small Streamlit app (tests/browser/map_app.py) draws the same made-up points with either, in
headless Chromium, where WebGL runs on the processor: a graphics card only makes both faster.
Measured, each as the median of several openings:

- seconds from the request to the first picture of the points;
- frames per second while the mouse drags the map about, by requestAnimationFrame;
- milliseconds from the press of the mouse on a point until the player's sound is `playing`;
- bytes over the websocket until then, and in a rerun that changes nothing.

The ratio is frames per second of ours / of plotly.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from time import perf_counter, sleep

from playwright.sync_api import Browser, Page, sync_playwright
from report import finish, options, say

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browsing import free_port, launch  # noqa: E402

FRAMES = """() => {
  window.frames_seen = 0;
  window.started = performance.now();
  const count = () => { window.frames_seen += 1; window.counting = requestAnimationFrame(count); };
  window.counting = requestAnimationFrame(count);
}"""
FRAMES_END = """() => {
  cancelAnimationFrame(window.counting);
  return 1000 * window.frames_seen / (performance.now() - window.started);
}"""
SOUND = """() => {
  window.sounded = new Promise((resolve) => {
    const audio = document.querySelector("#kindred-player").shadowRoot.querySelector("audio");
    const pressed = () => { window.pressed = performance.now(); };
    window.addEventListener("pointerdown", pressed, { capture: true, once: true });
    audio.addEventListener("playing", () => resolve(performance.now() - window.pressed));
  });
}"""
# Where there is a picture, and what the mouse takes hold of.
OURS = (".kindred-map[data-drawn]", ".kindred-map .overlay")
PLOTLY = (".js-plotly-plot .gl-canvas-context", ".js-plotly-plot .nsewdrag")


def measure(browser: Browser, url: str, parts: tuple[str, str]) -> dict[str, float]:
    """Open the map once and do everything on it."""
    drawn, surface = parts
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    received = [0]

    def count(payload: str | bytes) -> None:
        received[0] += len(payload)

    page.on("websocket", lambda socket: socket.on("framereceived", count))
    started = perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(drawn, timeout=120_000, state="attached")
    if parts is PLOTLY:  # the canvas stands before the points are on it
        page.wait_for_function(
            "() => document.querySelector('.js-plotly-plot')?._fullLayout?._plots?.xy?._scene"
            "?.dirty === false",
            timeout=120_000,
        )
    figures = {"first_picture_s": perf_counter() - started}
    page.wait_for_timeout(1_500)
    figures["megabytes"] = received[0] / 1e6
    received[0] = 0
    page.get_by_role("button", name="Rerun").click()
    page.get_by_text("Run 2.").wait_for()
    page.wait_for_timeout(1_000)
    figures["rerun_kilobytes"] = received[0] / 1e3

    box = page.locator(surface).first.bounding_box()
    assert box is not None
    x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(FRAMES)
    end = perf_counter() + 3
    step = 0
    while perf_counter() < end:
        step += 1
        page.mouse.move(x + 120 * ((step / 40) % 2 - 1), y + 60 * ((step / 25) % 2 - 1))
    figures["frames_per_second"] = page.evaluate(FRAMES_END)
    page.mouse.move(x, y)
    page.mouse.up()
    page.wait_for_timeout(500)

    figures["click_to_sound_ms"] = click_to_sound(page, x, y)
    context.close()
    return figures


def click_to_sound(page: Page, x: float, y: float) -> float:
    """Press on a point in the middle and wait for the sound."""
    page.evaluate(SOUND)
    for dx in range(0, 60, 4):  # the middle of the map may lie between two points
        page.mouse.move(x + dx, y)
        page.wait_for_timeout(150)
        if page.locator(".kindred-map .tip:not([hidden]), .hoverlayer .hovertext").count():
            break
    page.mouse.down()
    page.mouse.up()
    return float(page.evaluate("() => window.sounded"))


def main() -> None:
    args = options(__doc__)
    count, times = (5_000, 1) if args.quick else (50_000, 5)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.map_server", str(port), folder],
            cwd=ROOT,
            env=os.environ | {"KINDRED_SCRATCH_SERVED": "1"},
        )
        try:
            base = f"http://127.0.0.1:{port}/?n={count}"
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                    break
                except OSError:
                    sleep(0.25)
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "plotly": []}
            with sync_playwright() as playwright:
                browser = launch(playwright)
                for number in range(times + 1):  # the first warms the server and does not count
                    for name, address, parts in (
                        ("ours", base, OURS),
                        ("plotly", f"{base}&engine=plotly", PLOTLY),
                    ):
                        figures = measure(browser, address, parts)
                        if number or args.quick:
                            runs[name].append(figures)
                browser.close()
        finally:
            server.terminate()
            server.wait(10)
    medians = {
        name: {key: round(statistics.median(one[key] for one in some), 2) for key in some[0]}
        for name, some in runs.items()
    }
    for key in medians["ours"]:
        say(
            args,
            f"{key:20} ours {medians['ours'][key]:10.2f}   plotly {medians['plotly'][key]:10.2f}",
        )
    ours, peer = (medians[name]["frames_per_second"] for name in ("ours", "plotly"))
    finish("map_page", ours=ours, peer=peer, ratio=ours / peer, points=count, measured=medians)


if __name__ == "__main__":
    main()
