"""Measures of many answers: by hand, against four independent libraries where nothing is tied, and
by the documented rule where something is."""

from __future__ import annotations

import warnings
from itertools import permutations
from math import log2

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from ir_measures import AP, RR, P, R, Rprec, Success, nDCG
from sklearn.metrics import average_precision_score, ndcg_score, top_k_accuracy_score

from kindred.evaluation import measures, metrics, ranks

K = 5
NAMES = measures.measure_names(K)


def measured(scores: np.ndarray, relevant: np.ndarray, *, k: int = K) -> np.ndarray:
    """Measures [b, 7] of runs of scores [b, n] with yes or no [b, n]; nothing is left out."""
    order = ranks.order_by_score(np.asarray(scores, np.float64))
    places = ranks.positions(order, scores.shape[1])
    found = ranks.rank_relevant(order, places, np.flatnonzero(relevant), [], k=k)
    return measures.measure(found, k=k)


def random_runs(count: int, n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Runs without ties, also in float32, and relevance with one to all tracks relevant."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n) / n, (count, 1)), axis=1)
    relevant = rng.random((count, n)) < rng.random((count, 1))
    relevant[np.arange(count), rng.integers(n, size=count)] = True
    return scores, relevant


def as_dicts(scores: np.ndarray, relevant: np.ndarray) -> tuple[dict, dict]:
    """The same as TREC has them: {query: {track: relevance}}, {query: {track: score}}."""
    runs = {
        f"q{q:04d}": {f"d{d:03d}": float(score) for d, score in enumerate(row)}
        for q, row in enumerate(scores)
    }
    truth = {
        f"q{q:04d}": {f"d{d:03d}": int(yes) for d, yes in enumerate(row)}
        for q, row in enumerate(relevant)
    }
    return truth, runs


def test_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.3, 0.8, 0.2, 0.7]])
    relevant = np.array([[True, False, False, True, False, True]])  # ranks 6, 2, 3
    got = dict(zip(NAMES, measured(scores, relevant)[0], strict=True))
    ideal = 1 + 1 / log2(3) + 1 / 2
    assert got == pytest.approx(
        {
            "precision@5": 2 / 5,
            "hit_rate@5": 1,
            "ndcg@5": (1 / log2(3) + 1 / 2) / ideal,
            "recall@5": 2 / 3,
            "mrr": 1 / 2,
            "r_precision": 2 / 3,
            "map": (1 / 2 + 2 / 3 + 3 / 6) / 3,
        },
        abs=1e-15,
    )


def test_precision_divides_by_k_even_where_the_gallery_is_smaller() -> None:
    got = measured(np.array([[0.5, 0.4]]), np.array([[True, True]]), k=5)[0]
    assert dict(zip(NAMES, got, strict=True))["precision@5"] == 2 / 5
    assert measures.ceiling(np.array([2]), k=5)[0].tolist() == [2 / 5, 1, 1, 1, 1, 1, 1]
    assert measures.ceiling(np.array([8]), k=5)[0].tolist() == [1, 1, 1, 5 / 8, 1, 1, 1]


def test_nothing_relevant_is_not_a_number() -> None:
    got = measured(np.zeros((2, 4)), np.array([[False] * 4, [True] * 4]))
    assert np.isnan(got[0]).all()
    assert not np.isnan(got[1]).any()
    assert np.isnan(measures.ceiling(np.array([0]), k=5)).all()
    assert np.isnan(measures.chance(np.array([0]), np.array([3]), k=5)).all()


