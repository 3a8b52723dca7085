"""A run goes from nothing to its gates, survives being killed, and is the same when made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kindred.config import Settings
from kindred.errors import ExpressiveError, GateRefused
from kindred.expressive import bundle
from kindred.expressive.run import RunOptions, begin, go_on, read_record
from kindred.services.expressive import Expressive
from kindred.storage.local import LocalBackend

TINY = RunOptions(size="tiny", source="layers", seeds=1, epochs=6)


def contents(folder: Path) -> dict[str, bytes | object]:
    """Every file of a bundle, without the two times in it."""
    found: dict[str, bytes | object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == "manifest.json":
            continue
        if name.startswith("evaluation/") and path.suffix in (".json", ".md"):
            words = path.read_text()
            if path.suffix == ".json":
                values = json.loads(words)
                for time_ in ("frozen_at", "thresholds_sha256"):
                    values.pop(time_, None)
                found[name] = values
            continue
        found[name] = path.read_bytes()
    return found


def wait_for(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> None:
    while not seen():
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_three_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "whole")
    whole = bundle.runs_folder(settings.library) / "run"
    begin(whole, TINY, settings)
    assert go_on(whole, settings)
    assert bundle.verify(whole)

    broken = bundle.runs_folder(tmp_path / "broken") / "run"
    begin(broken, TINY, Settings(home=tmp_path / "broken"))
    expressive = tmp_path / "broken" / "expressive"
    command = [sys.executable, "-m", "kindred", "expressive", "train", "--resume", "run"]
    environment = os.environ | {"KINDRED_HOME": str(tmp_path / "broken")}
    moments: list[Callable[[], bool]] = [
        lambda: len([*expressive.glob("audio/*/*.flac")]) > 20,
        lambda: len([*expressive.glob("features/*/*/*.npz")]) > 20,
        lambda: any(expressive.glob("runs/run/projection_retriever/seeds/*/epochs.txt")),
    ]
    for moment in moments:
        with subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        ) as process:
            wait_for(process, moment)
            os.killpg(process.pid, signal.SIGKILL)
    assert read_record(broken).state == "train"
    subprocess.run(command, env=environment, check=True, capture_output=True)

    one, other = contents(whole), contents(broken)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_what_cannot_be_a_run_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder = bundle.runs_folder(settings.library) / "run"
    for options in (
        RunOptions(size="huge"),
        RunOptions(seeds=21),
        RunOptions(epochs=-1),
        RunOptions(source="clap"),
        RunOptions(midi=str(tmp_path / "missing")),
        RunOptions(judgements=(str(tmp_path / "missing"),)),
    ):
        with pytest.raises(ExpressiveError):
            begin(folder, options, settings)
    assert not folder.exists()


def test_folders_are_found_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("played", "said", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path)
    folder = bundle.runs_folder(settings.library) / "run"
    begin(folder, RunOptions(source="layers", midi="played", judgements=("said",)), settings)
    monkeypatch.chdir(tmp_path / "elsewhere")
    options = read_record(folder).options
    assert Path(options.midi).is_dir()
    assert Path(options.judgements[0]).is_dir()


def test_a_record_that_is_missing_damaged_or_of_other_features_is_said(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder = bundle.runs_folder(settings.library) / "run"
    with pytest.raises(ExpressiveError, match="no run run"):
        read_record(folder)
    begin(folder, TINY, settings)
    record = folder.with_name("run.json")
    text = record.read_text()
    record.write_text(text.replace(read_record(folder).feature_id, "layers-0"))
    with pytest.raises(ExpressiveError, match="layers-0"):
        go_on(folder, settings)
    record.write_text(text[:40])
    with pytest.raises(ExpressiveError, match="damaged"):
        read_record(folder)


def test_a_run_that_is_not_whole_is_not_released_nor_exported(tmp_path: Path) -> None:
    storage = LocalBackend(tmp_path)
    room = Expressive(Settings(home=tmp_path), storage)
    with pytest.raises(ExpressiveError, match="no runs yet"):
        room.run()
    run_id = room.begin(TINY)
    assert not room.run().is_whole
    with pytest.raises(GateRefused, match="not judged yet"):
        room.release(run_id)
    assert room.released() is None
    with pytest.raises(ExpressiveError, match=f"--resume {run_id}"):
        room.export(run_id, tmp_path / "exported")
    for name in ("../../etc", "..", ".", "", "a/b", "/etc", "a\0b", ".hidden", "x" * 65):
        with pytest.raises(ExpressiveError, match="not the name of a run"):
            room.report(name)
    gates = bundle.runs_folder(tmp_path) / run_id / bundle.GATES
    gates.parent.mkdir()
    for content in ("{", "[]", "\xff"):
        gates.write_text(content, "latin-1")
        assert not room.run(run_id).passed
    gates.unlink()
    assert not room.go_on(run_id, cancelled=lambda: True)
    assert room.run(run_id).record.state == "render"
    room.delete(run_id)
    assert room.runs() == []
    storage.close()
