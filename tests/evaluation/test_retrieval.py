"""Retrieval by label in worlds whose truth is known, each trap by name, and the numbers of a script
that reads exported files alone. Bad input: vectors that are not finite or not of unit length, no
tracks, one, all of them lone, ids that come twice, unknown labels, k of 0 and k above n."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.evaluation import ranks
from kindred.evaluation.labels import Labels
from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.retrieval import evaluate_lists, evaluate_retrieval
from kindred.evaluation.task import VARIANTS
from tests.evaluation import by_numpy
from tests.evaluation.worlds import labels, unit, untidy


def evaluate(vectors: np.ndarray, found: Labels, **options: object) -> RetrievalReport:
    options = {"draws": 50, **options}
    report = evaluate_retrieval(vectors, found.ids, found, **options)  # type: ignore[arg-type]
    assert report is not None
    return report


def micro(report: RetrievalReport, variant: str = "plain") -> dict[str, float | None]:
    return {name: item.micro.value for name, item in report.variants[variant].measures.items()}


def axes(*places: int) -> np.ndarray:
    return np.eye(max(places) + 1, dtype=np.float32)[list(places)]


# -- the same numbers as an independent script ---------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 400])
def test_a_script_that_reads_exported_files_gets_the_same_numbers(tmp_path: Path, k: int) -> None:
    vectors, found = untidy()
    np.save(tmp_path / "embeddings.npy", vectors)
    with open(tmp_path / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, found.rows()[0])
        writer.writeheader()
        writer.writerows(found.rows())
    ran = subprocess.run(
        [sys.executable, by_numpy.__file__, str(tmp_path), str(k), str(found.min_works)],
        capture_output=True,
        check=True,
        text=True,
        cwd=tmp_path,
    )
    theirs = json.loads(ran.stdout)
    document = evaluate(vectors, found, k=k).to_dict()
    assert list(theirs) == list(VARIANTS)
    for variant, measures in theirs.items():
        assert len(measures) == 7
        for name, means in measures.items():
            ours = document["variants"][variant][name]
            assert ours["micro"] == pytest.approx(means["micro"], abs=1.1e-9), (variant, name)
            assert ours["macro"] == pytest.approx(means["macro"], abs=1.1e-9), (variant, name)
            if variant == "plain":
                assert document[name] == ours
    assert document["macro_classes"] < document["classes"]
    values = [theirs[variant]["map"]["micro"] for variant in VARIANTS]
    assert len(set(values)) == 5  # every variant leaves something else out


def test_every_query_and_answer_is_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", 1_000)  # 25 blocks of 6 queries
    vectors, found = untidy(seed=1)
    report = evaluate(vectors, found)
    assert list(report.ids) == sorted(found.ids)
    for variant, result in report.variants.items():
        theirs = by_numpy.queries(vectors, found.rows(), variant, 5)
        for row, track_id in enumerate(report.ids):
            values, answer = theirs[track_id]
            assert [report.ids[place] for place in result.top[row]] == answer
            ours = result.values[row]
            expected = list(values.values()) or [np.nan] * 7
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_neither_order_nor_blocks_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, found = untidy(seed=2)
    one = evaluate(vectors, found, seed=4)
    monkeypatch.setattr(ranks, "BLOCK", 1)
    shuffled = np.random.default_rng(0).permutation(len(found.ids))
    ids = [found.ids[row] for row in shuffled]
    other = evaluate_retrieval(vectors[shuffled], ids, found, draws=50, seed=4)
    assert other is not None
    # Classes and works are numbered in order of id, so that even the draws agree.
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


# -- known truth ---------------------------------------------------------------------------------


def test_vectors_that_know_all_reach_the_ceiling() -> None:
    composers = [number % 12 for number in range(60)]
    found = labels([f"c{number}" for number in composers])
    report = evaluate(axes(*composers), found, k=5)
    for item in report.variants["plain"].measures.values():
        for mean in (item.macro, item.micro):
            assert mean.value == pytest.approx(mean.ceiling, abs=1e-12)
    assert report.variants["plain"].measures["precision@5"].micro.ceiling == pytest.approx(4 / 5)
    names, columns, shares = report.confusion()
    assert columns == [*names, "other", "unlabelled"]
    # Four of the five are right; the fifth is the smallest other id.
    assert np.diag(shares).tolist() == pytest.approx([4 / 5] * 12)
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * 12)


def test_vectors_that_know_nothing_score_chance() -> None:
    rng = np.random.default_rng(0)
    composers = [f"c{number}" for number in rng.integers(6, size=60)]
    works = [f"w{number}" for number in rng.integers(25, size=60)]
    found = labels(composers, works=works, albums=works[::-1])
    reports = [evaluate(unit(rng.standard_normal((60, 30))), found, draws=2) for _ in range(150)]
    for variant in VARIANTS:
        for name, item in reports[0].variants[variant].measures.items():
            for side in ("micro", "macro"):
                values = [
                    getattr(each.variants[variant].measures[name], side).value for each in reports
                ]
                error = np.std(values) / np.sqrt(len(values))
                chance = getattr(item, side).chance
                assert abs(np.mean(values) - chance) < 4 * error + 1e-12, (variant, name, side)


def test_leakage_shows_in_the_controlled_variants() -> None:
    """Vectors that know the album and nothing else, as those of an "album effect"."""
    album = [number // 4 for number in range(48)]
    found = labels(
        [f"c{number // 8}" for number in range(48)], albums=[f"a{number}" for number in album]
    )
    report = evaluate(axes(*album), found)
    assert micro(report)["mrr"] == 1
    assert micro(report, "not_same_work") == micro(report)  # no work is known
    alone = report.variants["not_same_album"].measures["mrr"].micro
    assert alone.value is not None
    assert alone.chance is not None
    assert alone.value < 2 * alone.chance
    assert micro(report, "controlled") == micro(report, "not_same_album")


def test_the_interval_follows_works_and_holds_the_mean() -> None:
    vectors, found = untidy()
    report = evaluate(vectors, found, draws=2_000)
    for result in report.variants.values():
        for item in result.measures.values():
            for mean in (item.micro, item.macro):
                assert mean.ci95 is not None
                assert mean.value is not None
                assert 0 <= mean.ci95[0] <= mean.value <= mean.ci95[1] <= 1
    same = evaluate(vectors, found, draws=2_000)
    assert json.dumps(same.to_dict()) == json.dumps(report.to_dict())
    other = evaluate(vectors, found, draws=2_000, seed=1)
    assert micro(other) == micro(report)
    assert other.variants["plain"].measures["mrr"] != report.variants["plain"].measures["mrr"]


# -- traps ---------------------------------------------------------------------------------------


def test_a_constant_scorer_has_no_mrr_of_one() -> None:
    """A published bug: with ties broken for the better, all the same vector would score 1."""
    found = labels(["x", *["lone"] * 0, *[f"c{number}" for number in range(18)], "x"])
    report = evaluate(unit(np.ones((20, 3))), found)
    # 000 finds 019 last of 19; 019 finds 000 first, since ties order by id.
    assert micro(report)["mrr"] == pytest.approx((1 / 19 + 1) / 2)


def test_the_query_is_left_out_by_its_id_not_as_the_top_hit() -> None:
    """A published bug: of equal vectors the first is not the query."""
    found = labels(["x", "x", "y", "y"])
    vectors = axes(0, 0, 1, 1)
    report = evaluate(vectors, found, k=1)
    assert micro(report)["precision@1"] == 1
    assert [row[0] for row in report.variants["plain"].top] == [1, 0, 3, 2]
    lists = [["000", "001"], ["000", "001"], ["002", "003"], ["002", "003"]]
    listed = evaluate_lists(lists, found.ids, found, k=1, draws=10)
    assert listed is not None
    assert micro(listed)["precision@1"] == 1


def test_a_composer_with_one_track_is_counted_not_averaged_and_stays_in_the_way() -> None:
    found = labels(["x", "x", "lone", ""], ids=["b", "d", "a", "c"])
    report = evaluate(unit(np.ones((4, 2))), found, k=1)
    plain = report.variants["plain"]
    assert (plain.queries, plain.singletons) == (2, 1)
    # Both have the lone track, then the unlabelled one or the other of them, before them.
    assert micro(report)["precision@1"] == 0
    assert micro(report)["mrr"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert np.isnan(plain.values[[0, 2]]).all()
    rows = {row["label"]: row for row in report.per_class()}
    assert rows["lone"]["queries"] == 0
    assert rows["lone"]["mrr"] is None
    assert rows["x"]["tracks"] == 2


def test_a_query_whose_every_relevant_track_is_left_out_is_counted() -> None:
    found = labels(["x", "x", "y", "y"], albums=["1", "1", "2", "3"])
    report = evaluate(axes(0, 0, 1, 1), found)
    result = report.variants["not_same_album"]
    assert (result.queries, result.singletons) == (2, 2)
    assert report.variants["plain"].queries == 4


def test_a_track_that_is_left_out_takes_no_rank() -> None:
    """b is nearest to a, of its work, and of the same composer; c is next."""
    vectors = unit(np.array([[1, 0], [1, 0.01], [1, 0.5], [1, 3.0]]))
    found = labels(["x", "x", "x", "y"], works=["w", "w", "v", "u"])
    report = evaluate(vectors, found, k=1)
    result = report.variants["not_same_work"]
    assert result.top[0].tolist() == [2]
    assert result.values[0].tolist() == [1] * 7  # R is 1 once the other is gone
    chance = dict(zip(report.measure_names, result.chance[0], strict=True))
    assert (chance["precision@1"], chance["mrr"]) == (1 / 2, 3 / 4)  # a gallery of 2


def test_what_is_the_label_is_not_left_out() -> None:
    found = labels(["x", "x", "y", "y"], albums=["x", "x", "y", "y"], name="album")
    report = evaluate(axes(0, 0, 1, 1), found)
    assert report.variants["controlled"].queries == 4
    assert micro(report, "not_same_album") == micro(report)


def test_macro_counts_composers_with_three_works_and_says_so() -> None:
    values = ["a"] * 4 + ["b"] * 4 + ["c"] * 3
    works = ["1", "2", "3", "3", "1b", "1b", "2b", "2b", "", "", ""]
    vectors = axes(0, 0, 0, 0, *range(1, 8))
    report = evaluate(vectors, labels(values, works=works, min_works=3))
    assert "2 of 3 labels (composer) with at least 3 works" in report.macro_rule
    assert [row["in_macro"] for row in report.per_class()] == [True, False, True]
    per_class = {row["label"]: row["mrr"] for row in report.per_class()}
    item = report.variants["plain"].measures["mrr"]
    assert item.macro.value == pytest.approx((per_class["a"] + per_class["c"]) / 2, abs=1e-9)
    assert item.micro.value == pytest.approx(
        (4 * per_class["a"] + 4 * per_class["b"] + 3 * per_class["c"]) / 11, abs=1e-9
    )


def test_where_no_composer_has_three_works_the_macro_mean_is_over_all_and_says_so() -> None:
    report = evaluate(
        axes(0, 0, 1, 1), labels(["x", "x", "y", "y"], works=list("1234"), min_works=3)
    )
    assert "none has 3 works" in report.macro_rule
    assert report.variants["plain"].measures["mrr"].macro.value == 1
    assert any("No composer has 3 works" in warning for warning in report.warnings)


def test_few_composers_claim_nothing_about_composers() -> None:
    def warned(count: int) -> list[str]:
        found = labels([f"c{number % count}" for number in range(60)])
        vectors = unit(np.random.default_rng(0).standard_normal((60, 4)))
        return [text for text in evaluate(vectors, found).warnings if "at least 10" in text]

    assert "over 9 labels (composer): it tells of these alone" in warned(9)[0]
    assert warned(10) == []


# -- lists of an index ---------------------------------------------------------------------------


def test_whole_lists_give_what_exact_search_gives() -> None:
    vectors, found = untidy()
    exact = evaluate(vectors, found)
    wide = vectors.astype(np.float64)
    lists = []
    for row in range(len(found.ids)):
        scores = (wide * wide[row]).sum(axis=1)
        order = sorted(range(len(found.ids)), key=lambda place: (-scores[place], found.ids[place]))
        lists.append([found.ids[place] for place in order])
    listed = evaluate_lists(lists, found.ids, found, draws=50)
    assert listed is not None
    assert listed.to_dict() == exact.to_dict()
    short = evaluate_lists([row[:30] for row in lists], found.ids, found, draws=50)
    assert short is not None
    names = ("precision@5", "hit_rate@5", "ndcg@5", "recall@5")
    assert [micro(short)[name] for name in names] == [micro(exact)[name] for name in names]
    assert (micro(short)["map"] or 0) < (micro(exact)["map"] or 0)  # what is not listed is unfound


def test_a_query_without_an_answer_counts_as_nothing_found() -> None:
    """Libraries differ: trec_eval drops it from the mean, ranx refuses, ir_measures has 0."""
    found = labels(["x", "x", "y", "y"])
    listed = evaluate_lists([["001"], [], ["003"], ["002"]], found.ids, found, draws=10)
    assert listed is not None
    assert (listed.variants["plain"].queries, micro(listed)["mrr"]) == (4, 3 / 4)


def test_lists_that_cannot_be() -> None:
    found = labels(["x", "x", "y"])
    for bad in (["000", "001", "001"], ["zzz"]):
        with pytest.raises(QueryError, match="The answer to '000' names a track twice, or one"):
            evaluate_lists([bad, [], []], found.ids, found)
    with pytest.raises(QueryError, match="3 tracks need as many answers, got 1"):
        evaluate_lists([[]], found.ids, found)
    nothing = evaluate_lists([[], [], []], found.ids, found, draws=5)
    assert nothing is not None
    assert micro(nothing)["mrr"] == 0
    assert nothing.hubness.anti_hubs == 1


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, 2.0])
def test_vectors_must_be_of_unit_length(wrong: float) -> None:
    vectors = axes(0, 1, 2, 3)
    vectors[2] = 0
    vectors[2, 0] = wrong
    with pytest.raises(QueryError, match="unit length; number 2"):
        evaluate(vectors, labels(["x", "x", "y", "y"]))


@pytest.mark.parametrize("shape", [(3, 2), (4,), (2, 2, 2), (0, 0)])
def test_every_track_needs_a_vector(shape: tuple[int, ...]) -> None:
    with pytest.raises(QueryError, match="4 tracks need a vector each"):
        evaluate(np.ones(shape, np.float32), labels(["x", "x", "y", "y"]))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_tracks(count: int) -> None:
    with pytest.raises(QueryError, match=f"vector: {count}"):
        evaluate(np.ones((count, 1), np.float32), labels(["x"] * count))


def test_nothing_to_find() -> None:
    for values in (["x", "y", "z"], ["", "", ""], ["x", "", ""]):
        with pytest.raises(QueryError, match="No two of 3 tracks have the same composer"):
            evaluate(axes(0, 1, 2), labels(values))


def test_k() -> None:
    found, vectors = labels(["x", "x", "y"]), axes(0, 0, 1)
    for k in (0, -1):
        with pytest.raises(QueryError, match="k must be at least 1"):
            evaluate(vectors, found, k=k)
    report = evaluate(vectors, found, k=10**9)
    assert micro(report)[f"precision@{10**9}"] == 1e-9
    assert report.variants["plain"].top.tolist() == [[1, 2, -1], [0, 2, -1], [0, 1, -1]]


def test_unknown_scoring_and_tracks() -> None:
    found, vectors = labels(["x", "x"]), axes(0, 0)
    with pytest.raises(QueryError, match="Choose from cosine, csls, mutual_proximity"):
        evaluate(vectors, found, scoring="euclid")
    with pytest.raises(QueryError, match="no row of labels"):
        evaluate_retrieval(vectors, ["000", "zzz"], found)
    with pytest.raises(QueryError, match="come twice"):
        evaluate_retrieval(vectors, ["000", "000"], found)


def test_two_tracks_of_one_composer_and_nothing_else() -> None:
    """All that can be said is said, in JSON without NaN, with its limits."""
    report = evaluate(axes(0, 1), labels(["x", "x"], works=["w", "w"], albums=["a", "a"]))
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["mrr"]["micro"] == document["mrr"]["chance"] == 1  # any order answers it
    assert document["mrr"]["ci95"] is None  # one work tells nothing of others
    assert document["variants"]["controlled"]["queries"] == 0
    assert document["variants"]["controlled"]["map"]["micro"] is None
    assert any("controlled: nothing relevant is left" in text for text in document["warnings"])
    assert report.lines()


def test_half_of_the_labels_missing() -> None:
    values = [f"c{number % 3}" if number % 2 else "" for number in range(24)]
    report = evaluate(unit(np.random.default_rng(0).standard_normal((24, 5))), labels(values))
    document = report.to_dict()
    assert (document["unlabelled"], document["queries"], document["tracks"]) == (12, 12, 24)
    assert any("12 of 24 tracks have no composer" in text for text in document["warnings"])
    _, columns, shares = report.confusion()
    assert columns[-1] == "unlabelled"
    assert shares[:, -1].sum() > 0


def test_many_classes_are_drawn_as_the_largest_and_the_rest() -> None:
    values = [f"c{min(number // 2, 40)}" for number in range(100)]
    report = evaluate(unit(np.random.default_rng(0).standard_normal((100, 5))), labels(values))
    rows, columns, shares = report.confusion(limit=4)
    assert rows[0] == "c40"
    assert (len(rows), len(columns)) == (4, 6)
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * 4)
    assert shares[:, 4].sum() > 0


# -- progress and stopping -----------------------------------------------------------------------


def test_progress_and_stopping_between_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", 1_500)
    vectors, found = untidy()
    seen: list[tuple[int, int]] = []
    report = evaluate(vectors, found, progress=lambda done, total, _: seen.append((done, total)))
    assert report.variants
    assert seen == [(10 * number, 150) for number in range(1, 16)]
    for stop_at in (0, 1, 8, 15):
        seen.clear()
        stopped = evaluate_retrieval(
            vectors,
            found.ids,
            found,
            progress=lambda done, total, _: seen.append((done, total)),
            cancelled=lambda stop_at=stop_at: len(seen) >= stop_at,  # type: ignore[misc]
        )
        assert stopped is None
        assert len(seen) == stop_at


def test_the_mean_over_all_classes_stands_beside_that_over_classes_of_enough_works() -> None:
    vectors, found = untidy()
    report = evaluate(vectors, found, k=5)
    document = report.to_dict()
    values = report.variants["plain"].values[:, 0]
    of_class = {
        number: values[(report.class_of == number) & ~np.isnan(values)]
        for number in range(len(report.classes))
    }
    means = [rows.mean() for rows in of_class.values() if len(rows)]
    assert document["precision@5"]["macro_all"] == pytest.approx(np.mean(means))
    assert document["variants"]["controlled"]["map"]["macro_all"] is not None
