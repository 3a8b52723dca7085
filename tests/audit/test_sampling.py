"""Items drawn from planted libraries, whose works, copies and systems' answers are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kindred.audit.power import items_wanted
from kindred.audit.rankings import Rankings
from kindred.audit.related import recordings
from kindred.audit.sampling import Drawn, draw_items
from kindred.audit.stretches import Segments, Stretches
from kindred.audit.study import FORMS, Clip, Design, Item
from kindred.errors import AuditError, TrackNotFound
from kindred.storage.records import Hit, Track

HOP, WINDOW, DIMS = 5.0, 10.0, 24


@dataclass
class Planted:
    """A library: tracks, each system's vectors, and windows around the first system's."""

    tracks: list[Track]
    vectors: dict[str, dict[str, NDArray[np.float64]]]
    windows: dict[str, NDArray[np.float32]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def ask(self, system: str, track_ids: Sequence[str], depth: int) -> Mapping[str, Sequence[Hit]]:
        known = self.vectors[system]
        found = {}
        self.asked += [(system, len(track_ids))]
        for query in track_ids:
            if query in known:
                scores = [(float(known[query] @ known[one]), one) for one in known if one != query]
                scores.sort(key=lambda entry: (-entry[0], entry[1]))
                found[query] = [Hit(one, score) for score, one in scores[:depth]]
        return found

    @property
    def segments(self) -> Segments:
        return Segments(lambda one: self.windows[one], HOP, WINDOW)

    def track(self, track_id: str) -> Track:
        return next(track for track in self.tracks if track.track_id == track_id)

    def change(self, track_id: str, **values: object) -> None:
        place = self.tracks.index(self.track(track_id))
        self.tracks[place] = replace(self.tracks[place], **values)  # type: ignore[arg-type]


def library(
    *,
    composers: int = 6,
    works: int = 5,
    movements: int = 2,
    systems: int = 2,
    seconds: float = 60,
    style: float = 1,
) -> Planted:
    """``composers * works * movements`` tracks; the movements of a work are nearest to each other.

    Composer 0 has all the works, the next one fewer, down to one.
    """
    rng = np.random.default_rng(11)
    names = [f"system {number}" for number in range(systems)]
    tracks: list[Track] = []
    vectors: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in names}
    windows = {}
    for composer in range(composers):
        sound = style * rng.standard_normal(DIMS)
        for work in range(max(1, works - composer if composers > 1 else works)):
            piece = {name: rng.standard_normal(DIMS) for name in names}
            for movement in range(movements):
                track_id = f"t{composer}-{work}-{movement}"
                tracks.append(
                    Track(
                        track_id,
                        content_hash=f"hash {track_id}",
                        title=f"Piece {work}: movement {movement}",
                        composer=f"Composer {composer}",
                        work=f"Piece {work}",
                        duration=seconds,
                        paths=(f"/music/{track_id}.wav",),
                    )
                )
                for name in names:
                    vector = sound + piece[name] + 0.2 * rng.standard_normal(DIMS)
                    vectors[name][track_id] = vector / np.linalg.norm(vector)
                count = max(1, int((seconds - WINDOW) / HOP) + 1)
                around = vectors[names[0]][track_id] + 0.1 * rng.standard_normal((count, DIMS))
                windows[track_id] = around.astype(np.float32)
    return Planted(tracks, vectors, windows)


def design(planted: Planted, **values: object) -> Design:
    small: dict[str, object] = {
        "title": "Planted",
        "systems": tuple(planted.vectors),
        "trials": 6,
        "catches": 3,
        "repeats": 1,
        "practice": 2,
        "listeners": 6,
        "overlap": 3,
        "seed": 4,
    }
    return Design(**{**small, **values})  # type: ignore[arg-type]


def draw(planted: Planted, **values: object) -> Drawn:
    drawn = draw_items(
        design(planted, **values),
        tracks=planted.tracks,
        ask=planted.ask,
        segments=planted.segments,
        clusters={one.track_id: int(one.composer[-1:] or 0) % 2 for one in planted.tracks},
    )
    assert drawn is not None
    return drawn


def of_kind(drawn: Drawn, kind: str) -> list[Item]:
    return [item for item in drawn.items if item.kind == kind]


def ids(item: Item) -> list[str]:
    return [clip.track_id for clip in item.clips]


def top(planted: Planted, system: str, query: str, k: int) -> list[str]:
    """What a system answers, without the query's work."""
    hits = planted.ask(system, [query], len(planted.tracks))[query]
    own = planted.track(query)
    found = [planted.track(hit.track_id) for hit in hits]
    return [one.track_id for one in found if (one.composer, one.work) != (own.composer, own.work)][
        :k
    ]


