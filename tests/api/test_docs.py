"""The examples of the docs work as they stand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kindred.services import build
from kindred.services.evaluations import Options
from tests.api.server import serving_api
from tests.api.test_access import paths
from tests.browsing import ROOT
from tests.conftest import tone

DOC = (ROOT / "docs" / "api.md").read_text("utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples(tmp_path: Path) -> None:
    services = build()
    for number in range(6):
        tone(tmp_path / "music" / f"Prelude {number}.wav", hz=300 + 100 * number)
    services.ingest().run([tmp_path / "music"])
    services.storage.put_tracks(
        replace(track, composer=f"Composer {number % 2}", genre="Baroque")
        for number, track in enumerate(services.storage.list_tracks())
    )
    services.evaluations.run(Options(encoders=("descriptors",)))
    services.close()
    tone(tmp_path / "song.wav", hz=440).rename(tmp_path / "song.mp3")

    found = re.search(r"```sh\nAPI=.*\n((?:.+\n)+)```", DOC)
    assert found
    (tmp_path / ".curlrc").write_text('fail-with-body\nsilent\nwrite-out="\\n"\n')
    env = {"KINDRED_HOME": str(tmp_path / "library"), "CURL_HOME": str(tmp_path)}
    with serving_api(log=tmp_path / "log", env=env) as url:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", found[1]],
            cwd=tmp_path,
            env={"API": url, "PATH": "/usr/bin:/bin", **env},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert len(answers) == len(re.findall(r"^curl", found[1], flags=re.MULTILINE)) == 9
    assert answers[0]["tracks"] == 6
    assert len(answers[1]["tracks"]) == 5
    assert all(answer["hits"] for answer in answers if "hits" in answer)


def test_the_table_has_every_route() -> None:
    from kindred.api.app import create_api, standalone

    services = build()
    described = {
        f"{method.upper()} {path.replace('t001', '{id}')}"
        for method, path in paths(standalone(create_api(services)))
    }
    services.close()
    assert set(re.findall(r"^\| `((?:GET|POST) [^`]+)`", DOC, flags=re.MULTILINE)) == described
