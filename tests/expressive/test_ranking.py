"""Rankings agree with hand-made cases, with other libraries, and with random orders."""

from __future__ import annotations

from dataclasses import replace

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, nDCG

from kindred.errors import ExpressiveError
from kindred.evaluation.metrics import ndcg_at_k
from kindred.expressive.aspects import ASPECTS, KEYS, TOP_GRADE
from kindred.expressive.clips import Clip
from kindred.expressive.ranking import (
    MACRO,
    MEASURES,
    VIEWS,
    Ranking,
    compare,
    grade_table,
    intervals,
    judge,
    rank,
)
from tests.expressive.judging import Reader, clip, features_of


def drawn_clips(works: int = 6, takes: int = 12, seed: int = 0) -> list[Clip]:
    """Performances of two clips, of drawn levels, in drawn order."""
    rng = np.random.default_rng(seed)
    clips = []
    for work in range(works):
        for take in range(0, takes, 2):
            levels = tuple(int(level) for level in rng.integers(5, size=5))
            clips += [clip(work, take, levels), clip(work, take + 1, levels)]
    return [clips[row] for row in rng.permutation(len(clips))]


def drawn_scores(clips: list[Clip], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((len(ASPECTS), len(clips), len(clips)), dtype=np.float32)


def gains_of(query: Clip, other: Clip, aspect: int) -> int | None:
    """The definition, said once more: a grade, or None for what is not in the gallery."""
    one, two = query.levels[aspect], other.levels[aspect]
    if query.performance == other.performance or min(one, two) < 0:
        return None
    if query.work == other.work:
        return None if one == two else 0
    return ASPECTS[aspect].grade(one, two)


def test_agrees_with_ir_measures_and_with_the_measures_of_one_list() -> None:
    clips = drawn_clips()
    scores = drawn_scores(clips)
    found = rank(scores, clips, name="drawn")
    for aspect in range(len(ASPECTS)):
        gains = {
            query.clip_id: {
                other.clip_id: (gain, float(scores[aspect, row, column]))
                for column, other in enumerate(clips)
                if (gain := gains_of(query, other, aspect)) is not None
            }
            for row, query in enumerate(clips)
        }
        truth = {q: {c: g for c, (g, _) in of.items()} for q, of in gains.items()}
        runs = {q: {c: s for c, (_, s) in of.items()} for q, of in gains.items()}
        theirs = {
            (value.query_id, str(value.measure)): value.value
            for value in ir_measures.iter_calc([nDCG @ 10, RR(rel=TOP_GRADE)], truth, runs)
        }
        for row, query in enumerate(clips):
            ordered = sorted(gains[query.clip_id].values(), key=lambda of: -of[1])
            in_order = [gain for gain, _ in ordered]
            ndcg, recall, mrr = found.values[0, :, aspect, row]
            assert ndcg == pytest.approx(theirs[query.clip_id, "nDCG@10"], abs=1e-9)
            assert ndcg == pytest.approx(ndcg_at_k(in_order, k=10), abs=1e-12)
            top = in_order.count(TOP_GRADE)
            if top:
                assert mrr == pytest.approx(theirs[query.clip_id, f"RR(rel={TOP_GRADE})"])
                hits = in_order[:10].count(TOP_GRADE)
                assert recall == pytest.approx(hits / min(10, top))
            else:
                assert np.isnan([recall, mrr]).all()


def test_a_case_by_hand() -> None:
    """Query at tempo 2; another work at 2, 3 and 0; a lure; its own work at 2 is left out."""
    query, twin, lure = (
        clip(0, take, (level, 0, 0, 0, 0)) for take, level in ((0, 2), (2, 2), (4, 4))
    )
    same, near, far = (
        clip(1, take, (level, 0, 0, 0, 0)) for take, level in ((0, 2), (2, 3), (4, 0))
    )
    clips = [query, twin, lure, same, near, far]
    scores = np.zeros((5, 6, 6), np.float32)
    scores[0, 0] = [9, 8, 4, 3, 5, 1]  # itself, twin, lure, same, near, far: near, lure, same, far
    found = rank(scores, clips, name="by hand")
    best = 3 + 2 / np.log2(3) + 1 / np.log2(4)
    ndcg = (2 + 0 / np.log2(3) + 3 / np.log2(4) + 1 / np.log2(5)) / best
    assert found.values[0, :, 0, 0] == pytest.approx([ndcg, 1, 1 / 3])
    without = (2 + 3 / np.log2(3) + 1 / np.log2(4)) / best
    assert found.values[1, :, 0, 0] == pytest.approx([without, 1, 1 / 2])
    assert found.works[0] == "work 0"


def test_a_track_scores_as_its_nearest_clip_and_is_of_one_level() -> None:
    query = clip(0, 0, (2, 0, 0, 0, 0))
    good = [clip(1, take, (2, 0, 0, 0, 0)) for take in (0, 1)]
    bad = [clip(1, take, (4, 0, 0, 0, 0)) for take in (2, 3)]
    near = [clip(2, take, (1, 0, 0, 0, 0)) for take in (0, 1)]
    clips = [query, *good, *bad, *near]
    scores = np.zeros((5, 7, 7), np.float32)
    scores[0, 0, 1:] = [0.9, 0.1, 0.5, 0.5, 0.6, 0.6]
    found = rank(scores, clips, name="tracks")
    assert found.values[VIEWS.index("tracks"), :, 0, 0] == pytest.approx(1)
    # By clips the good one's other half comes last.
    assert found.values[VIEWS.index("clips"), 0, 0, 0] < 1
    uneven = [query, replace(good[0], levels=(3, 0, 0, 0, 0)), *clips[2:]]
    assert np.isnan(rank(scores, uneven, name="uneven").values[2, 2, 0, 0])  # no track at 2 is left


def test_levels_that_are_not_known_are_neither_asked_nor_found() -> None:
    clips = drawn_clips()
    scores = drawn_scores(clips)
    blank = [
        replace(one, levels=(-1, *one.levels[1:])) if i < 30 else one for i, one in enumerate(clips)
    ]
    found = rank(scores, blank, name="blank")
    assert np.isnan(found.values[..., 0, :30]).all()
    rest = rank(scores[:, 30:, 30:], clips[30:], name="rest")
    clip_views = found.values[:2, :, 0, 30:]  # a track half known is not known
    assert np.allclose(clip_views, rest.values[:2, :, 0], equal_nan=True)
    none = [replace(one, levels=(-1,) * 5) for one in clips]
    table = intervals([rank(scores, none, name="none")], draws=50)
    assert np.isnan(table["clips"]["ndcg"][MACRO].mean)


def test_the_order_of_clips_changes_nothing_and_ties_order_by_id() -> None:
    clips = drawn_clips()
    scores = np.round(drawn_scores(clips), 1)  # many ties
    found = rank(scores, clips, name="a")
    order = np.random.default_rng(1).permutation(len(clips))
    again = rank(scores[:, order][:, :, order], [clips[row] for row in order], name="b")
    assert np.array_equal(found.values[..., order], again.values, equal_nan=True)
    assert np.array_equal(found.chance[..., order], again.chance, equal_nan=True)
    level = rank(np.zeros_like(scores), clips, name="level")
    by_id = np.argsort(np.argsort([one.clip_id for one in clips])).astype(np.float32)
    by_id = rank(np.broadcast_to(-by_id, scores.shape), clips, name="by id")
    assert np.array_equal(level.values[:2], by_id.values[:2], equal_nan=True)


def test_chance_is_what_random_orders_score() -> None:
    clips = drawn_clips()
    runs = [rank(drawn_scores(clips, seed), clips, name=str(seed)) for seed in range(120)]
    mean = np.mean([one.values for one in runs], axis=0)
    tries = np.nanmean(mean, axis=-1), np.nanmean(runs[0].chance, axis=-1)
    # Tracks score by the better of two clips, which in a random order is random too.
    assert np.allclose(*tries, atol=0.012)


def test_grades_are_those_of_the_aspects() -> None:
    levels = np.arange(-1, 5)
    for aspect, known in enumerate(ASPECTS):
        table = grade_table(aspect, levels, levels)
        for one in range(6):
            for other in range(6):
                expected = known.grade(one - 1, other - 1) if min(one, other) > 0 else -1
                assert table[one, other] == expected


def test_judging_represents_batch_by_batch() -> None:
    clips = drawn_clips(works=24)
    features = features_of(clips).astype(np.float16)
    found = judge(Reader(), clips, features)
    assert len(clips) > 256
    assert found.scorer == "perfect"
    assert found.aspects(view="clips, other works") == pytest.approx(1)
    assert found.macro() == pytest.approx(np.mean(found.aspects()))
    assert found.macro("recall") > 0.95 > found.aspects("recall", chance=True).max()


def test_bad_scores_are_refused() -> None:
    clips = drawn_clips()
    scores = drawn_scores(clips)
    with pytest.raises(ExpressiveError, match="wrong: scores of shape"):
        rank(scores[:4], clips, name="wrong")
    with pytest.raises(ExpressiveError, match="scores of shape"):
        rank(np.zeros((5, 0, 0), np.float32), [], name="none")
    scores[0, 3, 4] = np.nan
    with pytest.raises(ExpressiveError, match="broken: a score is not a number"):
        rank(scores, clips, name="broken")
    with pytest.raises(ExpressiveError, match="72 clips need as many features, got 71"):
        judge(Reader(), clips, features_of(clips)[1:])


def flat(value: float, works: tuple[str, ...]) -> Ranking:
    values = np.full((len(VIEWS), len(MEASURES), len(ASPECTS), len(works)), value)
    return Ranking("flat", 10, works, values, values / 2)


def test_means_are_over_works_first() -> None:
    values = np.zeros((len(VIEWS), len(MEASURES), len(ASPECTS), 4))
    values[..., 3] = 1  # the only query of work b
    found = intervals([Ranking("one", 10, ("a", "a", "a", "b"), values, values)], draws=2000)
    estimate = found["clips"]["ndcg"][MACRO]
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0, 1)
    assert np.isnan(estimate.spread)
    assert set(found) == set(VIEWS)
    assert set(found["tracks"]["mrr"]) == {*KEYS, MACRO}


def test_seeds_are_averaged_and_their_spread_stands_beside() -> None:
    works = ("a", "b", "c")
    found = intervals([flat(0.4, works), flat(0.6, works)], draws=100)["clips"]["ndcg"]["tempo"]
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.spread == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert found.chance == pytest.approx(0.2)


def test_differences_are_paired_by_work() -> None:
    """One is always a little better, though works differ much more than that."""
    clips = drawn_clips()
    hard = rank(drawn_scores(clips), clips, name="hard")
    easy = replace(hard, values=hard.values + 0.01)
    found = compare([easy], [hard], draws=300)["clips"]["ndcg"][MACRO]
    assert (found.mean, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    alone = intervals([hard], draws=300)["clips"]["ndcg"][MACRO]
    assert alone.high - alone.low > 0.02
    again = intervals([hard], draws=300)["clips"]["ndcg"][MACRO]
    assert (alone.low, alone.high) == (again.low, again.high)
    with pytest.raises(ExpressiveError, match="same queries"):
        compare([flat(1, ("a",))], [flat(1, ("b",))])