# -- what is asked -------------------------------------------------------------------------------
def test_as_many_items_are_drawn_as_the_design_needs() -> None:
    planted = library()
    drawn = draw(planted)
    assert items_wanted(design(planted)) == 12
    assert [len(of_kind(drawn, kind)) for kind in ("real", "catch", "practice")] == [12, 3, 2]
    assert drawn.asked == 12 + drawn.skipped
    assert sum(drawn.strata.values()) == 12
    assert drawn.warnings == ()
    assert len({item.item_id for item in drawn.items}) == len(drawn.items)


def test_a_pair_is_the_first_rank_where_the_systems_differ() -> None:
    planted = library()
    for item in of_kind(draw(planted), "real"):
        assert item.reference is not None
        query = item.reference.track_id
        one, other = (top(planted, name, query, 5) for name in planted.vectors)
        rank = next(at for at in range(5) if one[at] != other[at])
        behind = {name: c.clip.track_id for c in item.candidates for name in c.systems}
        assert behind == {"system 0": one[rank], "system 1": other[rank]}
        for candidate in item.candidates:
            ((name, placed),) = candidate.systems.items()
            assert placed.rank == rank + 1
            vectors = planted.vectors[name]
            score = vectors[query] @ vectors[candidate.clip.track_id]
            assert placed.score == pytest.approx(float(score))


@pytest.mark.parametrize("form", list(FORMS))
def test_no_query_is_compared_with_its_own_work(form: str) -> None:
    planted = library()
    for item in of_kind(draw(planted, form=form), "real"):
        query, *others = [planted.track(clip.track_id) for clip in item.clips]
        for other in others:
            assert (other.composer, other.work) != (query.composer, query.work)
        assert len({clip.track_id for clip in item.clips}) == len(item.clips)


def test_all_pairs_of_systems_take_turns() -> None:
    planted = library(systems=4)
    drawn = draw(planted, trials=9, listeners=6, overlap=3)
    pairs = Counter(
        frozenset(name for one in item.candidates for name in one.systems)
        for item in of_kind(drawn, "real")
    )
    assert len(pairs) == 6
    assert set(pairs.values()) == {3}


def test_queries_come_evenly_from_composers_however_many_tracks_they_have() -> None:
    drawn = draw(library(), catches=0, practice=0)
    # 30 tracks, of which the last composers have 2 each.
    assert drawn.strata == {f"Composer {number}": 2 for number in range(6)}
    many = draw(library(), catches=0, practice=0, trials=9)
    assert min(many.strata.values()) == 2  # all that the small ones have
    assert max(many.strata.values()) == 4


def test_an_unknown_composer_is_a_stratum_of_its_own() -> None:
    planted = library()
    for track in [track for track in planted.tracks if track.composer == "Composer 0"]:
        planted.change(track.track_id, composer="")
    assert draw(planted).strata["unknown composer"] >= 2


def test_queries_come_evenly_from_clusters() -> None:
    assert draw(library(), stratify="cluster").strata == {"cluster 0": 6, "cluster 1": 6}
    assert draw(library(), stratify="none").strata == {"all": 12}


