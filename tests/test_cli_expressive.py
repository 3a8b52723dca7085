"""Commands about expressive similarity: what they print, how they end, and what they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
from kindred.config import Settings
from kindred.expressive import bundle
from kindred.expressive.run import RunOptions, begin, read_record
from tests.expressive.made_run import make_run


def kindred(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["expressive", *(str(item) for item in arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a run that passed, one that failed and one that was stopped."""
    home = tmp_path_factory.mktemp("made") / "library"
    settings = Settings(home=home)
    runs = bundle.runs_folder(settings.library)
    for name, given in (("1-passed", {}), ("2-failed", {"student_ratio": 0.5})):
        begin(runs / name, RunOptions(size="tiny", source="layers"), settings)
        record = read_record(runs / name)
        (runs / name).rmdir()
        make_run(runs / name, **given)
        whole = asdict(replace(record, state="made", seconds={"train": 60.0}))
        (runs / f"{name}.json").write_text(json.dumps(whole))
    begin(runs / "3-stopped", RunOptions(size="tiny", source="layers"), settings)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv("KINDRED_HOME", str(tmp_path / "library"))
    monkeypatch.setenv("KINDRED_MODEL_DIR", str(tmp_path / "models"))
    return Path(shutil.copytree(made, tmp_path / "library"))


def test_runs_are_listed_newest_first_with_what_became_of_them(home: Path) -> None:
    lines = kindred("list").stdout.splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["3-stopped", "2-failed", "1-passed"]
    assert "stopped at render" in lines[0]
    assert "failed student" in lines[1]
    assert lines[2].endswith("passed")
    runs = json.loads(kindred("list", "--json").stdout)["runs"]
    assert [run["passed"] for run in runs] == [False, False, True]


def test_gates_say_the_numbers_and_end_with_1_unless_they_pass(home: Path) -> None:
    passed, failed = kindred("gates", "1-passed"), kindred("gates", "2-failed")
    assert (passed.exit_code, failed.exit_code) == (0, 1)
    assert "FAILED" not in passed.stdout
    assert "FAILED     Retriever against oracle: retriever / oracle" in failed.stdout
    assert kindred("gates").stdout == failed.stdout  # the newest that is whole
    assert json.loads(kindred("gates", "1-passed", "--json").stdout)["passed"] is True
    stopped = kindred("gates", "3-stopped")
    assert stopped.exit_code == 1
    assert "Run 3-stopped was not judged yet" in stopped.output


def test_only_what_passed_is_released_and_can_be_taken_back(home: Path) -> None:
    for name, words in (
        ("2-failed", "Retriever against oracle"),
        ("3-stopped", "not judged yet"),
        ("4-unknown", "There is no run 4-unknown"),
        ("../1-passed", "not the name of a run"),
    ):
        result = kindred("release", name)
        assert (result.exit_code, words in result.output) == (1, True), result.output
    assert kindred("release", "1-passed").stdout.startswith("Released 1-passed.")
    assert "passed, released" in kindred("list").stdout
    assert kindred("withdraw").exit_code == 0
    assert "released" not in kindred("list").stdout


def test_a_run_is_exported_whole(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "a folder, exported"
    result = kindred("export", target, "--run", "1-passed", "--json")
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["files"]
    assert files == len(bundle.verify(target).files) + 1
    refused = kindred("export", tmp_path / "other", "--run", "3-stopped")
    assert (refused.exit_code, (tmp_path / "other").exists()) == (1, False)


def test_aspects_are_told(home: Path) -> None:
    assert "Tempo: How fast" in kindred("aspects").stdout
    assert len(json.loads(kindred("aspects", "--json").stdout)["aspects"]) == 5


def test_what_cannot_be_trained_is_refused(home: Path) -> None:
    for options in (
        ("--size", "huge"),
        ("--seeds", 21),
        ("--midi", home / "missing"),
        ("--judgements", home / "missing"),
        ("--source", "mert"),
        ("--resume", "4-unknown"),
    ):
        assert kindred("train", *options).exit_code in (1, 2)
    assert len(list(bundle.runs_folder(home).glob("*.json"))) == 3
