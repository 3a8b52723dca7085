"""Reliability of listeners: catches, repeats, haste, exclusion in words, Krippendorff's alpha.

Bad input tried: a listener without catches, one who cannot tell anything, repeats without their
original, repeats that are all one answer, one listener, one item, all answers the same.
"""

from __future__ import annotations

import numpy as np
import pytest

from kindred.audit.analysis.kept import Kept
from kindred.audit.analysis.reliability import Listener, alpha, listeners
from kindred.audit.judgement import counting
from kindred.audit.study import Study
from tests.audit.judged import Sitting, gathered, make_item, make_study

AB = [make_item(f"i{at}", {"x": (1, 0.9)}, {"y": (1, 0.8)}) for at in range(12)]
CATCH = [make_item(f"c{at}", {}, {}, kind="catch", expected=at % 2) for at in range(6)]


def only(study: Study, sitting: Sitting) -> Listener:
    (found,) = listeners(study, counting(sitting.judgements))
    return found


def with_catches(study: Study, right: int) -> Sitting:
    sitting = Sitting(study, "one")
    for at in range(6):
        towards = 1 if at % 2 else -1
        sitting.gives(f"c{at}", towards if at < right else -towards, kind="catch")
    return sitting


@pytest.mark.parametrize(("right", "kept"), [(6, True), (5, True), (4, False)])
def test_five_of_six_catches_are_five_sixths(right: int, kept: bool) -> None:
    study = make_study(*CATCH)
    found = only(study, with_catches(study, right))
    assert (found.catches_right, found.catches, found.excluded) == (right, 6, not kept)
    if not kept:
        assert found.reasons == ("4 of 6 catch trials right; at least 83% are asked for",)


def test_a_catch_is_right_by_what_was_shown_where() -> None:
    study = make_study(*CATCH)
    sitting = Sitting(study, "one").gives("c0", 1, kind="catch", order=(1, 0))
    sitting.gives("c2", 0, kind="catch").gives("c4", None, kind="catch")
    assert (only(study, sitting).catches_right, only(study, sitting).catches) == (1, 3)


def test_repeats_are_compared_by_candidate_not_by_side() -> None:
    study = make_study(*AB)
    sitting = Sitting(study, "one")
    for at, point in enumerate([-2, -1, 1, 2]):
        sitting.gives(f"i{at}", point)
    for at, point in enumerate([2, 1, -1, 0]):  # sides swapped: the same, but for the last by 2
        sitting.gives(f"i{at}", point, kind="repeat", order=(1, 0))
    found = only(study, sitting)
    assert (found.repeats, found.shift) == (4, 0.5)
    one, other = np.array([-2, -1, 1, 2]), np.array([-2, -1, 1, 0])
    chance = np.mean((one[:, None] - other[None, :]) ** 2)
    assert found.kappa == pytest.approx(1 - np.mean((one - other) ** 2) / chance)


def test_bad_repeats_exclude_only_where_the_design_says_so() -> None:
    for least, excluded in ((-1.0, False), (0.5, True)):
        study = make_study(*AB, min_repeat_agreement=least)
        sitting = Sitting(study, "one")
        for at, point in enumerate([-2, 2, -2, 2]):
            sitting.gives(f"i{at}", point).gives(f"i{at}", -point, kind="repeat")
        found = only(study, sitting)
        assert found.kappa == pytest.approx(-1)
        assert found.excluded is excluded
        assert not excluded or "on 4 repeats is -1.00 (weighted kappa); at" in found.reasons[0]


def test_kappa_is_unknown_without_pairs_or_with_one_answer_throughout() -> None:
    study = make_study(*AB, min_repeat_agreement=0.5)
    alone = Sitting(study, "one").gives("i0", 1, kind="repeat").gives("i1", 1)
    assert (only(study, alone).kappa, only(study, alone).repeats) == (None, 0)
    same = Sitting(study, "one").gives("i0", 1).gives("i0", 1, kind="repeat")
    assert (only(study, same).kappa, only(study, same).shift) == (None, 0.0)
    assert not only(study, same).excluded


def test_haste_counts_answers_and_leaves_practice_out() -> None:
    study = make_study(*AB)
    sitting = Sitting(study, "one").gives("i9", 1, kind="practice", deciding=0.0)
    for at in range(8):
        sitting.gives(f"i{at}", 0 if at else -2, deciding=0.1 if at < 3 else 4.0)
    found = only(study, sitting)
    assert (found.answers, found.hasty, found.median_deciding) == (8, 3 / 8, 4.0)
    assert found.reasons == (
        "3 of 8 answers came less than 0.3 s after the last clip; at most 25% may",
    )
    assert (found.middle, found.extreme, found.first) == (7 / 8, 1 / 8, 1.0)