def test_the_same_seed_gives_the_same_items_whatever_the_order_of_the_tracks() -> None:
    planted = library()
    first = draw(planted)
    planted.tracks.reverse()
    assert draw(planted) == first
    assert draw(planted, seed=5).items != first.items


def test_graded_items_pool_the_first_answers_of_every_system() -> None:
    planted = library(systems=3)
    drawn = draw(planted, form="graded", k=4, catches=1, practice=0)
    pools: dict[str, list[str]] = {}
    for item in of_kind(drawn, "real"):
        assert item.reference is not None
        assert 1 <= len(item.candidates) <= 5
        pools.setdefault(item.reference.track_id, []).extend(
            candidate.clip.track_id for candidate in item.candidates
        )
        for candidate in item.candidates:
            for name, placed in candidate.systems.items():
                answer = top(planted, name, item.reference.track_id, 4)
                assert answer[placed.rank - 1] == candidate.clip.track_id
    *whole, last = pools  # the last query may have no room for all of its items
    for query in whole:
        expected = {one for name in planted.vectors for one in top(planted, name, query, 4)}
        assert sorted(pools[query]) == sorted(expected)
    assert set(pools[last]) <= {
        one for name in planted.vectors for one in top(planted, name, last, 4)
    }
    assert any(len(pool) > 5 for pool in pools.values())


def test_systems_differ_in_which_of_three_is_odd() -> None:
    planted = library(style=0.3)  # many that are near the query are nearer to each other
    for item in of_kind(draw(planted, form="odd", k=8), "real"):
        assert item.reference is None
        for name, vectors in planted.vectors.items():
            named = [one.clip.track_id for one in item.candidates if name in one.systems]
            (odd,) = {one.clip.track_id for one in item.candidates} - set(named)
            near = vectors[named[0]] @ vectors[named[1]]
            assert near > max(vectors[odd] @ vectors[one] for one in named)
        held = [tuple(sorted(one.systems)) for one in item.candidates]
        assert sorted(held) == [("system 0",), ("system 0", "system 1"), ("system 1",)]


def test_two_movements_of_a_work_are_never_apart_in_an_odd_one_out() -> None:
    planted = library(works=10)
    rng = np.random.default_rng(2)
    for track_id, vector in planted.vectors["system 0"].items():
        other = vector + 0.04 * rng.standard_normal(DIMS)  # orders movements another way, no more
        planted.vectors["system 1"][track_id] = other / np.linalg.norm(other)
    drawn = draw(planted, form="odd", k=20, trials=2, catches=1, practice=0)
    for item in of_kind(drawn, "real"):
        works = {(one.composer, one.work) for one in map(planted.track, ids(item))}
        assert len(works) == 3


def test_one_system_is_asked_about_two_it_holds_near_and_one_it_does_not() -> None:
    planted = library(systems=1)
    vectors = planted.vectors["system 0"]
    for item in of_kind(draw(planted, form="odd"), "real"):
        named = [one.clip.track_id for one in item.candidates if one.systems]
        (odd,) = [one.clip.track_id for one in item.candidates if not one.systems]
        assert len(named) == 2
        assert vectors[named[0]] @ vectors[named[1]] > max(
            vectors[odd] @ vectors[one] for one in named
        )


