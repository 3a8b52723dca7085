"""Systems against people: measures by hand and against independent libraries, and the ceiling.

Bad input tried: one listener, an item with one answer, all equal, grades left out, a system that
answered with none of the candidates, scores that are all the same.
"""

from __future__ import annotations

import numpy as np
import pytest

from kindred.audit.analysis.agreement import agreement, auc, order_score, spearman
from kindred.audit.analysis.grades import ndcg, odd_of, system_grades, system_odd
from tests.audit.judged import Sitting, gathered, make_item, make_study


@pytest.mark.parametrize("seed", range(5))
def test_spearman_and_auc_agree_with_scipy_and_scikit_learn(seed: int) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    scores, close = rng.integers(0, 9, (2, 40)).astype(float)  # with ties
    assert spearman(scores, close) == pytest.approx(spearmanr(scores, close).statistic)
    similar = (close > 4).astype(float)
    assert auc(scores, similar) == pytest.approx(roc_auc_score(similar, scores))


def test_measures_say_nothing_where_there_is_nothing_to_say() -> None:
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(spearman(np.ones(1), np.ones(1)))
    assert np.isnan(auc(np.arange(3.0), np.ones(3)))
    assert np.isnan(auc(np.arange(2.0), np.array([np.nan, 1.0])))
    assert np.isnan(ndcg(np.zeros(3), np.zeros(3)))
    assert np.isnan(order_score("ab", np.array([1.0, 2.0]), np.zeros(2)))
    assert np.isnan(order_score("graded", np.array([1.0, np.nan]), np.ones(2)))


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_with_ties_is_that_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(seed)
    keys, target = rng.integers(0, 4, 7).astype(float), rng.integers(0, 3, 7) + 0.5
    ours = order_score("graded", keys, target)
    assert ours == pytest.approx(ndcg_score([target], [keys], k=5))


def test_ndcg_by_hand() -> None:
    # 1 / log2(2) + 0 + 2 / log2(4) = 2 over 2 + 1 / log2(3)
    assert ndcg(np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, 2.0])) == pytest.approx(
        2 / (2 + 1 / np.log2(3))
    )


def test_the_ceiling_is_one_against_the_mean_of_the_others() -> None:
    """Three listeners: -2, -1, 2. Others' means: .5, 0, -1.5: wrong, nothing to agree with, wrong.

    System x, whose candidate is the first, is wrong about .5 and right about -1.5.
    """
    study = make_study(make_item("i", {"x": (1, 0.9)}, {"y": (1, 0.8)}))
    given = [
        Sitting(study, name).gives("i", at) for name, at in zip("abc", (-2, -1, 2), strict=True)
    ]
    found = agreement(gathered(study, *given), draws=100, seed=0)
    assert found is not None
    assert (found.ceiling.value, found.ceiling.n) == (0.0, 2)
    assert [system.order.value for system in found.systems] == [0.5, 0.5]
    assert [system.gap.value for system in found.systems] == [0.5, 0.5]
    assert found.ceiling.low is None  # one query says nothing of others


def test_a_system_that_knows_scores_higher_than_one_that_guesses() -> None:
    rng = np.random.default_rng(0)
    items, truth = [], {}
    for at in range(30):
        truth[f"g{at}"] = rng.permutation([0, 0, 1, 2, 2]).tolist()
        knows, guesses = np.array(truth[f"g{at}"]) + 0.1, rng.random(5)
        items.append(
            make_item(
                f"g{at}",
                *({"x": (1, float(knows[c])), "y": (1, float(guesses[c]))} for c in range(5)),
                form="graded",
            )
        )
    study = make_study(*items, form="graded")
    sittings = [Sitting(study, name) for name in "abc"]
    for sitting in sittings:
        for name, grades in truth.items():
            sitting.gives(name, grades)
    found = agreement(gathered(study, *sittings), draws=200, seed=0)
    assert found is not None
    knows_, guesses_ = found.systems
    assert found.ceiling.value == knows_.order.value == 1.0
    assert (knows_.spearman.value, knows_.auc.value) == pytest.approx((1.0, 1.0))
    assert knows_.gap.value == 0.0
    assert guesses_.auc.high is not None
    assert guesses_.auc.low is not None
    assert guesses_.auc.low < 0.5 < guesses_.auc.high
    assert guesses_.gap.high is not None
    assert guesses_.gap.high < 0


