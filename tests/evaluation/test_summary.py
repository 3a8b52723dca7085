"""What an evaluation found, in words: right numbers, and no claim that its interval cannot bear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kindred.evaluation.compare import compare
from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.retrieval import evaluate_retrieval
from kindred.evaluation.summary import comparison_lines, in_words, lines, several_in_words
from tests.evaluation.worlds import labels, unit

COMPOSERS = [f"c{number % 6}" for number in range(60)]


def evaluate(vectors: np.ndarray, name: str = "ours", **options: Any) -> RetrievalReport:
    found = labels(COMPOSERS, works=[f"w{number}" for number in range(60)])
    made = evaluate_retrieval(vectors, found.ids, found, name=name, **{"draws": 500, **options})
    assert made is not None
    return made


def knowing(share: float, seed: int = 0) -> np.ndarray:
    """Vectors that know so much of the composer."""
    own = np.eye(6)[[int(name[1:]) for name in COMPOSERS]]
    noise = np.random.default_rng(seed).standard_normal((60, 40)) / np.sqrt(40)
    return unit(np.hstack([share * own, noise]))


def against() -> np.ndarray:
    """Vectors that put tracks of one composer far from each other."""
    return unit(np.eye(10)[np.arange(60) // 6])


def test_the_numbers_are_the_reports() -> None:
    report = evaluate(knowing(1))
    item = report.variants["plain"].measures["precision@5"].macro
    assert item.value is not None
    assert item.ci95 is not None
    assert item.chance == pytest.approx(9 / 59)
    assert in_words(report.to_dict()) == (
        f"Of 5 answers, {5 * item.value:.2f} are by the same composer on average; by chance it"
        f" would be 0.76. The 95% interval, {5 * item.ci95[0]:.2f} to {5 * item.ci95[1]:.2f}, lies"
        " above chance."
    )


def test_no_more_is_claimed_than_the_interval_bears() -> None:
    assert "includes chance" in in_words(evaluate(knowing(0)).to_dict())
    assert "lies below chance" in in_words(evaluate(against()).to_dict())


def test_a_ceiling_is_said_where_it_is_below_one() -> None:
    assert "at best 9.00" in in_words(evaluate(knowing(1), k=20).to_dict())
    assert "at best" not in in_words(evaluate(knowing(1), k=9).to_dict())


def test_one_answer_another_label_no_interval_and_no_query() -> None:
    found = labels(["x", "x", "y"], works=["w", "w", "v"], name="key")
    made = evaluate_retrieval(unit(np.ones((3, 2))), found.ids, found, k=1, draws=10)
    assert made is not None
    document = made.to_dict()
    assert in_words(document) == (
        "Of one answer, 1.00 are of the same key on average; by chance it would be 0.50."
    )
    assert "Nothing relevant is left" in in_words(document, "not_same_work")
    assert lines(document)[1] == in_words(document)
    assert any(line.startswith("controlled: 0 queries") for line in lines(document))


def test_lines_have_every_measure_of_both_variants_and_the_warnings() -> None:
    document = evaluate(knowing(1)).to_dict()
    text = lines(document)
    assert text[0] == "ours: 60 tracks, 6 labels (composer), the first 5 answers"
    for name in ("precision@5", "hit_rate@5", "ndcg@5", "recall@5", "mrr", "r_precision", "map"):
        assert sum(line.strip().startswith(name) for line in text) == 2
    assert text[-len(document["warnings"]) :] == document["warnings"]


def test_several_systems_are_told_apart_only_where_the_test_says_so() -> None:
    good, alike, poor = (
        evaluate(knowing(share, seed), name)
        for share, seed, name in ((1.5, 0, "good"), (1.5, 1, "alike"), (0, 2, "poor"))
    )
    document = compare([poor, good, alike], draws=500).to_dict()
    said, told = several_in_words([one.to_dict() for one in (poor, good, alike)], document)
    value = good.variants["plain"].measures["precision@5"].macro.value
    assert value is not None
    assert f"{5 * value:.2f} with good" in said
    assert told.endswith("good over poor; alike over poor.")
    assert len(comparison_lines(document)) == 1 + 7 * 3
    same = compare([good, alike], draws=500).to_dict()
    assert (
        "no two of them are told apart"
        in several_in_words([good.to_dict(), alike.to_dict()], same)[1]
    )


def test_several_systems_without_a_comparison() -> None:
    document = evaluate(knowing(1)).to_dict()
    assert several_in_words([document, document], None) == [in_words(document)]
