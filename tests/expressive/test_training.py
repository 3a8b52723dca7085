"""Training follows data and seed to the byte, survives a kill, and learns what is planted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.clips import Clip, Recipe
from kindred.expressive.learner import TrainingOptions
from kindred.expressive.ranking import rank
from kindred.expressive.scorers import RetrieverScorer
from kindred.expressive.training import CHECKPOINT, train_oracle, train_retriever
from kindred.expressive.training_set import TrainingSet, training_set
from kindred.expressive.validation import ndcg
from tests.expressive.synthetic import clips, made, new_works

SHORT = TrainingOptions(epochs=6, checkpoint_every=2, groups=4, clips=10, hidden=8, dims=4)
LONG = TrainingOptions(epochs=25, groups=2, clips=10, hidden=24, dims=8, rate=0.01)
FILES = ["config.json", "curves.json", "model.safetensors", "training.json"]


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return made()


@pytest.fixture(scope="module")
def oracle(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oracle")
    train_oracle(data, folder, SHORT)
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def train(kind: str, data: TrainingSet, folder: Path, oracle: Path, **given: Any) -> dict[str, Any]:
    if kind == "oracle":
        return train_oracle(data, folder, SHORT, **given)
    teacher = oracle if kind == "distilled" else None
    return train_retriever(data, folder, SHORT, teacher=teacher, **given)


KINDS = ["oracle", "projection", "distilled"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_broke_off_ends_with_the_bytes_of_a_whole_one(
    kind: str, data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(kind, data, whole, oracle)

    def fail_at(epoch: int) -> Any:
        def report(done: int, total: int, words: str) -> None:
            if done == epoch:
                raise RuntimeError("power is gone")

        return report

    for epoch in (1, 3, 4):  # before the first checkpoint, between two, right after one
        with pytest.raises(RuntimeError, match="power"):
            train(kind, data, broken, oracle, progress=fail_at(epoch))
    done = train(kind, data, broken, oracle)
    assert bytes_of(broken) == bytes_of(whole)
    assert sorted(bytes_of(whole)) == FILES
    assert (done["kind"], done["finished"], done["data_version"]) == (kind, True, "one")


KILLED = """
import sys
from pathlib import Path
from kindred.expressive.training import train_oracle
from tests.expressive.synthetic import made
from tests.expressive.test_training import SHORT
train_oracle(made(), Path(sys.argv[1]), SHORT, progress=lambda done, *_: print(done, flush=True))
"""


def test_a_run_killed_in_another_process_ends_with_the_same_bytes(
    data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() == "3":
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "training.json").exists()
    train_oracle(data, tmp_path, SHORT)
    assert {name: bytes_of(tmp_path)[name] for name in FILES} == bytes_of(oracle)


def test_a_cancelled_run_goes_on(data: TrainingSet, oracle: Path, tmp_path: Path) -> None:
    done = train_oracle(data, tmp_path, SHORT, cancelled=lambda: True)
    assert done == {"finished": False, "epochs": 1}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    train_oracle(data, tmp_path, SHORT)
    assert bytes_of(tmp_path) == bytes_of(oracle)


def test_a_run_killed_before_its_checkpoint_went_leaves_none(
    data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    train_oracle(data, tmp_path, SHORT, cancelled=lambda: True)
    checkpoint = (tmp_path / CHECKPOINT).read_bytes()
    train_oracle(data, tmp_path, SHORT)
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    train_oracle(data, tmp_path, SHORT)
    assert bytes_of(tmp_path) == bytes_of(oracle)


def test_a_finished_run_is_not_trained_again(data: TrainingSet, oracle: Path) -> None:
    epochs: list[int] = []
    before = bytes_of(oracle)
    done = train_oracle(data, oracle, SHORT, progress=lambda done, *_: epochs.append(done))
    assert not epochs
    assert bytes_of(oracle) == before
    assert done == json.loads(before["training.json"])


def test_a_seed_and_the_data_change_the_result_and_a_folder_keeps_one_run(
    data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    train_oracle(data, tmp_path / "seed", replace(SHORT, seed=1))
    shuffled = replace(data, levels=np.random.default_rng(0).permutation(data.levels))
    train_oracle(shuffled, tmp_path / "levels", SHORT)
    models = {bytes_of(each)["model.safetensors"] for each in (oracle, *tmp_path.iterdir())}
    assert len(models) == 3
    for other, options in ((data, replace(SHORT, seed=1)), (shuffled, SHORT)):
        with pytest.raises(ExpressiveError, match="other data or options"):
            train_oracle(other, oracle, options)
    train_oracle(data, tmp_path / "begun", SHORT, cancelled=lambda: True)
    with pytest.raises(ExpressiveError, match="other data or options"):
        train_retriever(data, tmp_path / "begun", SHORT)


def test_nothing_global_is_changed(data: TrainingSet, tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002
    train_oracle(data, tmp_path, replace(SHORT, epochs=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002


def test_curves_tell_every_epoch_and_the_best_one_is_kept(oracle: Path) -> None:
    curves = json.loads((oracle / "curves.json").read_text())
    done = json.loads((oracle / "training.json").read_text())
    assert [line["epoch"] for line in curves] == list(range(1, done["epochs"] + 1))
    assert set(curves[0]["losses"]) == {"distance", "listwise", "lures", "ranking", "invariance"}
    assert set(curves[0]["validation"]) == {*KEYS, "macro"}
    best = max(line["validation"]["macro"] for line in curves)
    assert curves[done["best_epoch"] - 1]["validation"]["macro"] == best
    assert done["validation"]["macro"] == best


def test_training_stops_when_validation_brings_nothing(data: TrainingSet, tmp_path: Path) -> None:
    options = replace(SHORT, epochs=50, patience=2, rate=0.0)
    assert train_retriever(data, tmp_path, options)["epochs"] == 3


def scores_of(folder: Path) -> np.ndarray:
    features, levels, works = new_works()
    scorer = RetrieverScorer.load(folder)
    kept = scorer.represent(features)
    scores = scorer.compare(kept, kept)
    return np.array([ndcg(scores[i], levels[:, i], works, aspect=i) for i in range(len(ASPECTS))])


def test_a_retriever_finds_all_that_is_planted_and_from_shuffled_levels_nothing(
    data: TrainingSet, tmp_path: Path
) -> None:
    train_retriever(data, tmp_path / "real", LONG)
    shuffled = replace(data, levels=np.random.default_rng(0).permutation(data.levels))
    train_retriever(shuffled, tmp_path / "placebo", LONG)
    real, placebo = scores_of(tmp_path / "real"), scores_of(tmp_path / "placebo")
    assert real.min() > 0.55
    assert (real > placebo + 0.1).all()


def test_people_are_heard(data: TrainingSet, tmp_path: Path) -> None:
    """Judgements say that the mean of layer 3 is what counts."""
    x, given = clips()
    rng = np.random.default_rng(3)
    people = rng.normal(size=(60, *x.shape[1:])).astype(np.float32)
    people[:, :, 3] += np.repeat([-3, 3], 30)[:, None, None]
    n = len(x)
    rows = [(n + a, n + b, n + 30 + c, -1) for a, b, c in rng.integers(0, 30, (200, 3)) if a != b]
    more = {
        "levels": np.full((60, 5), -1),
        "works": np.arange(100, 160),
        "groups": np.arange(100, 160),
        "splits": np.zeros(60, int),
        "variant_of": np.full(60, -1),
    }
    given |= {key: np.concatenate([given[key], value]) for key, value in more.items()}
    features = np.concatenate([x, people])
    found = {}
    for name, triples in (("without", None), ("with", np.array(rows))):
        told = training_set(features, triples=triples, kept=24, **given)
        train_retriever(told, tmp_path / name, replace(LONG, epochs=8))
        scorer = RetrieverScorer.load(tmp_path / name)
        kept = scorer.represent(people)
        total = scorer.compare(kept[:1], kept).sum(axis=0)[0]
        found[name] = (total[1:30, None] > total[None, 30:]).mean()
    assert found["with"] > max(0.9, found["without"])


def test_a_teacher_must_be_an_oracle_of_the_same_clips(
    data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    train_retriever(data, tmp_path / "student", SHORT)
    for told, teacher in ((data, tmp_path / "student"), (made(seed=3), oracle)):
        with pytest.raises(ExpressiveError, match="no oracle that was trained on these"):
            train_retriever(told, tmp_path / "other", SHORT, teacher=teacher)
    with pytest.raises(ExpressiveError, match="no trained oracle"):
        train_retriever(data, tmp_path / "other", SHORT, teacher=tmp_path / "nothing")


def test_a_damaged_checkpoint_is_told_and_can_be_removed(
    data: TrainingSet, oracle: Path, tmp_path: Path
) -> None:
    train_oracle(data, tmp_path, SHORT, cancelled=lambda: True)
    path = tmp_path / CHECKPOINT
    for content in (b"", path.read_bytes()[:-500], b"nothing of the kind"):
        path.write_bytes(content)
        with pytest.raises(ExpressiveError, match="is damaged"):
            train_oracle(data, tmp_path, SHORT)
    path.unlink()
    train_oracle(data, tmp_path, SHORT)
    assert bytes_of(tmp_path) == bytes_of(oracle)


UNKNOWN = np.full((180, 4), -1)
#: Nothing is known but timbre, and every group of train has one of its own.
OWN_TIMBRES = np.where(np.arange(180) % 160 < 50, np.arange(180) % 160 // 10, -1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"levels": np.zeros((3, 5))}, "features of 180 clips"),
        ({"works": np.zeros(3)}, "features of 180 clips"),
        ({"splits": np.arange(180) % 2}, "in train and in validation"),
        ({"splits": np.full(180, 2)}, "train \\(0\\) and validation \\(1\\) only"),
        ({"splits": np.zeros(180)}, "at least two groups"),
        ({"levels": np.full((180, 5), -1)}, "No two clips of different groups"),
        ({"levels": np.column_stack([UNKNOWN, OWN_TIMBRES])}, "near each other in train"),
        ({"variant_of": np.full(180, 180)}, "outside 0 to 179"),
        ({"variant_of": np.where(np.arange(180) == 159, 0, -1)}, "variant is in another split"),
        ({"triples": np.array([[0, 1, 179, 0], [0, 1, 159, 0]])}, "not all in train"),
        ({"triples": np.array([[0, 1, 2, 5]])}, "an aspect or -1"),
        ({"triples": np.array([[0, 1, 2]])}, "an aspect or -1"),
        ({"triples": np.array([[0, 1, 200, 0]])}, "three rows"),
    ],
)
def test_data_that_cannot_be_used(changed: dict[str, Any], words: str) -> None:
    x, given = clips()
    with pytest.raises(ExpressiveError, match=words):
        training_set(x, **(given | changed))


def test_ndcg_worked_out_by_hand() -> None:
    levels, works = np.array([0, 0, 1, 4]), np.array([0, 1, 2, 0])
    scores = np.array([[9, 1, 2, 3], [3, 9, 2, 1], [1, 1, 9, 1], [1, 1, 1, 9]], np.float32)
    # query 0: its own work's 3 (0), then 2 (grade 2), then 1 (grade 3)
    one = (2 / np.log2(3) + 3 / 2) / (3 + 2 / np.log2(3))
    # query 1: 0 (3), 2 (2), 3 (0); query 2: ties in the order of rows, 0 (2), 1 (2), 3 (0)
    # query 3: nothing is within two levels but in its own work: not asked
    assert ndcg(scores, levels, works, aspect=0) == pytest.approx((one + 1 + 1) / 3)
    assert ndcg(scores, levels, works, aspect=4) == pytest.approx((1 / 2 / 1 + 1) / 2)
    assert np.isnan(ndcg(scores[:1, :1], levels[:1], works[:1], aspect=0))


@pytest.mark.parametrize("aspect", range(len(ASPECTS)))
def test_ndcg_is_that_of_rankings(aspect: int) -> None:
    """On clips whose ids are in the order of rows, with ties and levels that are not known."""
    rng = np.random.default_rng(aspect)
    for _ in range(5):
        levels, works = rng.integers(-1, 5, (40, 5)), rng.integers(6, size=40)
        scores = rng.integers(8, size=(40, 40)).astype(np.float32)
        recipe = Recipe("", 0, (), ())
        given = [
            Clip(f"{i:02}", "factorial", "test", str(work), "", "", str(i), tuple(row), recipe)
            for i, (work, row) in enumerate(zip(works, levels, strict=True))
        ]
        ranking = rank(np.broadcast_to(scores, (5, 40, 40)), given, name="any")
        found = ndcg(scores, levels[:, aspect], works, aspect=aspect)
        assert found == pytest.approx(ranking.aspects()[aspect], abs=1e-12)
