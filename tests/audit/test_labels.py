"""Labels made of answers that are known, and folders of labels that are not as they must be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindred.audit.judgement import Judgement
from kindred.audit.labels import FOLDER, Labels, read_labels, write_labels
from kindred.audit.splits import SPLITS, check_splits, split_groups
from kindred.audit.study import Candidate, Clip, Design, Form, Item, Study
from kindred.errors import AuditError
from kindred.storage.records import Track

NOW = "2026-11-21T12:00:00Z"


def clip(track_id: str) -> Clip:
    return Clip(track_id, 1.5, 10.0)


def study(form: Form, items: list[tuple[str, ...]]) -> Study:
    """Real items of these tracks, the reference first, and a catch trial."""
    made = [
        Item(
            f"i{number}",
            "real",
            "s",
            None if form == "odd" else clip(ids[0]),
            tuple(Candidate(clip(one)) for one in (ids if form == "odd" else ids[1:])),
        )
        for number, ids in enumerate(items)
    ]
    catch = replace(made[0], item_id="catch", kind="catch", expected=0)
    systems = ("a", "b")
    return Study("study", Design("t", form=form, systems=systems), (*made, catch), "closed")


def said(
    study: Study, item: int, listener: str, answer: dict[str, Any] | None, **values: Any
) -> Judgement:
    count = len(study.items[item].candidates)
    made = Judgement(
        judgement_id=f"{listener} {item} {values}",
        study_id=study.study_id,
        design_hash=study.design_hash,
        sitting_id=f"sitting {listener}",
        listener_id=listener,
        item_id=study.items[item].item_id,
        kind="real",
        position=item,
        order=tuple(range(count)),
        answer=answer,
    )
    return replace(made, **values)


def library(*ids: str, **works: str) -> list[Track]:
    return [Track(one, composer="C", work=works.get(one, f"work {one}"), title=one) for one in ids]


def ab(*points: tuple[int, str, int]) -> tuple[Study, list[Judgement]]:
    made = study("ab", [("q", "x", "y"), ("r", "y", "z")])
    return made, [said(made, item, who, {"point": point}) for item, who, point in points]


TRACKS = library("q", "r", "x", "y", "z")


def write(
    folder: Path, made: Study, judgements: list[Judgement], tracks: list[Track], **more: Any
) -> Labels:
    return write_labels(folder, made, judgements, tracks=tracks, created_at=NOW, **more)


# -- what is said --------------------------------------------------------------------------------
def test_points_become_means_grades_and_triples(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2), (0, "ben", -1), (0, "cleo", 1), (1, "anna", 0))
    labels = write(tmp_path, made, judgements, TRACKS)
    found = {(one.query.track_id, one.candidate.track_id): one for one in labels.pairs}
    assert set(found) == {("q", "x"), ("q", "y"), ("r", "y"), ("r", "z")}
    x, y = found["q", "x"], found["q", "y"]
    assert (x.judgements, x.grade, y.grade) == (3, 2, 1)
    assert x.mean == pytest.approx((1 + 0.75 + 0.25) / 3)
    assert y.mean == pytest.approx(1 / 3, abs=1e-6)
    assert x.agreement == pytest.approx(1 / 3)
    assert found["r", "z"].agreement is None
    assert found["r", "y"].grade == found["r", "z"].grade == 2
    (triple,) = labels.triples  # the tie of r says nothing
    assert (triple.reference, triple.closer, triple.farther) == (clip("q"), clip("x"), clip("y"))
    assert (triple.votes, triple.against, triple.equal) == (2, 1, 0)
    assert {one.aspect for one in (*labels.pairs, *labels.triples)} == {"overall"}


def test_the_order_in_which_clips_were_shown_does_not_matter(tmp_path: Path) -> None:
    made = study("ab", [("q", "x", "y")])
    straight = [said(made, 0, who, {"point": -2}) for who in ("anna", "ben")]
    turned = [straight[0], said(made, 0, "ben", {"point": 2}, order=(1, 0))]
    first = write(tmp_path / "one", made, straight, TRACKS)
    assert write(tmp_path / "two", made, turned, TRACKS) == first


@pytest.mark.parametrize(("mean", "grade"), [(-2, 3), (-1, 3), (0, 2), (1, 1), (2, 0)])
def test_cuts_of_win_probability(tmp_path: Path, mean: int, grade: int) -> None:
    made, judgements = ab((0, "anna", mean))
    assert write(tmp_path, made, judgements, TRACKS).pairs[0].grade == grade


def test_sensitivity_is_the_share_of_grades_that_change(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -1), (1, "anna", -2))  # means .75, .25 and 1, 0
    header = write(tmp_path, made, judgements, TRACKS).header
    assert header["grading"]["sensitivity"] == {
        "-0.10": 0.0,
        "-0.05": 0.0,
        "+0.05": 0.5,
        "+0.10": 0.5,
    }


def test_broad_grades_become_grades_and_triples(tmp_path: Path) -> None:
    made = study("graded", [("q", "x", "y", "z")])
    judgements = [
        said(made, 0, "anna", {"broad": [2, 1, None], "fine": [90, 40, None]}),
        said(made, 0, "ben", {"broad": [0, 2, 2], "fine": [5, 60, 95]}, order=(2, 1, 0)),
        said(made, 0, "cleo", {"broad": [1, 1, 0], "fine": [50, 49, 0]}),
    ]
    labels = write(tmp_path, made, judgements, TRACKS)
    assert [(one.candidate.track_id, one.judgements, one.grade) for one in labels.pairs] == [
        ("x", 3, 2),  # 2, 2, 1
        ("y", 3, 1),  # 1, 2, 1
        ("z", 2, 0),  # 0, 0
    ]
    votes = {
        (one.closer.track_id, one.farther.track_id): (one.votes, one.against, one.equal)
        for one in labels.triples
    }
    assert votes == {("x", "y"): (1, 0, 2), ("x", "z"): (2, 0, 0), ("y", "z"): (2, 0, 0)}


def test_an_odd_one_is_farther_from_both_others(tmp_path: Path) -> None:
    made = study("odd", [("x", "y", "z")])
    judgements = [
        said(made, 0, "anna", {"odd": 2}),
        said(made, 0, "ben", {"odd": 0}, order=(2, 0, 1)),
        said(made, 0, "cleo", {"odd": 0}),
    ]
    labels = write(tmp_path, made, judgements, TRACKS)
    assert labels.pairs == ()
    found = {
        (one.reference.track_id, one.closer.track_id, one.farther.track_id): (
            one.votes,
            one.against,
        )
        for one in labels.triples
    }
    assert found == {
        ("x", "y", "z"): (2, 0),
        ("y", "x", "z"): (2, 1),
        ("z", "y", "x"): (1, 0),
    }


def test_only_first_answers_to_real_items_that_tell_something_count(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2))
    more = [
        said(made, 0, "anna", {"point": 2}, kind="repeat", position=9),
        said(made, 2, "anna", {"point": 2}, kind="catch", position=8, item_id="catch"),
        said(made, 1, "anna", None),
        said(made, 0, "ben", {"point": 2}),
        said(made, 0, "ben", {"point": -2}, revision=1),
    ]
    labels = write(tmp_path, made, [*judgements, *more], TRACKS)
    assert [(one.mean, one.judgements) for one in labels.pairs] == [(1.0, 2), (0.0, 2)]
    assert labels.header["counts"]["judgements"] == 2


def test_what_is_gone_from_the_library_is_left_out_and_counted(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2), (1, "anna", 1))
    labels = write(tmp_path, made, judgements, library("q", "x", "y"))
    assert {one.query.track_id for one in labels.pairs} == {"q"}
    assert labels.header["counts"]["left_out"] == 1


def test_where_the_labels_come_from_is_told_without_names(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2), (0, "ben", -2))
    excluded = {"dora": "catch trials", "emil": "hasty", "fred": "hasty"}
    labels = write(tmp_path, made, judgements, TRACKS, excluded=excluded, alpha=0.61)
    assert labels.header["human"] is True
    assert labels.header["provenance"] == {
        "study_id": "study",
        "design_hash": made.design_hash,
        "listeners": 2,
        "excluded": {"catch trials": 1, "hasty": 2},
        "alpha": 0.61,
    }
    written = b"".join(file.read_bytes() for file in (tmp_path / FOLDER).iterdir())
    assert not any(name in written for name in (b"anna", b"ben", b"dora", b"emil"))


def test_the_same_answers_have_the_same_version(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2), (1, "anna", 1), (0, "ben", 1))
    first = write(tmp_path / "one", made, judgements, TRACKS)
    again = write(tmp_path / "two", made, judgements[::-1], TRACKS[::-1])
    other = write(tmp_path / "three", made, judgements[:2], TRACKS)
    assert again == first
    assert other.version != first.version
    assert read_labels(tmp_path / "one" / FOLDER) == first


# -- splits --------------------------------------------------------------------------------------
def many() -> tuple[Study, list[Judgement], list[Track]]:
    """120 items of 40 works with two tracks each, within eight neighbourhoods of five works."""
    tracks = library(
        *(f"t{work:02}-{part}" for work in range(40) for part in range(2)),
        **{f"t{work:02}-{part}": f"work {work}" for work in range(40) for part in range(2)},
    )
    items = []
    for number in range(120):
        block, step = number % 8, number // 8
        works = [block * 5 + (step + shift) % 5 for shift in range(3)]
        items.append(tuple(f"t{work:02}-{step % 2}" for work in works))
    made = study("ab", items)
    return made, [said(made, at, "anna", {"point": -1}) for at in range(120)], tracks


def test_a_group_is_in_one_split_and_splits_have_their_share(tmp_path: Path) -> None:
    made, judgements, tracks = many()
    labels = write(tmp_path, made, judgements, tracks)
    assert len(labels.split_of) == 80
    for work in range(40):
        assert labels.split_of[f"t{work:02}-0"] == labels.split_of[f"t{work:02}-1"]
    share = {name: sum(one == name for one in labels.split_of.values()) / 80 for name in SPLITS}
    assert share == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.05)
    # What was judged together is mostly kept together; at random 44% of the pairs would be.
    across = labels.header["counts"]["items_across_splits"]
    assert across / len(labels.pairs) < 0.25
    for one in labels.pairs:
        both = {labels.split_of[one.query.track_id], labels.split_of[one.candidate.track_id]}
        assert one.split == (both.pop() if len(both) == 1 else None)


def test_what_was_used_for_training_never_comes_to_test(tmp_path: Path) -> None:
    made, judgements, tracks = many()
    used = {f"t{work:02}-1" for work in range(0, 40, 2)}
    labels = write(tmp_path, made, judgements, tracks, used_for_training=used)
    for work in range(0, 40, 2):  # the whole work, not only the track
        assert labels.split_of[f"t{work:02}-0"] == "train"
        assert labels.split_of[f"t{work:02}-1"] == "train"
    assert "test" in labels.split_of.values()


def test_recordings_join_works_to_one_group(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2), (1, "anna", 1))
    tracks = library("q", "r", "x", "y", "z", "copy", x="one", y="other", copy="one")
    tracks[3] = replace(tracks[3], content_hash="same")
    tracks[5] = replace(tracks[5], content_hash="same")  # in x's work, with the bytes of y
    split_of = write(tmp_path, made, judgements, tracks).split_of
    assert split_of["x"] == split_of["y"]
    splits = json.loads((tmp_path / FOLDER / "splits.json").read_text())
    assert ["x", "y"] in [group for name in SPLITS for group in splits[name].values()]


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(AuditError, match="sum to 1"):
        split_groups([{"a"}], {"a": "a"}, fractions=fractions)


# -- what is refused -----------------------------------------------------------------------------
def test_answers_of_other_studies_and_of_excluded_listeners_are_refused(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2))
    for wrong in ({"study_id": "other"}, {"design_hash": "0" * 64}):
        with pytest.raises(AuditError, match="another study"):
            write(tmp_path, made, [replace(judgements[0], **wrong)], TRACKS)
    with pytest.raises(AuditError, match=r"excluded \(hasty\)"):
        write(tmp_path, made, judgements, TRACKS, excluded={"anna": "hasty"})
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_answers_gives_no_labels(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2))
    for given, tracks in (([], TRACKS), (judgements, []), ([said(made, 0, "ben", None)], TRACKS)):
        with pytest.raises(AuditError, match="gives no labels"):
            write(tmp_path, made, given, tracks)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2))
    first = write(tmp_path, made, judgements, TRACKS)
    with pytest.raises(AuditError, match="is there already"):
        write(tmp_path, made, judgements, TRACKS)
    assert read_labels(tmp_path / FOLDER) == first


def test_a_time_that_is_none_leaves_nothing_behind(tmp_path: Path) -> None:
    made, judgements = ab((0, "anna", -2))
    with pytest.raises(AuditError, match="created_at"):
        write_labels(tmp_path, made, judgements, tracks=TRACKS, created_at="yesterday")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    made, judgements, tracks = many()
    write(folder, made, judgements, tracks)
    return folder / FOLDER


@pytest.mark.parametrize("name", ["labels.json", "items.jsonl", "triples.jsonl", "splits.json"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.unlink(), id="gone"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-20]), id="cut"),
        pytest.param(lambda file: file.write_bytes(b"\xff{}"), id="no-utf-8"),
        pytest.param(lambda file: file.write_bytes(b"NaN"), id="nan"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(b"[1]"), id="other-json"),
    ],
)
def test_a_damaged_file_is_named(
    written: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "copy"))
    damage(folder / name)
    with pytest.raises(AuditError, match=name):
        read_labels(folder)


def doctored(written: Path, target: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A copy with one file changed, and checksums that fit."""
    from kindred.audit import labels

    folder = Path(shutil.copytree(written, target))
    lines = (folder / name).read_text().splitlines() if name.endswith("l") else None
    values = (
        [json.loads(line) for line in lines] if lines else json.loads((folder / name).read_text())
    )
    change(values)
    text = "\n".join(map(json.dumps, values)) + "\n" if lines else json.dumps(values)
    (folder / name).write_text(text)
    if name != "labels.json":
        header = json.loads((folder / "labels.json").read_text())
        contents = {file: (folder / file).read_bytes() for file in header["files"]}
        header["files"] = {file: labels._sha256(content) for file, content in contents.items()}
        header["version"] = labels._version(contents)
        (folder / "labels.json").write_text(json.dumps(header))
    return folder


