"""What people said enters as it was exported, and never on both sides of a test."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import KEYS
from kindred.expressive.human_labels import HumanItems, aspect_weights, human_files, read_human
from tests.expressive.labelled import judged

TRACKS = [f"{part}{at}" for part in "qab" for at in range(12)]


def test_lines_belong_to_the_split_of_their_tracks(tmp_path: Path) -> None:
    human = read_human([judged(tmp_path, aspect="tempo")])
    assert len(human.pairs) == 24
    assert len(human.triples) == 12
    assert set(human.split_of) == set(TRACKS)
    parts = {split: human.within(split) for split in ("train", "validation", "test")}
    assert all(part.pairs and part.triples for part in parts.values())
    for split, part in parts.items():
        assert {pair.aspect for pair in part.pairs} == {"tempo"}
        tracks = {clip.track_id for pair in part.pairs for clip in (pair.query, pair.candidate)}
        assert {human.split_of[track] for track in tracks} == {split}
        assert tracks <= set(part.split_of)
    assert not set(parts["train"].split_of) & set(parts["test"].split_of)


def test_nothing_given_is_nothing_said() -> None:
    assert read_human([]) == HumanItems()
    assert human_files([]) == {}


def test_labels_given_twice_count_once(tmp_path: Path) -> None:
    folder = judged(tmp_path / "one")
    again = Path(shutil.copytree(folder, tmp_path / "two"))
    assert read_human([folder, again, folder.parent]) == read_human([folder])
    assert {name.split("/")[0] for name in human_files([folder, again])} == {"human"}
    assert len(human_files([folder, again])) == 4


def test_the_order_of_studies_does_not_matter(tmp_path: Path) -> None:
    one = judged(tmp_path / "one", used_for_training=TRACKS)
    two = judged(tmp_path / "two", aspect="timbre", used_for_training=TRACKS)
    assert read_human([one, two]) == read_human([two, one])
    assert {pair.aspect for pair in read_human([one, two]).pairs} == {"overall", "timbre"}


def test_a_track_for_training_is_never_in_test(tmp_path: Path) -> None:
    one = judged(tmp_path / "one", used_for_training=TRACKS)
    two = judged(tmp_path / "two")  # the same tracks, in all three splits
    with pytest.raises(ExpressiveError, match=r"track [qab]\d+ is in (train|test)") as caught:
        read_human([one, two])
    assert str(one) in str(caught.value)
    assert str(two) in str(caught.value)


def test_other_tracks_of_a_work_for_training_are_not_in_test(tmp_path: Path) -> None:
    one = judged(tmp_path / "one", used_for_training=TRACKS)
    two = judged(tmp_path / "two", parts="xyz")
    assert not set(read_human([one]).split_of) & set(read_human([two]).split_of)
    with pytest.raises(ExpressiveError, match=r"group a\d+ is in train"):
        read_human([one, two])


@pytest.mark.parametrize("aspect", ["harmony", "texture"])
def test_what_is_not_learnt_is_refused(tmp_path: Path, aspect: str) -> None:
    folder = judged(tmp_path, aspect=aspect)
    with pytest.raises(ExpressiveError, match=f"'{aspect}' is not learnt") as caught:
        read_human([folder])
    assert str(folder) in str(caught.value)


def change(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (shutil.rmtree, "labels.json"),
        (lambda folder: (folder / "splits.json").unlink(), "splits.json"),
        (lambda folder: change(folder, "items.jsonl", ""), "items.jsonl"),
        (lambda folder: change(folder, "labels.json", "[]"), "labels.json"),
        (lambda folder: change(folder, "triples.jsonl", "{"), "triples.jsonl"),
    ],
)
def test_folders_that_are_damaged_are_refused(tmp_path: Path, damage: Any, named: str) -> None:
    folder = judged(tmp_path)
    damage(folder)
    with pytest.raises(ExpressiveError, match=rf"Human labels cannot be used: .*{named}"):
        read_human([folder])


def test_overall_weighs_all_aspects_alike() -> None:
    assert aspect_weights("overall") == pytest.approx((0.2,) * 5)
    for at, key in enumerate(KEYS):
        assert aspect_weights(key).index(1.0) == at
        assert sum(aspect_weights(key)) == 1