# -- items whose answer is known -----------------------------------------------------------------
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("kind", ["catch", "practice"])
def test_the_expected_answer_is_the_true_one(form: str, kind: str) -> None:
    planted = library()
    drawn = draw(planted, form=form)
    asked = {item.clips[0].track_id for item in of_kind(drawn, "real")}
    for item in of_kind(drawn, kind):
        assert item.expected is not None
        counts = Counter(clip.track_id for clip in item.clips)
        own = counts.most_common(1)[0][0]
        assert sorted(counts.values(), reverse=True) == [2] + [1] * (len(counts) - 1)
        assert own not in asked
        expected = item.candidates[item.expected].clip.track_id
        assert (expected != own) if form == "odd" else (expected == own)
        one, other = sorted(
            (clip for clip in item.clips if clip.track_id == own), key=lambda clip: clip.start
        )
        assert one.start + one.seconds <= other.start + 0.002
        for far in set(counts) - {own}:
            assert planted.track(far).composer != planted.track(own).composer
            for name in planted.vectors:
                answer = top(planted, name, own, 100)
                assert answer.index(far) >= len(answer) / 4
    real_sizes = Counter(len(item.candidates) for item in of_kind(drawn, "real"))
    assert {len(item.candidates) for item in of_kind(drawn, kind)} == {
        real_sizes.most_common(1)[0][0]
    }


def test_the_expected_answer_is_not_always_in_the_same_place() -> None:
    drawn = draw(library(), catches=8, trials=4)
    assert {item.expected for item in of_kind(drawn, "catch")} == {0, 1}


def test_catch_trials_do_not_share_their_far_track() -> None:
    drawn = draw(library(), catches=5)
    far = [item.candidates[1 - (item.expected or 0)].clip.track_id for item in drawn.items[12:]]
    assert len(set(far)) == len(far)


# -- copies, and what cannot be heard ------------------------------------------------------------
def copy_of(planted: Planted, track_id: str, **values: object) -> str:
    """Put a second copy of a track in the library, with the same vectors."""
    twin = replace(planted.track(track_id), track_id=f"{track_id}-copy", **values)  # type: ignore
    planted.tracks.append(twin)
    for vectors in planted.vectors.values():
        vectors[twin.track_id] = vectors[track_id]
    planted.windows[twin.track_id] = planted.windows[track_id]
    return twin.track_id


@pytest.mark.parametrize(
    "differing",
    [
        pytest.param({"work": "", "title": ""}, id="same-bytes"),
        pytest.param({"work": "", "content_hash": "", "duration": 61.5}, id="same-title"),
        pytest.param(
            {"work": "", "content_hash": "", "title": "Other", "composer": ""}, id="same-vectors"
        ),
    ],
)
@pytest.mark.parametrize("form", list(FORMS))
def test_copies_are_never_compared(form: str, differing: dict[str, object]) -> None:
    planted = library()
    originals = [track.track_id for track in planted.tracks]
    copies = [copy_of(planted, track_id, **differing) for track_id in originals]
    known = dict(zip(copies, originals, strict=True))
    for item in of_kind(draw(planted, form=form), "real"):
        recordings = [known.get(clip.track_id, clip.track_id) for clip in item.clips]
        assert len(set(recordings)) == len(recordings)


def test_an_answer_filled_with_copies_is_asked_for_further() -> None:
    planted = library()
    for number in range(80):
        name = copy_of(planted, "t0-0-0", title=f"copy {number}")
        planted.tracks[-1] = replace(planted.tracks[-1], track_id=f"copy {number}")
        for known in (*planted.vectors.values(), planted.windows):
            known[f"copy {number}"] = known.pop(name)  # type: ignore[index,assignment]
    tracks = {track.track_id: track for track in planted.tracks}
    rankings = Rankings(
        planted.ask,
        list(planted.vectors),
        tracks=tracks,
        recordings=recordings(planted.tracks),
        stretches=Stretches(tracks, planted.segments, matching=True, rng=np.random.default_rng(0)),
    )
    found = rankings.to(["t0-0-0"], k=5)["t0-0-0"]
    assert planted.asked == [(name, 1) for name in planted.vectors for _ in range(2)]
    for name, ranking in found.items():
        nearest = top(planted, name, "t0-0-0", 5)
        assert [answer.track_id for answer in ranking.values()][:5] == nearest


