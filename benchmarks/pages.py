"""How fast the pages are drawn at 10,000 tracks, against a limit of one second.

A library of 10,000 tracks is made (random names and random vectors: this says nothing of quality),
`kindred serve` is started on it, and headless Chromium opens each page. The first opening warms
the server; then each page is opened five times, and the median time from the request until its
content stands is taken. The ratio is that of the first page, Home; the others stand beside it.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from report import finish, options, say

from kindred.config import load_settings
from kindred.embeddings.registry import load_encoder
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, FileRecord, Track

LIMIT = 1.0


def make_library(home: Path, count: int) -> str:
    """Fill a library with made-up tracks and return the id of one."""
    rng = np.random.default_rng(0)
    space = load_encoder("descriptors", load_settings()).space
    storage = LocalBackend(home)
    vectors = rng.normal(size=(count, space.dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = ["Prelude", "Fugue", "Sonata", "Air", "Gigue", "Chorale", "Nocturne", "Rag", "Motet"]
    ids = [f"track-{number:05d}" for number in range(count)]
    with storage.batch():
        storage.put_tracks(
            Track(
                track_id,
                title=f"{words[number % 9]} No. {number}",
                artist=f"Ensemble {number % 400}",
                album=f"Album {number // 12}",
                composer=f"Composer {number % 250}",
                work=f"Work {number // 3}",
                genre=("Baroque", "Classical", "Romantic", "Folk")[number % 4],
                year=1500 + number % 500,
                duration=float(rng.uniform(60, 600)),
                format=("flac", "mp3", "m4a")[number % 3],
                peaks=rng.integers(0, 255, 240, dtype=np.uint8).tobytes(),
                added_at="2026-01-01T00:00:00",
            )
            for number, track_id in enumerate(ids)
        )
        storage.put_files(
            FileRecord(f"/music/{track_id}.flac", 1, 1, track_id, track_id) for track_id in ids
        )
        storage.put_embeddings(
            space,
            [Embedding(i, i, v, v[None]) for i, v in zip(ids, vectors, strict=True)],
        )
    storage.close()
    return ids[count // 2]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with status {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not answer within a minute")


def main() -> None:
    from playwright.sync_api import sync_playwright

    args = options(__doc__)
    count, times = (2_000, 3) if args.quick else (10_000, 5)
    chromium = os.environ.get("KINDRED_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        track_id = make_library(Path(folder), count)
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "kindred", "serve", "--port", str(port)],
            env=os.environ | {"KINDRED_HOME": folder},
        )
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/api/health", server)
            pages = {
                "home": ("/", ".card"),
                "library": ("/library", "[data-testid=stDataFrame] canvas"),
                "similar": (f"/similar?track={track_id}", "text=search over"),
            }
            medians = {}
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium,
                    args=[
                        "--no-sandbox",
                        "--disable-gpu",
                        "--disable-background-networking",
                        "--disable-component-update",
                        "--disable-sync",
                        "--no-first-run",
                    ],
                )
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                for name, (path, content) in pages.items():
                    taken = []
                    for _ in range(times + 1):
                        started = time.perf_counter()
                        page.goto(base + path, wait_until="commit")
                        page.wait_for_selector(content, timeout=60_000)
                        taken.append(time.perf_counter() - started)
                    medians[name] = statistics.median(taken[1:])
                    say(args, f"{name:8} {medians[name]:.2f} s warm, {taken[0]:.2f} s at first")
                browser.close()
        finally:
            server.terminate()
            server.wait(10)
    first = medians["home"]
    finish(
        "pages", ours=first, peer=LIMIT, ratio=LIMIT / first, tracks=count,
        seconds={name: round(value, 3) for name, value in medians.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
