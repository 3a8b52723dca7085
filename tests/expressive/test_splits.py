"""Whatever two splits could share is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kindred.errors import ExpressiveError
from kindred.expressive.clips import Clip
from kindred.expressive.splits import check_disjoint
from tests.expressive.labelled import made, plan

LEVELS = (1, 2, 3, 4, 0)


def another(work: int, set_: str = "factorial") -> Clip:
    """A clip that the plan does not have."""
    return made(set_, work, "new", LEVELS, seed=99)


def test_clips_that_share_nothing_pass() -> None:
    check_disjoint(plan())
    check_disjoint([])


def test_people_may_play_held_out_composers() -> None:
    played = replace(another(9, "human"), composer="late-1")
    check_disjoint([*plan(), played])


# work 0 is in train, 9 in test, 12 in composers
@pytest.mark.parametrize(
    ("leak", "named"),
    [
        (lambda: replace(another(9), group="group-0"), "group group-0 is in train and in test"),
        (lambda: replace(another(9), work="work-0"), "work work-0 is in train and in test"),
        (
            lambda: replace(another(9), recipe=replace(another(9).recipe, source="score-0")),
            "score score-0 is in train and in test",
        ),
        (
            lambda: replace(another(9), performance="factorial-0-1"),
            "performance factorial-0-1 is in train and in test",
        ),
        (
            lambda: replace(another(9, "human"), performance="factorial-0-1"),
            "performance factorial-0-1 is in train and in test",
        ),
        (
            lambda: replace(another(0), composer="late-0"),
            "composer late-0 is in composers and in train",
        ),
        (
            lambda: replace(another(9), composer="late-0"),
            "composer late-0 is in composers and in test",
        ),
        (lambda: replace(another(0), split="test"), "score score-0 is in train and in test"),
        (
            lambda: replace(another(0), group="new"),
            "work work-0 is of the group group-0 and of new",
        ),
        (
            lambda: replace(another(1), performance="factorial-0-1"),
            "performance factorial-0-1 is of the work work-0 and of work-1",
        ),
        (lambda: replace(another(0), split="dev"), "'dev'; sets are"),
        (lambda: replace(another(0), set="extra"), "'extra'"),
        (lambda: replace(another(0), clip_id=plan()[0].clip_id), "is there twice"),
        (lambda: plan()[0], "is there twice"),
        (lambda: replace(another(0), base="f" * 16), "varies ffffffffffffffff, which is not there"),
        (
            lambda: replace(another(0, "nuisance"), base=plan()[-1].clip_id),
            "of the work work-0, its base",
        ),
    ],
)
def test_a_planted_leak_is_named(leak: Callable[[], Clip], named: str) -> None:
    with pytest.raises(ExpressiveError) as caught:
        check_disjoint([*plan(), leak()])
    assert named in str(caught.value)


def test_one_recipe_in_two_splits_is_named() -> None:
    clips = plan()
    copy = replace(another(9), recipe=clips[0].recipe)
    with pytest.raises(ExpressiveError, match=f"recipe {clips[0].clip_id} is in train and in test"):
        check_disjoint([*clips, copy])


@pytest.mark.parametrize("set_", ["sweep", "nuisance"])
def test_what_varies_a_clip_is_in_its_split(set_: str) -> None:
    base = made("factorial", 0, "base", LEVELS)
    varied = replace(
        made(set_, 0, "varied", LEVELS, gain_db=1.0, base=base.clip_id), split="validation"
    )
    with pytest.raises(ExpressiveError, match=r"of the split validation, its base .* of train"):
        check_disjoint([base, varied])
