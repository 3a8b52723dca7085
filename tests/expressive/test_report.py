"""The report's files hold what was measured, as plain JSON and as tables that people read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kindred.expressive.aspects import KEYS
from kindred.expressive.gates import GateReport, freeze_thresholds, run_gates
from kindred.expressive.measuring import Measured
from kindred.expressive.ranking import MACRO, MEASURES, VIEWS
from kindred.expressive.report import markdown, write_report
from tests.expressive.judging import Reader, only, world

DRAWS = 100
FEATURES = "Features of a made-up world"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[GateReport, Measured]:
    path = tmp_path_factory.mktemp("report") / "thresholds.json"
    of_world = world()
    seeds = {**of_world.contenders, "distilled": (Reader(), Reader())}
    of_world = replace(of_world, contenders=seeds)
    _, validation = freeze_thresholds(of_world, path, draws=DRAWS)
    return run_gates(of_world, path, draws=DRAWS), validation


def test_files_hold_what_was_measured(tmp_path: Path, judged: tuple[GateReport, Measured]) -> None:
    report, validation = judged
    folder = write_report(tmp_path, report, validation, features=FEATURES)
    assert folder == tmp_path / "evaluation"
    names = {path.name for path in folder.iterdir()}
    assert names == {"ranking.json", "gates.json", "aspects.json", "report.md"}

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    read = {
        name: json.loads((folder / name).read_text(), parse_constant=refuse)
        for name in names
        if name.endswith(".json")
    }
    for content in read.values():
        assert content["features"] == FEATURES
        assert (content["dataset"], content["model"]) == ("dataset", "model")
    ranking = read["ranking.json"]
    assert set(ranking["test"]) == {"works", "composers", "soundfont", "programs"}
    assert set(ranking["validation"]) == {"works"}
    table = ranking["test"]["composers"]["distilled"]
    assert set(table) == set(VIEWS)
    assert set(table["tracks"]) == set(MEASURES)
    found = report.measured.tables["composers"]["distilled"]["clips"]["ndcg"][MACRO]
    assert table["clips"]["ndcg"][MACRO]["mean"] == found.mean
    assert table["clips"]["ndcg"][MACRO]["spread"] == 0
    assert ranking["test"]["works"]["cosine"]["clips"]["ndcg"]["tempo"]["spread"] is None
    assert read["gates.json"]["passed"] is True
    assert read["gates.json"]["thresholds_sha256"] == report.thresholds_sha256
    assert len(read["aspects.json"]["test"]["faithfulness"]["matrix"]) == len(KEYS)
    assert (folder / "report.md").read_text() == markdown(report, features=FEATURES)
    write_report(tmp_path, report, validation, features=FEATURES)
    assert {path.name for path in folder.iterdir()} == names


def test_tables_are_whole(judged: tuple[GateReport, Measured]) -> None:
    text = markdown(judged[0], features=FEATURES)
    assert FEATURES in text
    assert "All gates that are needed pass" in text
    assert "| Unseen instruments | reported |" in text
    assert "| People agree | not judged |" in text
    for heading in ("Held-out works", "Held-out composers", "Second soundfont", "What each score"):
        assert heading in text
    assert "People's performances\n" not in text  # there are none
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("|") and before.startswith("|"):
            assert line.count("|") == before.count("|")
    assert any(line.startswith("| distilled | ") and "[" in line for line in rows)
    assert any(line.startswith("| chance | ") for line in rows)
    assert "nan" not in text


def test_what_fails_is_said_first(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    freeze_thresholds(world(), path, draws=DRAWS)
    none = only(world(Reader(spoil=lambda levels, _: levels[:, ::-1])), ("sweep",), ())
    report = run_gates(none, path, draws=DRAWS)
    text = markdown(report, features=FEATURES)
    assert "**Not to be released:**" in text
    assert "Each score follows its aspect" in text.splitlines()[4]
    assert "| failed |" in text
    assert "| not judged |" in text