def put_in_test(splits: dict[str, Any]) -> None:
    group = next(iter(splits["train"]))
    splits["test"][group] = ["another"]


def split_a_track(splits: dict[str, Any]) -> None:
    splits["test"]["new group"] = [next(iter(splits["train"].values()))[0]]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("splits.json", put_in_test, "not disjoint. The group"),
        ("splits.json", split_a_track, "not disjoint. The track"),
        (
            "splits.json",
            lambda splits: splits.update(
                used_for_training=[next(iter(splits["test"].values()))[0]]
            ),
            "used for training",
        ),
        ("items.jsonl", lambda rows: rows[0]["candidate"].update(track_id="new"), "has no split"),
        ("items.jsonl", lambda rows: rows[0].update(split="x"), "schema at split in line 1"),
        ("items.jsonl", lambda rows: rows[2].update(grade=4), "schema at grade in line 3"),
        ("items.jsonl", lambda rows: rows[1].update(extra=1), "in line 2"),
        ("triples.jsonl", lambda rows: rows[0]["farther"].pop("start"), "schema at farther"),
        ("labels.json", lambda header: header.update(schema=2), "schema 2; 1 is read here"),
        ("labels.json", lambda header: header.update(version="0" * 64), "does not belong"),
        ("labels.json", lambda header: header.update(human=False), "schema at human"),
    ],
)
def test_what_contradicts_itself_is_refused(
    written: Path, tmp_path: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    folder = doctored(written, tmp_path / "copy", name, change)
    with pytest.raises(AuditError, match=message) as caught:
        read_labels(folder)
    assert name in str(caught.value)


def test_a_line_must_have_the_split_of_its_tracks(written: Path, tmp_path: Path) -> None:
    def to_test(rows: list[dict[str, Any]]) -> None:
        next(row for row in rows if row["split"] == "train")["split"] = "test"

    folder = doctored(written, tmp_path / "copy", "items.jsonl", to_test)
    with pytest.raises(AuditError, match="has another split in line"):
        read_labels(folder)


def test_disjoint_splits_tell_each_tracks_split() -> None:
    splits = {
        "train": {"a": ["a", "b"]},
        "validation": {},
        "test": {"c": ["c"]},
        "used_for_training": ["a"],
    }
    assert check_splits(splits, where=Path("splits.json")) == {
        "a": "train",
        "b": "train",
        "c": "test",
    }