def test_every_failed_rule_is_told() -> None:
    study = make_study(*CATCH, *AB)
    sitting = with_catches(study, 0)
    for at in range(6):
        sitting.gives(f"i{at}", 1, deciding=0.0)
    assert len(only(study, sitting).reasons) == 2


def test_one_who_cannot_tell_and_met_no_catch_is_kept() -> None:
    study = make_study(*AB)
    found = only(study, Sitting(study, "one").gives("i0", None).gives("i1", None))
    assert (found.cannot_tell, found.catches, found.excluded) == (1.0, 0, False)
    assert (found.middle, found.extreme, found.first, found.kappa) == (None,) * 4


def test_grades_and_odd_ones_have_repeats_too() -> None:
    item = make_item("g", {"x": (1, 0.9)}, {"y": (1, 0.5)}, {"x": (2, 0.4)})
    study = make_study(item, form="graded")
    sitting = Sitting(study, "one").gives("g", [2, 0, 1])
    sitting.gives("g", [1, 1, None], kind="repeat", order=(2, 1, 0))
    # candidate 2: 1 then 1; candidate 1: 0 then 1; candidate 0 was not graded again
    assert only(study, sitting).shift == 0.5
    odd = make_item("o", {"x": (1, 1.0)}, {}, {}, form="odd")
    study = make_study(odd, form="odd")
    sitting = Sitting(study, "one").gives("o", 0, order=(2, 1, 0))
    sitting.gives("o", 2, kind="repeat")
    found = only(study, sitting)
    assert (found.shift, found.first, found.kappa) == (0.0, 1.0, None)


def krippendorffs_example() -> Kept:
    """Four coders, twelve units, values 1 to 5: the example that Krippendorff works through."""
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
    study = make_study(*AB)
    sittings = []
    for coder, row in enumerate(table):
        sitting = Sitting(study, f"coder {coder}")
        for at, value in enumerate(row):
            if value:
                # shown in either order: the preference is what is compared
                flip = (coder + at) % 2
                sitting.gives(
                    f"i{at}", (3 - value) if flip else value - 3, order=(1, 0) if flip else (0, 1)
                )
        sittings.append(sitting)
    return gathered(study, *sittings)


def test_alpha_of_krippendorffs_own_example() -> None:
    found = alpha(krippendorffs_example(), draws=200, seed=0)
    assert found.value == pytest.approx(0.815, abs=5e-4)  # ordinal, as published
    assert found.n == 11  # the last unit has one value only
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_alpha_of_odd_ones_by_hand() -> None:
    items = [make_item(f"o{at}", {"x": (1, 1.0)}, {}, {}, form="odd") for at in range(3)]
    study = make_study(*items, form="odd")
    one, two = Sitting(study, "one"), Sitting(study, "two")
    for at, (mine, theirs) in enumerate([(0, 0), (1, 1), (0, 1)]):
        one.gives(f"o{at}", mine)
        two.gives(f"o{at}", theirs)
    # six values, three 0 and three 1; a third of pairs differ; by chance 2 * 3 * 3 / (6 * 5) = 3/5
    assert alpha(gathered(study, one, two), draws=100, seed=0).value == pytest.approx(1 - 5 / 9)


def test_alpha_says_nothing_of_one_listener_or_one_answer() -> None:
    study = make_study(*AB)
    one = Sitting(study, "one").gives("i0", 1).gives("i1", 2)
    assert alpha(gathered(study, one), draws=100, seed=0).value is None
    assert alpha(gathered(study), draws=100, seed=0).value is None
    two = Sitting(study, "two").gives("i0", 1)
    assert alpha(gathered(study, one, two), draws=100, seed=0).value is None
    two.gives("i1", 1)
    found = alpha(gathered(study, one, two), draws=100, seed=0)
    assert found.value is not None


def test_alpha_of_one_item_has_no_interval() -> None:
    study = make_study(*AB)
    given = [Sitting(study, name).gives("i0", at) for at, name in enumerate(["a", "b", "c"])]
    found = alpha(gathered(study, *given), draws=100, seed=0)
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
