"""Releases: only what passed, only as it was measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kindred.artifacts import layout
from kindred.errors import ExpressiveError, GateRefused
from kindred.expressive import bundle
from kindred.expressive.labels import write_labels
from kindred.expressive.release import COPIED, check_released, release, released, withdraw
from kindred.expressive.sources import Layered
from tests.expressive.labelled import plan
from tests.expressive.made_run import make_run, write_gates, write_scorer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "r1")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r1"))


def judged(run: Path, **changed: float | None) -> Path:
    """A run after its gates gave other numbers."""
    write_gates(run, **changed)
    bundle.write_manifest(run)
    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_nothing_is_out_at_first(home: Path) -> None:
    assert released(home) is None
    assert not withdraw(home)


def test_a_run_that_passed_is_out_until_it_is_withdrawn(run: Path, home: Path) -> None:
    record = release(run, home)
    assert released(home) == record
    assert (record.run_id, record.feature_id, record.dims) == ("r1", Layered().feature_id, 80)
    assert record.measured_at == bundle.verify(run).created_at
    shutil.rmtree(run)  # the copy serves
    check_released(record)
    assert sorted(layout.names_in(record.folder)) == sorted([*COPIED, layout.MANIFEST])
    assert withdraw(home)
    assert released(home) is None
    assert not record.folder.exists()


def test_another_release_takes_the_place_of_the_first(
    run: Path, home: Path, tmp_path: Path
) -> None:
    first = release(run, home)
    assert release(run, home).manifest_sha256 == first.manifest_sha256
    second = release(make_run(tmp_path / "r2", seed=1), home)
    assert released(home) == second
    assert second.manifest_sha256 != first.manifest_sha256
    assert [path.name for path in second.folder.parent.iterdir()] == [second.folder.name]


@pytest.mark.parametrize(
    ("changed", "title"),
    [
        ({"student_ratio": 0.5}, "Retriever against oracle"),
        ({"faithfulness_diagonal": 0.1}, "Each score follows its aspect"),
        ({"splits_shared": 1}, "Splits share nothing"),
        ({"ranking_soundfont_over_cosine_low": -0.01}, "Second soundfont"),
        ({"shortcuts_excess": float("nan")}, "No shortcut in the data"),
        ({"placebos_strongest": None}, "Placebos fail"),
    ],
)
def test_a_failed_gate_is_named_and_nothing_is_released(
    run: Path, home: Path, changed: dict[str, float | None], title: str
) -> None:
    with pytest.raises(GateRefused, match=f"r1 cannot be released. It did not pass: {title}"):
        release(judged(run, **changed), home)
    assert released(home) is None


def test_all_gates_that_failed_are_named(run: Path, home: Path) -> None:
    judged(run, student_ratio=0.5, weights_share=0.1)
    with pytest.raises(GateRefused, match="around, Retriever against oracle"):
        release(run, home)


def test_people_need_not_have_been_asked(run: Path, home: Path) -> None:
    assert release(judged(run, people_low=None), home).run_id == "r1"


def edit_gates(run: Path) -> str:
    values = json.loads((run / bundle.GATES).read_text())
    values["passed"] = True
    for gate in values["gates"]:
        gate["passed"] = True
    (run / bundle.GATES).write_text(json.dumps(values))
    return r"gates\.json has other bytes|gates\.json (was cut short|is too long)"


def edit_gates_and_manifest(run: Path) -> str:
    edit_gates(run)
    bundle.write_manifest(run)
    return "does not follow from its own numbers"


def drop_failed_gate(run: Path) -> str:
    values = json.loads((run / bundle.GATES).read_text())
    values["gates"] = [gate for gate in values["gates"] if gate["passed"] is not False]
    values["passed"] = True
    (run / bundle.GATES).write_text(json.dumps(values))
    bundle.write_manifest(run)
    return "does not follow from its own numbers"


def soften_threshold(run: Path) -> str:
    edit_gates(run)
    values = json.loads((run / bundle.THRESHOLDS).read_text())
    for rule in values["rules"]:
        if rule["gate"] == "student":
            rule["threshold"] = rule["floor"] = 0.1
    (run / bundle.THRESHOLDS).write_text(json.dumps(values))
    bundle.write_manifest(run)
    return "made by other rules, or changed by hand"


def refreeze(run: Path) -> str:
    gates = (run / bundle.GATES).read_bytes()
    write_gates(run)
    values = json.loads((run / bundle.THRESHOLDS).read_text())
    values["frozen_at"] = "2020-01-01T00:00:00+00:00"
    (run / bundle.THRESHOLDS).write_text(json.dumps(values))
    (run / bundle.GATES).write_bytes(gates)
    edit_gates(run)
    bundle.write_manifest(run)
    return "judged by other thresholds"


@pytest.mark.parametrize(
    "cheat", [edit_gates, edit_gates_and_manifest, drop_failed_gate, soften_threshold, refreeze]
)
def test_a_failed_run_edited_by_hand_is_refused(
    run: Path, home: Path, cheat: Callable[[Path], str]
) -> None:
    words = cheat(judged(run, student_ratio=0.5))
    with pytest.raises(GateRefused, match=words):
        release(run, home)
    assert released(home) is None


def test_another_seed_than_was_judged_is_refused(run: Path, home: Path) -> None:
    write_scorer(run / bundle.RETRIEVER, kind="distilled", seed=3)
    with pytest.raises(GateRefused, match=r"projection_retriever/\w+.* has other bytes"):
        release(run, home)
    bundle.write_manifest(run)
    with pytest.raises(GateRefused, match="of seed 3, its gates judged seed 0"):
        release(run, home)


def other_retriever(run: Path) -> None:
    """Other weights of the same seed."""
    write_scorer(run / bundle.RETRIEVER, kind="distilled", seed=3)
    training = run / bundle.RETRIEVER / "training.json"
    training.write_text(training.read_text().replace('"seed": 3', '"seed": 0'))


def other_seed_beside(run: Path) -> None:
    write_scorer(run / bundle.ORACLE / "seeds" / "1", kind="oracle", seed=5)


def other_labels(run: Path) -> None:
    shutil.rmtree(run / bundle.LABELS)
    write_labels(run / bundle.LABELS, plan(takes=2), seed=1)


@pytest.mark.parametrize("swap", [other_retriever, other_seed_beside, other_labels])
def test_other_models_or_labels_than_were_judged_are_refused(
    run: Path, home: Path, swap: Callable[[Path], None]
) -> None:
    swap(run)
    bundle.write_manifest(run)
    with pytest.raises(GateRefused, match="not those that thresholds were frozen for"):
        release(run, home)


def test_an_unfinished_run_is_refused(run: Path, home: Path) -> None:
    (run / layout.MANIFEST).unlink()
    with pytest.raises(GateRefused, match=r"no manifest\.json"):
        release(run, home)


def test_what_is_out_is_kept_when_the_next_is_refused(run: Path, home: Path) -> None:
    record = release(run, home)
    with pytest.raises(GateRefused):
        release(judged(run, student_ratio=0.5), home)
    assert released(home) == record
    check_released(record)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"manifest_sha256": "00"}'])
def test_a_damaged_record_is_said(run: Path, home: Path, text: str) -> None:
    release(run, home)
    (home / "expressive" / "released.json").write_text(text)
    with pytest.raises(ExpressiveError, match=r"damaged.*expressive release"):
        released(home)
    assert withdraw(home)
    assert released(home) is None


@pytest.mark.parametrize("name", COPIED)
def test_a_damaged_copy_is_said(run: Path, home: Path, name: str) -> None:
    record = release(run, home)
    path = record.folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ExpressiveError, match=f"{path.name} is missing or has other bytes"):
        check_released(record)
    path.unlink()
    with pytest.raises(ExpressiveError, match=f"{path.name} is missing or has other bytes"):
        check_released(record)


def test_another_manifest_is_said(run: Path, home: Path) -> None:
    record = release(run, home)
    path = record.folder / layout.MANIFEST
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ExpressiveError, match="other bytes than were released"):
        released(home)
    path.unlink()
    with pytest.raises(ExpressiveError, match="is missing"):
        released(home)