def test_graded_means_and_ndcg_by_hand() -> None:
    """x placed two at 1 and 3, y one at 2; they were given 2, 1, 0 and 2, 1, 2."""
    item = make_item("g", {"x": (1, 0.9)}, {"x": (3, 0.4)}, {"y": (2, 0.6)}, form="graded")
    study = make_study(item, form="graded")
    one = Sitting(study, "one").gives("g", [2, 1, 0])
    two = Sitting(study, "two").gives("g", [2, 1, 2], order=(2, 1, 0))
    x, y = system_grades(gathered(study, one, two), draws=100, seed=0)
    assert (x.broad.value, x.broad.n, y.broad.value) == (1.5, 4, 1.0)
    assert x.fine.value == 15.0
    best = 2 + 1 / np.log2(3) + 1 / 2  # means 2, 1, 1
    assert x.ndcg.value == pytest.approx((2 + 1 / 2) / best)
    assert x.ndcg_condensed.value == pytest.approx((2 + 1 / np.log2(3)) / best)
    assert x.judged.value == pytest.approx(2 / 5)
    assert y.ndcg.value == pytest.approx(1 / np.log2(3) / best)
    assert y.ndcg_condensed.value == pytest.approx(1 / best)


def test_two_items_of_one_query_make_one_list() -> None:
    first = make_item("g0", {"x": (1, 0.9)}, query="q", form="graded")
    second = make_item("g1", {"x": (2, 0.5)}, query="q", form="graded")
    study = make_study(first, second, form="graded")
    one = Sitting(study, "one").gives("g0", [0]).gives("g1", [2])
    (x, _) = system_grades(gathered(study, one), draws=100, seed=0)
    assert x.ndcg.value == pytest.approx(1 / np.log2(3))
    assert (x.ndcg.n, x.judged.value) == (1, pytest.approx(0.4))


def test_what_nobody_graded_is_left_out() -> None:
    item = make_item("g", {"x": (1, 0.9)}, {"x": (2, 0.5)}, {"y": (1, 0.5)}, form="graded")
    study = make_study(item, form="graded")
    one = Sitting(study, "one").gives("g", [None, 2, None])
    x, y = system_grades(gathered(study, one), draws=100, seed=0)
    assert (x.broad.value, x.judged.value) == (2.0, pytest.approx(0.2))
    assert x.ndcg.value == pytest.approx(1 / np.log2(3))
    assert x.ndcg_condensed.value == 1.0
    assert (y.broad.value, y.ndcg.value, y.judged.value) == (None, None, None)
    nothing = gathered(study, Sitting(study, "two").gives("g", None))
    found = agreement(nothing, draws=100, seed=0)
    assert found is not None
    assert [found.ceiling.value, found.systems[0].auc.value] == [None, None]
    assert system_grades(nothing, draws=100, seed=0)[0].ndcg.value is None


def test_the_odd_one_is_the_one_named_alone_or_not_at_all() -> None:
    item = make_item("o", {"x": (1, 0.9), "y": (1, 0.8)}, {"x": (1, 0.9)}, {"y": (1, 0.8)})
    assert (odd_of(item, "x"), odd_of(item, "y"), odd_of(item, "z")) == (2, 1, None)
    single = make_item("o", {"x": (1, 0.9)}, {}, {})
    assert odd_of(single, "x") == 0


def test_odd_shares_by_hand() -> None:
    item = make_item(
        "o", {"x": (1, 0.9), "y": (1, 0.8)}, {"x": (1, 0.9)}, {"y": (1, 0.8)}, form="odd"
    )
    study = make_study(item, form="odd")
    sittings = [
        Sitting(study, "one").gives("o", 2),
        Sitting(study, "two").gives("o", 0, order=(2, 1, 0)),
        Sitting(study, "three").gives("o", 1),
        Sitting(study, "four").gives("o", None),
    ]
    answers = gathered(study, *sittings)
    x, y = system_odd(answers, draws=100, seed=0)
    assert (x.share.value, y.share.value, x.share.n) == (
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
        3,
    )
    assert agreement(answers, draws=100, seed=0) is None


def test_one_listener_has_no_ceiling() -> None:
    study = make_study(make_item("i", {"x": (1, 0.9)}, {"y": (1, 0.8)}))
    found = agreement(gathered(study, Sitting(study, "one").gives("i", 1)), draws=100, seed=0)
    assert found is not None
    assert found.ceiling.value is None
    assert found.systems[0].order.value is None
