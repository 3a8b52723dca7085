"""Works: whole composers are held out, groups are not divided, and scores can be played."""

from __future__ import annotations

import pytest

from kindred.demo.score import Score, package_folder, read_score
from kindred.expressive.perform import EXCERPT_ONSETS
from kindred.expressive.works import works


def test_the_table_is_large_and_lists_nothing_twice() -> None:
    found = works()
    assert 120 <= len(found) <= 140
    assert len({work.group for work in found}) >= 110
    assert len({work.work for work in found}) == len({work.source for work in found}) == len(found)


def test_composers_are_held_out_whole_and_in_several_styles() -> None:
    held_out = {work.composer for work in works() if work.held_out}
    assert sum(work.held_out for work in works()) >= 15
    assert len(held_out) >= 4
    assert not held_out & {work.composer for work in works() if not work.held_out}


def test_a_group_is_of_one_composer() -> None:
    composers: dict[str, set[str]] = {}
    for work in works():
        composers.setdefault(work.group, set()).add(work.composer)
    assert all(len(found) == 1 for found in composers.values())


def test_movements_and_harmonisations_share_a_group() -> None:
    group = {work.source: work.group for work in works()}
    assert group["palestrina/Kyrie_103.krn"] == group["palestrina/Gloria_98.krn"]
    assert group["bach/bwv174.5.mxl"] == group["bach/bwv245.40.mxl"]
    assert group["mozart/k80/movement1.mxl"] == group["mozart/k80/movement3.mxl"]


def test_every_score_is_there() -> None:
    corpus = package_folder("music21", "") / "corpus"
    assert [work.source for work in works() if not (corpus / work.source).is_file()] == []


def playable(score: Score) -> bool:
    ends: dict[int, float] = {}
    for note in score.notes:
        ends[note.part] = max(ends.get(note.part, 0.0), note.onset + note.duration)
    onsets = {round(note.onset, 3) for note in score.notes}
    return max(ends.values()) - min(ends.values()) <= 8 and len(onsets) >= 2 * EXCERPT_ONSETS - 3


def test_scores_have_two_excerpts_and_parts_that_end_together() -> None:
    for work in works()[::25]:
        assert playable(read_score(work.source)), work.work


@pytest.mark.slow
def test_every_score_has_two_excerpts_and_parts_that_end_together() -> None:
    assert [work.work for work in works() if not playable(read_score(work.source))] == []
