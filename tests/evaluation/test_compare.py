"""Several reports on the same queries: differences, tests, classes and disagreements."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.evaluation import statistics
from kindred.evaluation.compare import compare
from kindred.evaluation.labels import Labels
from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.retrieval import evaluate_retrieval
from tests.evaluation.worlds import labels, unit, untidy

NAMES = ("precision@5", "hit_rate@5", "ndcg@5", "recall@5", "mrr", "r_precision", "map")


def evaluate(name: str, vectors: np.ndarray, found: Labels, **options: object) -> RetrievalReport:
    options = {"draws": 20, **options}
    report = evaluate_retrieval(vectors, found.ids, found, name=name, **options)  # type: ignore[arg-type]
    assert report is not None
    return report


@pytest.fixture(scope="module")
def three() -> list[RetrievalReport]:
    """A good space, the same with noise, and noise alone, on the same untidy library."""
    vectors, found = untidy()
    noise = np.random.default_rng(9).standard_normal(vectors.shape)
    return [
        evaluate("good", vectors, found),
        evaluate("noisy", unit(vectors + 0.3 * noise), found),
        evaluate("noise", unit(noise), found),
    ]


@pytest.mark.parametrize("variant", ["plain", "controlled"])
def test_a_difference_is_that_of_the_means(three: list[RetrievalReport], variant: str) -> None:
    found = compare(three, variant=variant, draws=200)
    assert [(d.first, d.second) for d in found.differences[:3]] == [
        ("good", "noisy"), ("good", "noise"), ("noisy", "noise"),
    ]  # fmt: skip
    assert [d.measure for d in found.differences[::3]] == list(NAMES)
    by_name = {report.name: report.variants[variant].measures for report in three}
    for item in found.differences:
        one, other = (by_name[name][item.measure] for name in (item.first, item.second))
        for side in ("micro", "macro"):
            gap = getattr(one, side).value - getattr(other, side).value
            assert getattr(item, side) == pytest.approx(gap, abs=1e-12)
        assert item.ci95 is not None
        assert item.ci95[0] <= item.macro <= item.ci95[1]
        assert item.p <= item.p_holm <= min(1, 3 * item.p + 1e-12)


def test_a_clear_difference_is_found_and_none_is_not(three: list[RetrievalReport]) -> None:
    found = compare(three, draws=2_000)
    clear = next(d for d in found.differences if (d.measure, d.second) == ("map", "noise"))
    assert clear.ci95 is not None
    assert clear.ci95[0] > 0
    assert clear.p_holm < 0.01
    vectors, named = untidy()
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    same = compare(
        [evaluate("one", vectors, named), evaluate("two", unit(vectors @ turned), named)],
        draws=200,
    )
    for item in same.differences:
        assert abs(item.macro) < 0.01  # turned vectors have the same cosines but for rounding
        assert item.p > 0.05
    twins = compare([three[0], evaluate("twin", vectors, named)], draws=200)
    for item in twins.differences:
        assert (item.macro, item.ci95, item.p, item.p_holm) == (0, (0, 0), 1, 1)


def test_holm_is_over_the_pairs_of_one_measure(three: list[RetrievalReport]) -> None:
    found = compare(three, draws=300)
    for name in NAMES:
        rows = [item for item in found.differences if item.measure == name]
        expected = statistics.holm(np.array([item.p for item in rows]))
        assert [item.p_holm for item in rows] == expected.tolist()


def test_both_hear_of_the_same_draws() -> None:
    """Paired: where every query gains a tenth, so does every draw, however far they lie apart."""
    vectors, found = untidy()
    one = evaluate("one", vectors, found)
    other = evaluate("other", vectors, found)
    other.variants["plain"].values[:] -= 0.1
    for item in compare([one, other], draws=300).differences:
        assert item.ci95 == pytest.approx((0.1, 0.1), abs=1e-12)
    assert one.variants["plain"].measures["mrr"].macro.ci95 is not None


def test_disagreements_are_the_widest_gaps(three: list[RetrievalReport]) -> None:
    found = compare(three, draws=10)
    rows = found.disagreements("good", "noise", limit=15)
    good, noise = (report.variants["plain"].values[:, 2] for report in (three[0], three[2]))
    gaps = np.nan_to_num(abs(good - noise))
    assert [abs(row.values[0] - row.values[1]) for row in rows] == sorted(gaps)[::-1][:15]
    place = three[0].ids.index(rows[0].track_id)
    assert rows[0].values == (good[place], noise[place])
    assert rows[0].label == three[0].classes[three[0].class_of[place]]
    assert len(rows[0].answers[0]) == 5
    assert rows[0].track_id not in rows[0].answers[0]
    assert rows[0].answers[0] != rows[0].answers[1]
    ties = [(-abs(row.values[0] - row.values[1]), row.track_id) for row in rows]
    assert ties == sorted(ties)
    by_mrr = found.disagreements("good", "noise", measure="mrr", limit=3)
    assert len(by_mrr) == 3
    with pytest.raises(QueryError, match=r"'bad' is not compared\. Choose from good, noisy, noise"):
        found.disagreements("good", "bad")


def test_equal_reports_disagree_on_nothing() -> None:
    vectors, found = untidy()
    both = compare([evaluate(name, vectors, found) for name in "ab"], draws=10)
    assert both.disagreements("a", "b") == []


def test_the_comparison_is_json_and_lines(three: list[RetrievalReport]) -> None:
    found = compare(three, variant="not_same_work", draws=20)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(document["reports"]) == ["good", "noisy", "noise"]
    assert set(document["differences"][0]) == {
        "measure", "first", "second", "macro", "ci95", "micro", "micro_ci95", "p", "p_holm",
    }  # fmt: skip
    assert set(document["per_class"]) == set(NAMES)
    row = document["per_class"]["mrr"][0]
    assert {"label", "tracks", "works", "queries", "in_macro", "good", "noisy", "noise"} == set(row)
    assert row["good"] == three[0].per_class("not_same_work")[0]["mrr"]
    assert document["hubness"]["good"]["k"] == 5
    assert len(document["disagreements"]) == 3
    assert set(document["disagreements"][0]["queries"][0]) == {
        "track_id", "label", "values", "answers",
    }  # fmt: skip
    assert len(found.lines()) >= 1 + 7 * 3


def test_rescalings_are_compared_like_encoders() -> None:
    vectors, found = untidy()
    reports = [
        evaluate(name, vectors, found, scoring=name)
        for name in ("cosine", "csls", "mutual_proximity")
    ]
    assert len(compare(reports, draws=10).differences) == 21


def test_what_cannot_be_compared(three: list[RetrievalReport]) -> None:
    vectors, found = untidy()
    with pytest.raises(QueryError, match="Two or more reports of different names"):
        compare(three[:1])
    with pytest.raises(QueryError, match="Two or more reports of different names"):
        compare([three[0], three[0]])
    with pytest.raises(QueryError, match=r"no variant 'no_dups'\. Choose from plain"):
        compare(three, variant="no_dups")
    fewer = evaluate("fewer", vectors[1:], found.select(found.ids[1:]))
    deeper = evaluate("deeper", vectors, found, k=10)
    other = evaluate("other", vectors, labels(["x", "y"] * 75, ids=list(found.ids)))
    for report in (fewer, deeper, other):
        with pytest.raises(QueryError, match="were not asked the same"):
            compare([three[0], report])


def test_a_variant_without_a_query() -> None:
    named = labels(["x", "x", "y", "y"], works=["1", "1", "2", "2"])
    vectors = unit(np.random.default_rng(0).standard_normal((4, 3)))
    pair = [evaluate(name, vectors, named) for name in "ab"]
    assert compare(pair, draws=10).works == 2
    with pytest.raises(QueryError, match="not same work: nothing relevant is left"):
        compare(pair, variant="not_same_work")