def test_tracks_that_cannot_be_heard_are_left_out() -> None:
    planted = library()
    planted.change("t0-0-0", paths=())
    planted.change("t0-1-0", duration=2.9)
    planted.windows["t0-2-0"] = np.zeros((0, DIMS), np.float32)
    planted.windows["t1-0-0"] = np.full((3, DIMS), np.nan, np.float32)
    gone = "t1-1-0"

    def vectors(track_id: str) -> NDArray[np.float32]:
        if track_id == gone:
            raise TrackNotFound(track_id)
        return planted.windows[track_id]

    for form in FORMS:
        drawn = draw_items(
            design(planted, form=form),
            tracks=planted.tracks,
            ask=planted.ask,
            segments=Segments(vectors, HOP, WINDOW),
        )
        assert drawn is not None
        heard = {clip.track_id for item in drawn.items for clip in item.clips}
        assert not heard & {"t0-0-0", "t0-1-0", "t0-2-0", "t1-0-0", gone}


def test_answers_with_tracks_that_are_gone_are_read_past_them() -> None:
    planted = library()
    removed = {track.track_id for track in planted.tracks[::3]}
    planted.tracks = [track for track in planted.tracks if track.track_id not in removed]
    drawn = draw(planted, trials=3)
    assert not {clip.track_id for item in drawn.items for clip in item.clips} & removed


# -- clips ---------------------------------------------------------------------------------------
def test_clips_of_an_item_are_equally_long_and_within_their_tracks() -> None:
    planted = library()
    for number, track in enumerate(list(planted.tracks)):
        planted.change(track.track_id, duration=(3.2, 8.0, 60.0, 10.5)[number % 4])
    for form in FORMS:
        for choice in ("matching", "random"):
            drawn = draw(planted, form=form, clip_choice=choice)
            for item in drawn.items:
                assert len({clip.seconds for clip in item.clips}) == 1
                for clip in item.clips:
                    duration = planted.track(clip.track_id).duration
                    assert 0 <= clip.start <= clip.start + clip.seconds <= duration
                    if duration >= clip.seconds + 1:
                        assert 0.499 <= clip.start <= duration - clip.seconds - 0.5
            assert any("less than 10 s" in warning for warning in drawn.warnings)


def test_matching_clips_are_the_nearest_windows() -> None:
    planted = library()
    rng = np.random.default_rng(0)
    planted.windows = {
        track_id: rng.standard_normal((11, DIMS)).astype(np.float32) for track_id in planted.windows
    }
    theme = rng.standard_normal(DIMS)
    places = {track_id: int(rng.integers(1, 10)) for track_id in planted.windows}
    for track_id, place in places.items():
        planted.windows[track_id][place] = theme
    for item in of_kind(draw(planted), "real"):
        for clip in item.clips:
            assert clip.start == pytest.approx(HOP * places[clip.track_id], abs=0.01)


def test_silence_is_not_played() -> None:
    planted = library()
    silent = np.zeros(DIMS, np.float32) + 1
    for track in list(planted.tracks):
        # The last third is silent and therefore the same everywhere.
        planted.change(track.track_id, peaks=bytes([200] * 160 + [0] * 80))
        planted.windows[track.track_id][8:] = silent
    for choice in ("matching", "random"):
        for item in draw(planted, clip_choice=choice).items:
            assert all(clip.start + clip.seconds / 2 <= 40.3 for clip in item.clips)


def test_random_clips_need_not_be_the_same_stretch() -> None:
    drawn = draw(library(), clip_choice="random")
    starts = [clip.start for item in drawn.items for clip in item.clips]
    assert len(set(starts)) > len(starts) / 2


# -- too little ----------------------------------------------------------------------------------
def test_fewer_items_than_wanted_are_told() -> None:
    planted = library()
    drawn = draw(planted, listeners=60)
    assert 6 <= len(of_kind(drawn, "real")) < 120
    assert "of 120 items could be drawn" in drawn.warnings[0]


