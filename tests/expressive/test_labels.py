"""Labels follow from how clips were rendered, and a folder that says otherwise is refused."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindred.audit.labels import read_labels as read_audit_labels
from kindred.errors import AuditError, ExpressiveError
from kindred.expressive import label_files
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.bundle import LABELS
from kindred.expressive.labelling import DRAWN, QUERY_SETS, entries
from kindred.expressive.labels import ExpressiveLabels, read_labels, write_labels
from tests.expressive.labelled import judged, made, plan


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / LABELS
    write_labels(folder, plan(), seed=3, human=[judged(folder.parent / "study", aspect="tempo")])
    return folder


@pytest.fixture(scope="module")
def labels(written: Path) -> ExpressiveLabels:
    return read_labels(written)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# -- what lines say ------------------------------------------------------------------------------
def test_grades_follow_from_levels(labels: ExpressiveLabels) -> None:
    clips = {clip.clip_id: clip for clip in labels.clips}
    tracks = {(clip.set, clip.performance): clip for clip in labels.clips}
    for item in labels.items:
        query = clips[item.query.track_id]
        candidate = (
            clips[item.candidate.track_id]
            if item.kind == "clip"
            else tracks[item.set, item.candidate.track_id]
        )
        one, other = query.level(item.aspect), candidate.level(item.aspect)
        if item.role == "lure":
            assert query.work == candidate.work
            assert one != other
            assert item.grade == 0
        else:
            assert query.work != candidate.work
            apart = 3 * (one != other) if item.aspect == "timbre" else abs(one - other)
            assert item.grade == max(0, 3 - apart)
            assert (item.role == "positive") == (item.grade > 0)
        assert query.split == candidate.split == item.split
        assert query.set == candidate.set == item.set
        assert item.candidate.seconds == (12 if item.kind == "clip" else 24)


def test_triples_have_a_closer_and_a_farther_clip(labels: ExpressiveLabels) -> None:
    clips = {clip.clip_id: clip for clip in labels.clips}
    kinds = Counter(triple.lure for triple in labels.triples)
    assert kinds[True]
    assert kinds[False]
    for triple in labels.triples:
        reference, closer, farther = (
            clips[clip.track_id] for clip in (triple.reference, triple.closer, triple.farther)
        )
        aspect = ASPECTS[KEYS.index(triple.aspect)]
        level = reference.level(aspect.key)
        assert len({(clip.split, clip.set) for clip in (reference, closer, farther)}) == 1
        assert closer.work != reference.work
        assert triple.lure == (farther.work == reference.work)
        grade = aspect.grade(level, closer.level(aspect.key))
        if triple.lure:
            assert grade > 0
            assert farther.level(aspect.key) != level
        else:
            assert grade > aspect.grade(level, farther.level(aspect.key))


def test_every_query_has_lines_as_announced(labels: ExpressiveLabels) -> None:
    """At most so many of a role, none twice, and over all grades."""
    counts = Counter(
        (item.query.track_id, item.aspect, item.kind, item.role) for item in labels.items
    )
    for (*_, kind, role), count in counts.items():
        assert count <= DRAWN[kind][role]
    asked = {(query, aspect) for query, aspect, kind, role in counts if kind == "clip"}
    queries = [clip.clip_id for clip in labels.clips if clip.set in QUERY_SETS]
    assert asked == {(query, aspect) for query in queries for aspect in KEYS}
    assert len(set(labels.items)) == len(labels.items)
    for kind in ("clip", "track"):
        grades = Counter(item.grade for item in labels.items if item.kind == kind)
        assert set(grades) == {0, 1, 2, 3}
    assert {item.kind for item in labels.items} == {"clip", "track"}
    assert {item.set for item in labels.items} == {"factorial", "soundfont", "programs"}


def test_what_is_not_known_is_not_irrelevant(tmp_path: Path) -> None:
    levels = [(0, -1, 2, -1, 0), (0, 1, -1, -1, 0), (1, 1, 2, -1, 0)]
    played = [made("human", 9 + at, "0", given, seed=at) for at, given in enumerate(levels)]
    labels = write_labels(tmp_path / LABELS, [*plan(), *played], seed=0)
    ids = {clip.clip_id: at for at, clip in enumerate(played)}
    found: dict[str, set[tuple[int, int]]] = {key: set() for key in KEYS}
    for item in labels.items:
        if item.set == "human" and item.kind == "clip":
            found[item.aspect].add((ids[item.query.track_id], ids[item.candidate.track_id]))
    everyone = {(one, other) for one in ids.values() for other in ids.values() if one != other}
    assert found == {
        "tempo": everyone,
        "phrasing": {(1, 2), (2, 1)},
        "dynamics": {(0, 2), (2, 0)},
        "articulation": set(),
        "timbre": everyone,
    }


def test_a_track_has_the_levels_that_its_clips_share() -> None:
    clips = [made("human", 9, "0", (1, 1, 1, 1, 1)), made("human", 9, "0", (1, 2, 1, -1, 1))]
    (track,) = entries(clips)["track"].values()
    assert track.levels == (1, -1, 1, -1, 1)
    assert (track.segment.track_id, track.segment.seconds) == ("human-9-0", 24.0)


# -- the folder ----------------------------------------------------------------------------------
def test_the_same_clips_and_seed_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    clips = plan()
    random.Random(1).shuffle(clips)
    human = [written / "human" / name.name for name in (written / "human").iterdir()]
    write_labels(tmp_path / "again", clips, seed=3, human=human)
    assert files(tmp_path / "again") == files(written)
    other = write_labels(tmp_path / "other", clips, seed=4, human=human)
    assert other.version != read_labels(written).version


def test_lines_of_a_split_do_not_depend_on_other_sets(
    labels: ExpressiveLabels, tmp_path: Path
) -> None:
    factorial = [clip for clip in plan() if clip.set == "factorial"]
    alone = write_labels(tmp_path / LABELS, factorial, seed=3)
    assert alone.items == tuple(item for item in labels.items if item.set == "factorial")
    assert alone.human.pairs == ()


def test_what_is_read_is_what_was_written(labels: ExpressiveLabels, written: Path) -> None:
    assert labels.clips == tuple(sorted(plan(), key=lambda clip: clip.clip_id))
    assert labels.split_of_group["group-0"] == "train"
    assert len(labels.split_of_group) == 14
    assert len(labels.human.pairs) == 24
    header = labels.header
    assert header["human"] is False
    assert [(aspect["key"], len(aspect["steps"])) for aspect in header["aspects"]] == [
        (key, 5) for key in KEYS
    ]
    assert header["sizes"]["items"] == len(labels.items)
    assert sum(row["lines"] for row in header["counts"]["items"]) == len(labels.items)
    assert sum(row["lines"] for row in header["counts"]["triples"]) == len(labels.triples)
    assert {name for name in files(written) if name != "labels.json"} == set(header["files"])


def test_a_study_is_kept_as_it_was_exported(written: Path, tmp_path: Path) -> None:
    (kept,) = (written / "human").iterdir()
    assert files(kept) == files(judged(tmp_path, aspect="tempo"))
    assert kept.name == read_audit_labels(kept).version[:12]


def test_a_line_of_clips_has_the_fields_of_a_line_of_people(written: Path) -> None:
    (human,) = (written / "human").iterdir()
    for name, shared in (
        ("items.jsonl", {"query", "candidate", "aspect", "grade", "split"}),
        ("triples.jsonl", {"reference", "closer", "farther", "aspect", "split"}),
    ):
        one, other = (
            json.loads((folder / name).read_text().splitlines()[0]) for folder in (written, human)
        )
        assert one.keys() & other.keys() == shared
        for field in shared:
            assert type(one[field]) is type(other[field])
            if isinstance(one[field], dict):
                assert one[field].keys() == other[field].keys()


def test_every_line_follows_its_schema(written: Path) -> None:
    for name in ("clips.jsonl", "items.jsonl", "triples.jsonl"):
        lines = [json.loads(line) for line in (written / name).read_text().splitlines()]
        label_files.check_schema(written, name, lines, step=1)


def test_writing_again_keeps_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / LABELS
    first = write_labels(folder, plan(takes=2), seed=0)
    before = files(folder)
    assert write_labels(folder, plan(takes=2), seed=0) == first
    with pytest.raises(ExpressiveError, match="is there already, with other labels"):
        write_labels(folder, plan(takes=2), seed=1)
    assert files(folder) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [LABELS]


def test_what_cannot_be_labelled_leaves_nothing_behind(tmp_path: Path) -> None:
    leak = replace(plan()[0], clip_id="0" * 16, split="test")
    study = judged(tmp_path / "study", aspect="harmony")
    for clips, human, message in (
        ([], [], "no clips"),
        ([*plan(), leak], [], "not disjoint"),
        (plan(), [study], "'harmony' is not learnt"),
        (plan(), [tmp_path / "none"], "Human labels cannot be used"),
    ):
        with pytest.raises(ExpressiveError, match=message):
            write_labels(tmp_path / "out" / LABELS, clips, seed=0, human=human)
    assert not (tmp_path / "out").exists()


# -- what is refused -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["labels.json", "clips.jsonl", "items.jsonl", "triples.jsonl", "splits.json"]
)
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
    with pytest.raises(ExpressiveError, match=name):
        read_labels(folder)


def doctored(written: Path, target: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A copy with one file changed, and checksums that fit."""
    folder = Path(shutil.copytree(written, target))
    text = (folder / name).read_text()
    many = name.endswith("l")
    values = [json.loads(line) for line in text.splitlines()] if many else json.loads(text)
    change(values)
    (folder / name).write_text(
        "".join(json.dumps(value) + "\n" for value in values) if many else json.dumps(values)
    )
    if name != "labels.json":
        header = json.loads((folder / "labels.json").read_text())
        header["files"] = {
            file: label_files.sha256((folder / file).read_bytes()) for file in header["files"]
        }
        header["version"] = label_files.version_of(header["files"])
        (folder / "labels.json").write_text(json.dumps(header))
    return folder


