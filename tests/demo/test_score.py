"""Reading scores: cutting, ties, several voices."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kindred.demo.score import MAX_ONSETS, package_folder, read_score
from kindred.errors import KindredError, MissingPackage


def test_a_chorale_is_read_whole() -> None:
    score = read_score("bach/bwv269.mxl")
    assert (score.parts, score.length, score.cut) == (4, 63, False)
    first = [note.pitch for note in score.notes if note.onset == 0]
    assert first == [67, 62, 59, 43]  # G major
    assert score.sections[0][0] == 0
    assert score.sections[-1][1] == 63


@pytest.mark.parametrize(
    ("source", "parts"),
    [("beethoven/opus18no4.mxl", 4), ("beethoven/opus18no1/movement2.krn", 4)],
)
def test_a_long_score_is_cut_after_enough_onsets(source: str, parts: int) -> None:
    score = read_score(source)
    onsets = score.density * score.length
    assert score.cut
    assert score.parts == parts
    assert 0.9 * MAX_ONSETS <= onsets <= 1.2 * MAX_ONSETS


def test_ties_are_joined() -> None:
    score = read_score("palestrina/Kyrie_38.krn")
    for part in range(score.parts):
        notes = [note for note in score.notes if note.part == part]
        for before, after in pairwise(notes):
            assert before.onset + before.duration <= after.onset + 1e-6


def test_voices_in_tunes_of_their_own_are_one_score() -> None:
    score = read_score("josquin/milleRegrets.abc")
    assert score.parts == 4
    assert {round(n.onset + n.duration) for n in score.notes} >= {312}


def test_a_tune_is_picked_from_a_book_and_split_at_its_repeats() -> None:
    score = read_score("airdsAirs/book1.abc#21")
    assert score.parts == 1
    assert score.sections == ((0, 24), (24, 48))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(KindredError, match=r"no bach/none\.mxl"):
        read_score("bach/none.mxl")
    with pytest.raises(MissingPackage, match="pip install nothing"):
        package_folder("no_such_package_here", "pip install nothing")