def test_systems_that_agree_give_no_study() -> None:
    planted = library()
    planted.vectors["system 1"] = planted.vectors["system 0"]
    with pytest.raises(AuditError, match=r"Only 0 of the 6 real trials.*same first 5 answers"):
        draw(planted)


def test_queries_answered_alike_are_skipped_and_counted() -> None:
    planted = library()
    alike = {track.track_id for track in planted.tracks if track.composer == "Composer 0"}

    def ask(system: str, track_ids: Sequence[str], depth: int) -> Mapping[str, Sequence[Hit]]:
        same = [one for one in track_ids if one in alike]
        rest = [one for one in track_ids if one not in alike]
        return {**planted.ask("system 0", same, depth), **planted.ask(system, rest, depth)}

    drawn = draw_items(
        design(planted, catches=0, practice=0),
        tracks=planted.tracks,
        ask=ask,
        segments=planted.segments,
    )
    assert drawn is not None
    assert "Composer 0" not in drawn.strata
    assert drawn.skipped == len(alike)


def test_three_tracks_are_too_few() -> None:
    planted = library()
    planted.tracks = planted.tracks[:3]
    with pytest.raises(AuditError, match=r"can be drawn from 3 tracks|catch and 2 practice"):
        draw(planted)
    with pytest.raises(AuditError, match=r"Only [01] of the 6 real trials.*3 tracks"):
        draw(planted, catches=0, practice=0)


def test_no_tracks_no_segments_and_no_answers_are_told() -> None:
    planted = library()
    silent = Segments(lambda track_id: np.zeros((0, DIMS), np.float32), HOP, WINDOW)
    for arguments in (
        {"tracks": [], "ask": planted.ask, "segments": planted.segments},
        {"tracks": planted.tracks, "ask": planted.ask, "segments": silent},
        {
            "tracks": planted.tracks,
            "ask": lambda system, track_ids, depth: {},
            "segments": planted.segments,
        },
    ):
        for catches in (0, 2):
            with pytest.raises(AuditError, match="Only 0 of"):
                draw_items(
                    design(planted, catches=catches, practice=0),
                    **arguments,  # type: ignore[arg-type]
                )


def test_one_composer_is_enough_and_told() -> None:
    planted = library(composers=1, works=15)
    drawn = draw(planted)
    assert len(of_kind(drawn, "real")) == 12
    assert any("one composer: Composer 0" in warning for warning in drawn.warnings)
    assert any("not known to be by another composer" in warning for warning in drawn.warnings)


def test_tracks_too_short_for_two_stretches_give_no_catch_trials() -> None:
    planted = library(seconds=3.5)
    with pytest.raises(AuditError, match="track of its own of 4 s or more"):
        draw(planted)


def test_clusters_must_be_known() -> None:
    planted = library()
    with pytest.raises(AuditError, match="none are known"):
        draw_items(
            design(planted, stratify="cluster"),
            tracks=planted.tracks,
            ask=planted.ask,
            segments=planted.segments,
        )


def test_a_design_that_cannot_be_is_refused() -> None:
    with pytest.raises(AuditError, match="name at least 2 different systems"):
        draw(library(systems=1))


def test_progress_is_told_and_a_cancelled_draw_gives_nothing() -> None:
    planted, told = library(), []

    def run(cancelled: bool) -> Drawn | None:
        return draw_items(
            design(planted),
            tracks=planted.tracks,
            ask=planted.ask,
            segments=planted.segments,
            progress=lambda done, total, words: told.append((done, total, words)),
            cancelled=lambda: cancelled,
        )

    assert run(True) is None
    assert told == []
    assert run(False) is not None
    assert told[-1][:2] == (12, 12)


def test_a_clip_says_where_it_is_to_the_millisecond() -> None:
    clips: list[Clip] = [clip for item in draw(library()).items for clip in item.clips]
    assert all(round(clip.start, 3) == clip.start for clip in clips)
    assert all(type(clip.start) is float and type(clip.seconds) is float for clip in clips)