@pytest.mark.slow
def test_agrees_with_ranx_on_a_thousand_runs_without_ties() -> None:
    import ranx

    scores, relevant = random_runs(1_000, 40)
    truth, runs = as_dicts(scores, relevant)
    truth = {query: {d: 1 for d, yes in row.items() if yes} for query, row in truth.items()}
    theirs = ["precision@5", "hit_rate@5", "ndcg@5", "recall@5", "mrr", "r-precision", "map"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, of unsafe casts, while it compiles ranx
        found = ranx.evaluate(ranx.Qrels(truth), ranx.Run(runs), theirs, return_mean=False)
    ours = measured(scores, relevant)
    for column, name in enumerate(theirs):
        np.testing.assert_allclose(ours[:, column], found[name], rtol=0, atol=1e-9, err_msg=name)


def test_agrees_with_ir_measures_on_a_thousand_runs_without_ties() -> None:
    scores, relevant = random_runs(1_000, 40, seed=1)
    truth, runs = as_dicts(scores, relevant)
    theirs = [P @ 5, Success @ 5, nDCG @ 5, R @ 5, RR, Rprec, AP]
    found = np.full((1_000, 7), np.nan)
    for item in ir_measures.iter_calc(theirs, truth, runs):
        found[int(item.query_id[1:]), theirs.index(item.measure)] = item.value
    np.testing.assert_allclose(measured(scores, relevant), found, rtol=0, atol=1e-9)


def test_agrees_with_trec_eval_on_a_thousand_runs_without_ties() -> None:
    scores, relevant = random_runs(1_000, 40, seed=2)
    truth, runs = as_dicts(scores, relevant)
    names = ["P_5", "success_5", "ndcg_cut_5", "recall_5", "recip_rank", "Rprec", "map"]
    asked = {"P.5", "success.5", "ndcg_cut.5", "recall.5", "recip_rank", "Rprec", "map"}
    found = pytrec_eval.RelevanceEvaluator(truth, asked).evaluate(runs)
    theirs = [[found[query][name] for name in names] for query in sorted(runs)]
    np.testing.assert_allclose(measured(scores, relevant), theirs, rtol=0, atol=1e-9)


def test_agrees_with_scikit_learn_on_a_thousand_runs_without_ties() -> None:
    scores, relevant = random_runs(1_000, 40, seed=3)
    ours = measured(scores, relevant)
    for row, (run, truth) in enumerate(zip(scores, relevant, strict=True)):
        column = dict(zip(NAMES, ours[row], strict=True))
        ndcg = ndcg_score(truth[None].astype(int), run[None], k=5)
        assert column["ndcg@5"] == pytest.approx(ndcg, abs=1e-9)
        assert column["map"] == pytest.approx(average_precision_score(truth, run), abs=1e-9)
    # With one relevant track, top-k accuracy is the hit rate, and the recall.
    rng = np.random.default_rng(4)
    target = rng.integers(40, size=1_000)
    single = np.zeros_like(relevant)
    single[np.arange(1_000), target] = True
    mean = measured(scores, single).mean(axis=0)
    accuracy = top_k_accuracy_score(target, scores, k=5, labels=np.arange(40))
    assert mean[NAMES.index("hit_rate@5")] == mean[NAMES.index("recall@5")]
    assert mean[NAMES.index("hit_rate@5")] == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 5, 20])
def test_ties_order_by_id_whoever_is_relevant(levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(levels, size=(300, 40)) / 7
    _, relevant = random_runs(300, 40, seed=levels)
    ours = measured(scores, relevant)
    for row, (run, truth) in enumerate(zip(scores, relevant, strict=True)):
        gains = truth[sorted(range(40), key=lambda column: (-run[column], column))]
        column = dict(zip(NAMES, ours[row], strict=True))
        assert column["precision@5"] == pytest.approx(metrics.precision_at_k(gains, k=5))
        assert column["hit_rate@5"] == pytest.approx(metrics.hit_at_k(gains, k=5))
        assert column["ndcg@5"] == pytest.approx(metrics.ndcg_at_k(gains, k=5))
        assert column["mrr"] == pytest.approx(metrics.reciprocal_rank(gains))
        found = np.cumsum(gains) / np.arange(1, 41)
        assert column["map"] == pytest.approx(found[gains].mean())


def test_libraries_give_a_tied_run_other_values_each() -> None:
    """All tied, the relevant one last by id. Ours is the order by id; theirs are not that."""
    scores, relevant = np.ones((1, 20)), np.zeros((1, 20), bool)
    relevant[0, -1] = True
    ours = dict(zip(NAMES, measured(scores, relevant)[0], strict=True))
    assert (ours["ndcg@5"], ours["mrr"]) == (0, 1 / 20)
    truth, runs = as_dicts(scores, relevant)
    evaluator = pytrec_eval.RelevanceEvaluator(truth, {"ndcg_cut.5", "recip_rank"})
    trec = evaluator.evaluate(runs)["q0000"]
    assert (trec["ndcg_cut_5"], trec["recip_rank"]) == (1, 1)
    assert 0 < ndcg_score(relevant.astype(int), scores, k=5) < 1


def test_every_digit_of_a_score_counts() -> None:
    """trec_eval casts scores to float32, where these two are one."""
    scores = np.array([[0.1, np.nextafter(0.1, 1)]])
    ours = measured(scores, np.array([[False, True]]))[0]
    assert ours[NAMES.index("mrr")] == 1


@pytest.mark.parametrize("relevant", [1, 2, 4, 6])
@pytest.mark.parametrize("k", [1, 3, 6, 8])
def test_chance_is_the_mean_over_every_order(relevant: int, k: int) -> None:
    truth = np.array(sorted(set(permutations([1] * relevant + [0] * (6 - relevant)))), bool)
    scores = np.tile(-np.arange(6.0), (len(truth), 1))
    mean = measured(scores, truth, k=k).mean(axis=0)
    chance = measures.chance(np.array([relevant]), np.array([6]), k=k)[0]
    np.testing.assert_allclose(chance, mean, rtol=0, atol=1e-12)


def test_chance_of_average_precision_by_hand() -> None:
    assert metrics.chance_average_precision(1, 1) == 1
    assert metrics.chance_average_precision(2, 1) == 3 / 4
    assert metrics.chance_average_precision(50, 50) == pytest.approx(1)
    assert np.isnan(metrics.chance_average_precision(3, 0))


def test_recall_has_its_chance_beside_it() -> None:
    """A recall of 1 at 100 says nothing of 80 tracks."""
    chance = measures.chance(np.array([4, 4]), np.array([80, 100_000]), k=100)
    assert chance[:, NAMES.index("recall@5")].tolist() == [1, 1e-3]
