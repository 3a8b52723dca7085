"""Whatever the OpenAPI description allows or forbids gets a documented answer, never a 5xx.

Schemathesis asks a running server: the edges of every parameter, right and wrong values at random,
and chains of requests where one uses ids that another gave. It checks every answer against the
description: status, content type, headers, body, and that no route is open without the key.

It runs as a program of its own, since its plugin does not know this pytest. One check is left out,
that what fits the description is taken: random bytes are not audio, and a track cannot be both
wanted and unwanted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import World
from tests.api.server import serving_api

KEY = "a-key-for-tests"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["library", "artifact"])
def test_no_request_breaks_it(source: str, world: World, tmp_path: Path) -> None:
    arguments = ("--artifacts", str(world.artifact)) if source == "artifact" else ()
    env = {"KINDRED_HOME": str(world.home), "KINDRED_API_KEY": KEY}
    log = tmp_path / "api.log"
    with serving_api(*arguments, log=log, env=env) as url:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run"),
                f"{url}/openapi.json",
                *("--header", f"X-API-Key: {KEY}"),
                *("--exclude-checks", "positive_data_acceptance"),
                *("--max-examples", "6", "--seed", "1", "--generation-database", "none"),
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6_000:]
    lines = [line for line in map(_request, log.read_text().splitlines()) if line]
    assert len(lines) > 300, done.stdout[-6_000:]
    assert max(line["status"] for line in lines) < 500
    assert {"GET", "POST"} < {line["method"] for line in lines}
    asked = {line["path"] for line in lines if line["status"] == 200}
    assert {
        "/api/health", "/api/models", "/api/tracks", "/api/tracks/{track_id}",
        "/api/tracks/{track_id}/nearest", "/api/tracks/{track_id}/composer-eval", "/api/search",
        "/api/eval/summary",
    } <= asked  # fmt: skip


def _request(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    read: dict[str, object] = json.loads(line)
    return read if read["message"] == "request" else None
