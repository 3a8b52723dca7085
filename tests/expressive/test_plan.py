"""Plans: splits share nothing, levels do not go together, and one thing is moved at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, KEYS, LEVELS, UNSEEN_PROGRAMS
from kindred.expressive.clips import SPLITS, Clip
from kindred.expressive.plan import (
    SIZES,
    correlation_bound,
    correlations,
    make_plan,
    split_works,
)
from kindred.expressive.works import works


@pytest.fixture(scope="module")
def full() -> tuple[Clip, ...]:
    return make_plan("full")


def factorial(clips: tuple[Clip, ...], split: str = "") -> list[Clip]:
    return [clip for clip in clips if clip.set == "factorial" and split in {"", clip.split}]


def changed(clip: Clip, base: Clip) -> set[str]:
    one, other = asdict(clip.recipe), asdict(base.recipe)
    return {name for name in one if one[name] != other[name]}


def test_the_full_plan_has_the_size_it_was_designed_for(full: tuple[Clip, ...]) -> None:
    assert len(full) <= 6000
    per_work = Counter(clip.work for clip in factorial(full))
    assert set(per_work.values()) == {24}
    assert set(per_work) == {work.work for work in works()}
    assert Counter(clip.varies == "" for clip in full if clip.set == "sweep")[True] == 40
    assert sum(clip.set == "nuisance" for clip in full) == 220


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_splits_share_no_group_and_no_held_out_composer(seed: int) -> None:
    splits = split_works(seed)
    assert tuple(splits) == SPLITS
    groups = [{work.group for work in found} for found in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    held_out = {work.composer for work in splits["composers"]}
    learned = [work for split in SPLITS[:3] for work in splits[split]]
    assert not held_out & {work.composer for work in learned}
    share = {split: len(splits[split]) / len(learned) for split in SPLITS[:3]}
    assert share["train"] == pytest.approx(0.6, abs=0.06)
    assert share["validation"] == pytest.approx(0.2, abs=0.06)
    assert share["test"] == pytest.approx(0.2, abs=0.06)


def test_large_composers_are_in_every_split() -> None:
    splits = split_works(0)
    for composer in ("Johann Sebastian Bach", "Giovanni Pierluigi da Palestrina"):
        assert all(any(work.composer == composer for work in splits[split]) for split in SPLITS[:3])


def test_aspects_do_not_go_together(full: tuple[Clip, ...]) -> None:
    assert np.abs(correlations(np.array([clip.levels for clip in factorial(full)]))).max() < 0.1
    for split in SPLITS:
        levels = np.array([clip.levels for clip in factorial(full, split)])
        assert np.abs(correlations(levels)).max() < 0.1
    for size in ("small", "tiny"):
        for split in SPLITS:
            levels = np.array([clip.levels for clip in factorial(make_plan(size), split)])
            bound = correlation_bound(len(levels) // 2)
            assert np.abs(correlations(levels)).max() < bound


def test_correlations_are_those_of_each_pair() -> None:
    one = np.array([[0, 0, 4], [1, 1, 3], [2, 2, 2], [3, 3, 1]])
    np.testing.assert_allclose(correlations(one), [1, -1, -1])
    assert correlation_bound(10_000) == 0.1
    assert correlation_bound(25) == pytest.approx(0.3)


def test_each_work_is_played_at_every_level(full: tuple[Clip, ...]) -> None:
    for work in works():
        found = np.array([clip.levels for clip in factorial(full) if clip.work == work.work])
        for column in found.T:
            counts = np.bincount(column, minlength=LEVELS)
            assert counts.min() >= 4
            assert counts.max() <= 6


def test_what_must_not_matter_is_drawn_apart_from_the_levels(full: tuple[Clip, ...]) -> None:
    clips = factorial(full)
    levels = np.array([clip.levels for clip in clips], float)
    drawn = np.array(
        [
            [
                clip.recipe.gain_db,
                clip.recipe.offset_ms,
                clip.recipe.tilt_db,
                clip.recipe.phase,
                clip.recipe.transpose,
                clip.recipe.texture,
            ]
            for clip in clips
        ]
    )
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    reach = np.array([[-6, 0, -1.5, 0, -4, 0.5], [6, 250, 1.5, 1, 4, 1]])
    assert (np.abs([low, high] - reach) < 0.01 * (reach[1] - reach[0])).all()
    between = np.corrcoef(np.hstack([levels, drawn]), rowvar=False)[: len(KEYS), len(KEYS) :]
    assert np.abs(between).max() < 0.1
    assert np.mean(drawn[:, 5] == 1) > 0.6


def test_excerpts_of_a_performance_are_played_alike(full: tuple[Clip, ...]) -> None:
    performances: dict[str, list[Clip]] = {}
    for clip in factorial(full):
        performances.setdefault(clip.performance, []).append(clip)
    assert all(len(clips) == 2 for clips in performances.values())
    for one, other in performances.values():
        assert {"excerpt"} <= changed(one, other) <= {"excerpt", "phase", "offset_ms", "tilt_db"}


def test_a_sweep_moves_one_thing(full: tuple[Clip, ...]) -> None:
    by_id = {clip.clip_id: clip for clip in full}
    sweeps = [clip for clip in full if clip.set == "sweep"]
    bases = [clip for clip in sweeps if not clip.base]
    assert Counter(clip.split for clip in bases) == {"validation": 20, "test": 20}
    for base in bases:
        moved = [clip for clip in sweeps if clip.base == base.clip_id]
        assert Counter(clip.varies for clip in moved) == {
            **dict.fromkeys(KEYS, LEVELS - 1),
            "transpose": 4,
            "texture": 2,
        }
    for clip in (clip for clip in sweeps if clip.base):
        base = by_id[clip.base]
        if clip.varies in KEYS:
            assert changed(clip, base) == {"levels"}
            differ = [one != other for one, other in zip(clip.levels, base.levels, strict=True)]
            assert differ == [key == clip.varies for key in KEYS]
        else:
            assert changed(clip, base) == {clip.varies}
        assert (clip.split, clip.work) == (base.split, base.work)


def test_a_nuisance_changes_nothing_else(full: tuple[Clip, ...]) -> None:
    by_id = {clip.clip_id: clip for clip in full}
    found = [clip for clip in full if clip.set == "nuisance"]
    assert Counter(clip.split for clip in found) == {"train": 100, "validation": 60, "test": 60}
    for clip in found:
        assert by_id[clip.base].set == "factorial"
        # Two drawn values may be the same when rounded.
        differ = changed(clip, by_id[clip.base])
        assert differ <= {"gain_db", "offset_ms", "tilt_db"}
        assert len(differ) >= 2


def test_hard_tests_are_the_test_works_on_what_training_never_heard(
    full: tuple[Clip, ...],
) -> None:
    tested = len(factorial(full, "test"))
    for name in ("soundfont", "programs"):
        found = [clip for clip in full if clip.set == name]
        assert len(found) == tested
        assert {clip.split for clip in found} == {"test"}
    heard = {clip.recipe.soundfont for clip in full if clip.set != "soundfont"}
    assert heard == {"first"}
    assert {clip.recipe.soundfont for clip in full if clip.set == "soundfont"} == {"second"}
    unseen = {clip.recipe.programs for clip in full if clip.set == "programs"}
    assert unseen == {UNSEEN_PROGRAMS}
    assert not set(UNSEEN_PROGRAMS) & set(ASPECTS[-1].steps)


def test_a_clip_is_its_recipe_and_comes_once(full: tuple[Clip, ...]) -> None:
    assert all(clip.clip_id == clip.recipe.digest for clip in full)
    assert all(clip.levels == clip.recipe.levels for clip in full)
    assert len({clip.clip_id for clip in full}) == len(full)


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_is_a_function_of_size_and_seed(size: str) -> None:
    assert make_plan(size) == make_plan(size)
    others = {clip.clip_id for clip in make_plan(size, seed=1)}
    assert not others & {clip.clip_id for clip in make_plan(size)}


def test_smaller_plans_have_every_set_and_split() -> None:
    for size, most, count in (("small", 700, 30), ("tiny", 200, 10)):
        clips = make_plan(size)
        assert len(clips) <= most
        assert len({clip.work for clip in clips}) == count
        assert {clip.split for clip in clips} == set(SPLITS)
        assert {clip.set for clip in clips} == {
            "factorial",
            "sweep",
            "nuisance",
            "soundfont",
            "programs",
        }


def test_sizes_that_are_unknown_are_refused() -> None:
    with pytest.raises(ExpressiveError, match="take one of full, small, tiny"):
        make_plan("huge")