def a_lure(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["role"] == "lure")


def leaking(rows: list[dict[str, Any]]) -> None:
    """The candidate of a training query becomes a clip of the test."""
    query = next(row for row in rows if row["split"] == "train")
    query["candidate"] = next(row for row in rows if row["split"] == "test")["candidate"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("clips.jsonl", lambda rows: rows[7].update(split="validation"), "not disjoint"),
        ("clips.jsonl", lambda rows: rows[7].update(work="work-x"), "of the work work-x and of"),
        ("clips.jsonl", lambda rows: rows[7].update(extra=1), "line 8"),
        ("clips.jsonl", lambda rows: rows[7].pop("recipe"), "line 8"),
        ("clips.jsonl", lambda rows: rows[7].update(levels=[1, 2, 3, 4]), "line 8"),
        ("clips.jsonl", lambda rows: rows[7].update(levels=[1, 2, 3, 4, 5]), "line 8"),
        ("clips.jsonl", lambda rows: rows[7].update(levels=[1, 2, 3, 4, "0"]), "line 8"),
        ("clips.jsonl", lambda rows: rows.append(rows[0]), "is there twice"),
        ("items.jsonl", leaking, "does not follow from clips.jsonl"),
        ("items.jsonl", lambda rows: rows[901].update(grade=rows[901]["grade"] + 1), "line 902,"),
        ("items.jsonl", lambda rows: a_lure(rows).update(grade=3), "line"),
        ("items.jsonl", lambda rows: a_lure(rows).update(role="negative"), "line"),
        ("items.jsonl", lambda rows: rows[901].update(split="none"), "line 902,"),
        ("items.jsonl", lambda rows: rows[901].update(aspect="harmony"), "line 902,"),
        ("items.jsonl", lambda rows: rows[901].update(kind="album"), "line 902,"),
        ("items.jsonl", lambda rows: rows[901]["query"].update(start=3), "line 902,"),
        ("items.jsonl", lambda rows: rows[901]["query"].update(track_id=[]), "line 902,"),
        ("items.jsonl", lambda rows: rows[901].update(query="x"), "line 902,"),
        ("items.jsonl", lambda rows: rows[901].update(extra=1), "line 902,"),
        ("items.jsonl", lambda rows: rows.__setitem__(901, 5), "no object in line 902"),
        ("items.jsonl", lambda rows: rows[0].update(grade=4), "schema at grade in line 1"),
        (
            "triples.jsonl",
            lambda rows: rows[301].update(closer=rows[301]["farther"], farther=rows[301]["closer"]),
            "line 302,",
        ),
        ("triples.jsonl", lambda rows: rows[301].update(lure=not rows[301]["lure"]), "line 302,"),
        ("triples.jsonl", lambda rows: rows[301].update(split="x"), "line 302,"),
        ("triples.jsonl", lambda rows: rows[301].pop("farther"), "line 302,"),
        (
            "splits.json",
            lambda splits: splits["test"].update({"group-0": splits["train"].pop("group-0")}),
            "does not have the splits of clips.jsonl",
        ),
        (
            "splits.json",
            lambda splits: splits["test"].update({"group-0": ["work-0"]}),
            "does not have the splits of clips.jsonl",
        ),
        ("splits.json", lambda splits: splits.pop("composers"), "schema at it"),
        ("labels.json", lambda header: header.update(schema=2), "schema 2; 1 is read here"),
        ("labels.json", lambda header: header.update(format="x"), "is not of labels of rendered"),
        ("labels.json", lambda header: header.update(version="0" * 64), "does not belong"),
        ("labels.json", lambda header: header.update(human=True), "schema at human"),
        (
            "labels.json",
            lambda header: header["files"].update({"../secret": "0" * 64}),
            "schema at files",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    written: Path, tmp_path: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    folder = doctored(written, tmp_path / "copy", name, change)
    with pytest.raises(ExpressiveError, match=message):
        read_labels(folder)


def test_labels_of_people_and_of_clips_are_not_taken_for_each_other(
    written: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExpressiveError, match="is not of labels of rendered clips"):
        read_labels(judged(tmp_path))
    with pytest.raises(AuditError, match=r"labels\.json"):
        read_audit_labels(written)
