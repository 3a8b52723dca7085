"""`kindred api` in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.browsing import free_port


@contextmanager
def serving_api(
    *arguments: str, log: Path, env: Mapping[str, str], command: Sequence[str] = ()
) -> Iterator[str]:
    """Run it until the block ends and give the API's address; what it logs goes to ``log``."""
    port = free_port()
    command = command or [sys.executable, "-m", "kindred", "api"]
    settings = {"KINDRED_HOST": "127.0.0.1", "KINDRED_PORT": str(port)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *arguments], env=os.environ | settings | dict(env), stdout=out, stderr=out
        )
        try:
            url = f"http://127.0.0.1:{port}/api"
            _wait_for(f"{url}/health", process, log)
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"The API did not start:\n{log.read_text()}")
