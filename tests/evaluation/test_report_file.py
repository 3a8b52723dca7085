"""Reports as files: what is opened is what was saved, and tables hold the same numbers. Bad input:
no file, a cut one, one that is no archive, an archive of something else, a full disk."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.report_file import answer, class_csv, hits, load_report, query_csv
from kindred.evaluation.report_file import save_report as save
from kindred.evaluation.retrieval import evaluate_retrieval
from kindred.evaluation.task import VARIANTS
from tests.evaluation.worlds import labels, unit, untidy


@pytest.fixture(scope="module")
def report() -> RetrievalReport:
    vectors, found = untidy()
    made = evaluate_retrieval(vectors, found.ids, found, name="ours", draws=50)
    assert made is not None
    return made


def rows_of(text: str) -> list[dict[str, str]]:
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_what_is_opened_is_what_was_saved(tmp_path: Path, report: RetrievalReport) -> None:
    save(tmp_path / "deep" / "0.npz", report)
    opened = load_report(tmp_path / "deep" / "0.npz")
    assert json.dumps(opened.to_dict()) == json.dumps(report.to_dict())
    assert opened.lines() == report.lines()
    for name in ("name", "ids", "classes", "warnings", "hubness", "macro_rule", "seed", "draws"):
        assert getattr(opened, name) == getattr(report, name)
    for name in ("class_of", "cluster_of", "macro_of"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(report, name), strict=True)
    assert list(opened.variants) == list(VARIANTS)
    for name, variant in report.variants.items():
        other = opened.variants[name]
        assert (other.measures, other.queries) == (variant.measures, variant.queries)
        for table in ("values", "chance", "ceiling", "top"):
            ours, theirs = getattr(variant, table), getattr(other, table)
            np.testing.assert_array_equal(theirs, ours, strict=True)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["0.npz"]


def test_a_report_without_an_interval_comes_back(tmp_path: Path) -> None:
    found = labels(["x", "x"], works=["w", "w"])
    made = evaluate_retrieval(unit(np.ones((2, 2))), found.ids, found, draws=10)
    assert made is not None
    assert made.variants["plain"].measures["mrr"].macro.ci95 is None
    save(tmp_path / "0.npz", made)
    assert load_report(tmp_path / "0.npz").to_dict() == made.to_dict()


def test_a_report_that_is_not_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="not on this machine"):
        load_report(tmp_path / "nowhere" / "0.npz")


@pytest.mark.parametrize("keep", [0, 0.001, 0.01, 0.5, 0.999])
def test_a_report_cut_short_is_said(tmp_path: Path, report: RetrievalReport, keep: float) -> None:
    path = tmp_path / "0.npz"
    save(path, report)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(QueryError, match="damaged"):
        load_report(path)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_byte_is_noticed(tmp_path: Path, report: RetrievalReport, place: float) -> None:
    path = tmp_path / "0.npz"
    save(path, report)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(QueryError, match="damaged"):
        load_report(path)


def test_an_archive_of_something_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    for arrays in ({"a": np.zeros(3)}, {"text": np.array("[]")}, {"text": np.array("{")}):
        np.savez(path, **arrays)
        with pytest.raises(QueryError, match="damaged"):
            load_report(path)
    path.write_text("this is no archive")
    with pytest.raises(QueryError, match="damaged"):
        load_report(path)


def test_a_full_disk_leaves_nothing_half(
    tmp_path: Path, report: RetrievalReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "0.npz", report)
    before = (tmp_path / "0.npz").read_bytes()

    def full(out: Any, **arrays: Any) -> None:
        out.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path / "0.npz", replace(report, name="other"))
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]
    assert (tmp_path / "0.npz").read_bytes() == before


def test_the_table_of_labels(report: RetrievalReport) -> None:
    rows = rows_of(class_csv([report, replace(report, name="other")]))
    assert len(rows) == 2 * len(VARIANTS) * len(report.classes)
    for variant in VARIANTS:
        ours = report.per_class(variant)
        theirs = [row for row in rows if (row["system"], row["variant"]) == ("ours", variant)]
        assert [row["label"] for row in theirs] == [row["label"] for row in ours]
        for mine, row in zip(ours, theirs, strict=True):
            expected = "" if mine["ndcg@5"] is None else str(mine["ndcg@5"])
            assert row["ndcg@5"] == expected
            assert int(row["queries"]) == mine["queries"]


def test_the_table_of_queries(report: RetrievalReport) -> None:
    titles = {report.ids[0]: "=HYPERLINK()", report.ids[1]: 'Ein, "Stück" in zwei Zeilen'}
    rows = rows_of(query_csv([report], titles))
    assert len(rows) == sum(variant.queries for variant in report.variants.values())
    place = {track_id: row for row, track_id in enumerate(report.ids)}
    for row in rows:
        variant, number = report.variants[row["variant"]], place[row["track_id"]]
        assert float(row["precision@5"]) == row["hits"].count("1") / 5
        assert row["hits"] == "h" + "".join(str(int(hit)) for hit in hits(report, variant, number))
        found = [row[f"answer_{n}"] for n in range(1, 6) if row[f"answer_{n}"]]
        assert found == answer(report, variant, number)
        assert row["label"] == report.classes[report.class_of[number]]
        if number == 1:
            assert row["title"] == titles[report.ids[1]]
        if number == 0:
            assert row["title"] == "'=HYPERLINK()"


def test_hits_of_a_track_without_a_label() -> None:
    found = labels(["", "", "x", "x"])
    made = evaluate_retrieval(unit(np.ones((4, 2))), found.ids, found, k=3, draws=10)
    assert made is not None
    plain = made.variants["plain"]
    assert hits(made, plain, 0) == [False, False, False]  # no label is no common label
    assert hits(made, plain, 2) == [False, False, True]
