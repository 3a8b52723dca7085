"""Tables for other programs: everything is in them, as it was given, and nothing runs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kindred.audit.judgement import Judgement, chosen, preference
from kindred.audit.tables import columns, frame, rows, write_tables
from kindred.errors import AuditError
from tests.audit.studies import Room, given, make_study

REMARKS = ('=HYPERLINK("http://example.org")', "+1", "-1", "@x", "\t=1", "\r=1",
           'a "quoted", comma\nand a line', "音楽 🎹", "'plain", "")  # fmt: skip


def _room(folder: Path, form: Any = "ab") -> Room:
    """A room with one whole sitting whose answers and comments vary, one of them changed."""
    room = Room(folder, make_study(form=form))
    token = room.invite("=cmd|' /C calc'!A0")
    view = room.to_trial(token)
    view = room.sittings.answer(token, given(view))
    view = room.sittings.answer(token, given(room.sittings.back(token), None))
    for remark in REMARKS:
        view = room.sittings.answer(token, given(view, comment=remark))
    room.to_end(token, view)
    return room


@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_rows_hold_every_judgement_and_what_it_means(tmp_path: Path, form: Any) -> None:
    room = _room(tmp_path, form)
    stored = room.store.judgements("study")
    made = rows(room.study, stored)
    assert len(made) == len(stored) == 33
    items = {item.item_id: item for item in room.study.items}
    for row, judgement in zip(made, stored, strict=True):
        item = items[judgement.item_id]
        assert tuple(row) == tuple(column.name for column in columns(room.study))
        assert json.loads(row["answer"]) == judgement.answer
        assert row["chosen"] == chosen(form, judgement)
        assert row["preference"] == (preference(judgement) if form == "ab" else None)
        assert row["query_track_id"] == (item.reference.track_id if item.reference else None)
        assert [row[f"candidate_{at}_track_id"] for at in range(len(item.candidates))] == [
            one.clip.track_id for one in item.candidates
        ]
        assert json.loads(row["candidate_1_systems"]) == {"mert": {"rank": 2, "score": 0.5}}
        assert row["right"] == (None if item.expected is None else row["chosen"] == item.expected)
    assert [row["counts"] for row in made[:4]] == [False, False, False, True]  # practice, changed
    assert sum(row["counts"] for row in made) == 30
    if form == "graded":
        first = made[4]
        shown = json.loads(first["order"])
        assert [first[f"broad_{index}"] for index in shown] == [2, 1, 0, None, 1]
        assert [first[f"fine_{index}"] for index in shown] == [90, 50, 0, None, 51]


def test_csv_parquet_and_json_lines_hold_the_same(tmp_path: Path) -> None:
    room = _room(tmp_path)
    stored = room.store.judgements("study")
    paths = write_tables(room.study, stored, tmp_path / "out")
    assert [path.name for path in paths] == [
        "judgements.csv", "judgements.parquet", "judgements.jsonl", "codebook.md",
    ]  # fmt: skip
    plain = rows(room.study, stored)
    lines = [json.loads(line) for line in paths[2].read_text().splitlines()]
    assert lines == plain
    table = pd.read_parquet(paths[1])
    pd.testing.assert_frame_equal(table, frame(room.study, stored))
    assert table["preference"].tolist()[4:8] == [row["preference"] for row in plain[4:8]]
    with paths[0].open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["judgement_id"] for row in read] == [row["judgement_id"] for row in plain]
    assert [float(row["seconds"]) for row in read] == [row["seconds"] for row in plain]
    text = paths[3].read_text()
    assert all(f"| `{column.name}` |" in text for column in columns(room.study))


def test_a_spreadsheet_finds_no_formula_and_nothing_is_lost(tmp_path: Path) -> None:
    room = _room(tmp_path)
    write_tables(room.study, room.store.judgements("study"), tmp_path / "out", formats=["csv"])
    assert not (tmp_path / "out" / "judgements.parquet").exists()
    with (tmp_path / "out" / "judgements.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    numbers = {
        column.name for column in columns(room.study) if column.type in {"integer", "number"}
    }
    for row in read:
        for name, value in row.items():
            assert name in numbers or not value.startswith(("=", "+", "-", "@", "\t", "\r"))
    found = [row["comment"].removeprefix("'") for row in read[4 : 4 + len(REMARKS)]]
    assert found == [remark.removeprefix("'") for remark in REMARKS]
    assert all("calc" not in value for row in read for value in row.values())  # names stay here


def test_who_is_left_out_is_said_and_kept(tmp_path: Path) -> None:
    room = _room(tmp_path)
    stored = room.store.judgements("study")
    made = rows(room.study, stored, {stored[0].listener_id: "3 of 6 catches right"})
    assert {row["excluded"] for row in made} == {"3 of 6 catches right"}
    assert len(made) == len(stored)


def test_a_study_without_answers_makes_empty_tables(tmp_path: Path) -> None:
    room = Room(tmp_path)
    paths = write_tables(room.study, [], tmp_path / "out")
    table = pd.read_parquet(paths[1])
    assert len(table) == 0
    assert list(table) == [column.name for column in columns(room.study)]
    assert len(paths[0].read_text().splitlines()) == 1


def test_foreign_judgements_formats_and_folders_are_refused(tmp_path: Path) -> None:
    room = _room(tmp_path)
    stored = room.store.judgements("study")
    foreign: list[Judgement] = [
        replace(stored[0], design_hash="0" * 64),
        replace(stored[0], item_id="none"),
    ]
    for judgement in foreign:
        with pytest.raises(AuditError, match="not of the study"):
            rows(room.study, [judgement])
    with pytest.raises(AuditError, match="xlsx"):
        write_tables(room.study, stored, tmp_path / "out", formats=["xlsx"])
    (tmp_path / "file").touch()
    with pytest.raises(AuditError, match="cannot be written"):
        write_tables(room.study, stored, tmp_path / "file")
