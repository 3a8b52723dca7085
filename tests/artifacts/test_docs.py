"""The ten lines that the docs show read an artifact."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kindred.artifacts.read import Artifact

DOC = Path(__file__).parents[2] / "docs" / "artifacts.md"


def snippet(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)
    assert found, f"{DOC} shows no {language}"
    assert found[1].count("\n") == 10
    return found[1]


def nearest(exported: Path) -> list[tuple[str, float]]:
    artifact = Artifact.open(exported)
    hits = artifact.nearest(artifact.track_ids[0], k=5)
    return [(hit.track_id, pytest.approx(hit.similarity, abs=1e-6)) for hit in hits]


def test_python(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", snippet("python"), str(exported)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(row[0], float(row[-1])) for row in rows] == nearest(exported)
    assert [row[1:3] for row in rows] == [["Title", str(int(row[0][1:]))] for row in rows]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(exported: Path, tmp_path: Path) -> None:
    script = tmp_path / "nearest.mjs"
    script.write_text(snippet("javascript"), encoding="utf-8")
    done = subprocess.run(
        ["node", str(script), str(exported)], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(row[0], float(row[1])) for row in rows] == nearest(exported)
