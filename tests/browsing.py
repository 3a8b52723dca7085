"""Running a server of ours in a process of its own, and headless Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright

ROOT = Path(__file__).parents[1]
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], *, port: int, log: Path, env: Mapping[str, str]
) -> Iterator[str]:
    """Run a server until the block ends and give its address; its output goes to ``log``.

    Raises
    ------
    RuntimeError
        With the server's output, when it does not answer within a minute.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | dict(env), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise RuntimeError(f"The server did not start:\n{log.read_text()}")


def launch(playwright: Playwright) -> Browser:
    """Start headless Chromium; KINDRED_CHROMIUM may name another than the system's."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    path = os.environ.get("KINDRED_CHROMIUM") or found or "/usr/bin/chromium"
    return playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
