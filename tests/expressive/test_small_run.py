"""The small run by its command: from nothing to a gate report, and what it shows of quality."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kindred.expressive import bundle


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_command_goes_from_nothing_to_a_gate_report(tmp_path: Path) -> None:
    """The small run: what it shows of quality is that the learned scorers beat a plain cosine."""
    command = [sys.executable, "-m", "kindred", "expressive"]
    environment = os.environ | {"KINDRED_HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "train", "--size", "small", "--source", "layers", "--json"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    run_id = said["run_id"]
    assert said["record"]["state"] == "made"
    gates = {gate["name"]: gate for gate in said["gates"]["gates"]}
    for name in ("splits", "placebos", "shortcuts", "student"):
        assert gates[name]["passed"], gates[name]["detail"]
    assert gates["people"]["passed"] is None  # nobody was asked
    folder = bundle.runs_folder(tmp_path) / run_id
    ranking = json.loads((folder / "evaluation" / "ranking.json").read_text())
    macro = {
        name: ranking["test"]["works"][name]["clips"]["ndcg"]["macro"]
        for name in ("cosine", "oracle", "distilled")
    }
    for learned in ("oracle", "distilled"):
        assert macro[learned]["low"] > macro["cosine"]["high"], macro
    assert "no learned weights" in (folder / "evaluation" / "report.md").read_text()

    shown = subprocess.run(
        [*command, "gates"], env=environment, check=False, capture_output=True, text=True
    )
    assert shown.returncode == (0 if said["passed"] else 1)
    assert "Splits share nothing" in shown.stdout
    exported = tmp_path / "exported"
    subprocess.run([*command, "export", str(exported)], env=environment, check=True)
    assert bundle.verify(exported)
