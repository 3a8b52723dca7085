"""A listener's way through a study, and every way to leave it that was tried."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kindred.audit.given import Given
from kindred.audit.judgement import MAX_COMMENT, Heard, counting
from kindred.audit.signing import make_token
from kindred.audit.sittings import NoSuchClip, NotThisTrial, Sittings
from kindred.audit.store import AuditStore
from kindred.errors import AuditError, InvitationRefused
from tests.audit.studies import NamedFiles, Room, given, make_study, whole

Build = Callable[..., Room]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Room:
    """Six trials, no break."""
    return Room(tmp_path, make_study(trials=5, repeats=0, catches=1, practice=1))


def _names(view: dict[str, Any]) -> list[str]:
    return [clip["url"].rsplit("/", 1)[1] for clip in view["trial"]["clips"]]


def _tracks(room: Room, token: str, view: dict[str, Any]) -> list[str]:
    return [room.sittings.clip(token, name).name for name in _names(view)]


# -- the way through -----------------------------------------------------------------------
@pytest.mark.parametrize("form", ["ab", "graded", "odd"])
def test_a_sitting_from_consent_to_thanks(tmp_path: Path, form: Any) -> None:
    room = Room(tmp_path, make_study(form=form))
    token = room.invite()
    stages, seen = [], set()
    view = room.sittings.view(token)
    stages.append(view["stage"])
    view = room.sittings.consent(token, {"width": 390, "touch": True, "headphones": True})
    stages.append(view["stage"])
    view = room.sittings.sound_check(token, True, view["sound_check"]["sides"])
    stages.append(view["stage"])
    view = room.sittings.begin(token)
    while view["stage"] != "done":
        if stages[-1] != view["stage"]:
            stages.append(view["stage"])
        if view["stage"] == "break":
            assert "trial" not in view
            assert view["progress"]["done"] == 15
            view = room.sittings.begin(token)
            continue
        assert view["trial"]["id"] not in seen
        seen.add(view["trial"]["id"])
        assert room.sittings.shown(token, view["trial"]["id"]) == view
        slots = [clip["slot"] for clip in view["trial"]["clips"]]
        assert (
            slots
            == {
                "ab": ["reference", "a", "b"],
                "graded": ["reference", "1", "2", "3", "4", "5"],
                "odd": ["1", "2", "3"],
            }[form]
        )
        view = room.sittings.answer(token, given(view))
    assert stages == [
        *("consent", "sound_check", "instructions", "practice", "trial", "break", "trial"),
    ]
    assert view["progress"] == {"done": 30, "of": 30}
    assert view["thanks"]
    stored = room.store.judgements("study")
    assert [item.position for item in stored] == list(range(-2, 30))
    assert Counter(item.kind for item in stored) == {
        "practice": 2, "real": 20, "catch": 6, "repeat": 4,
    }  # fmt: skip
    assert all(item.design_hash == room.study.design_hash for item in stored)
    assert all(item.device["headphones"] and item.shown_at for item in stored)
    assert room.store.sittings("study")[0].finished_at


def test_the_link_goes_on_where_it_stopped_on_another_device(room: Room) -> None:
    token = room.invite()
    seen = [room.sittings.view(token)["stage"]]
    for step in range(40):
        elsewhere = Sittings(
            AuditStore(room.store.path, clock=room.clock), NamedFiles(), room.secret
        )
        view = elsewhere.view(token)
        assert view == room.sittings.view(token)
        seen.append(view["stage"])
        if view["stage"] == "done":
            break
        if view["stage"] == "consent":
            elsewhere.consent(token, {})
        elif view["stage"] == "sound_check":
            elsewhere.sound_check(token, True, view["sound_check"]["sides"])
        elif view["stage"] in {"instructions", "break"}:
            elsewhere.begin(token)
        else:
            elsewhere.answer(token, given(view, judgement_id=str(uuid.UUID(int=step))))
    assert seen[-1] == "done"
    assert len(room.store.judgements("study")) == 32


def test_clicks_sent_twice_pass_a_stage_once(room: Room) -> None:
    token = room.invite()
    assert room.sittings.begin(token)["stage"] == "consent"  # too early: nothing happens
    assert room.sittings.sound_check(token, True, [])["stage"] == "consent"
    for _ in range(2):
        view = room.sittings.consent(token, {"width": 800})
    for _ in range(2):
        room.sittings.sound_check(token, True, view["sound_check"]["sides"])
    with ThreadPoolExecutor(8) as pool:
        views = list(pool.map(lambda _: room.sittings.begin(token), range(8)))
    assert all(view == views[0] for view in views)
    assert views[0]["stage"] == "practice"
    room.sittings.consent(token, {"width": 9})
    assert room.store.sittings("study")[0].device == {"width": 800}


def test_practice_answers_are_stored_and_told_whether_they_are_right(room: Room) -> None:
    token = room.invite()
    view = room.begin(token)
    trial = room.store.trials(room.store.sittings("study")[0].sitting_id)[0]
    right = -2 if trial.order[0] == 0 else 2  # practice-0 expects candidate 0
    assert "feedback" not in view
    view = room.sittings.answer(token, given(view, {"point": right}))
    assert view["feedback"].startswith("Yes")
    view = room.sittings.answer(token, given(view, None))
    assert view["stage"] == "trial"
    assert view["feedback"].startswith("Here")
    assert room.sittings.view(token)["feedback"] == view["feedback"]
    view = room.sittings.answer(token, given(view))
    assert "feedback" not in view
    assert [item.kind for item in room.store.judgements("study")][:2] == ["practice"] * 2


def test_the_plan_is_fixed_at_the_first_view_and_overlap_evens_out(tmp_path: Path) -> None:
    room = Room(tmp_path, make_study(real=24, trials=12, repeats=0))
    tokens = [room.invite(f"Listener {number}") for number in range(6)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(room.sittings.view, tokens * 2))
    sittings = room.store.sittings("study")
    assert len(sittings) == len({item.seed for item in sittings}) == 6
    counts = room.store.assigned("study")
    assert {counts[item.item_id] for item in room.study.of_kind("real")} == {3}
    plans = [room.store.trials(item.sitting_id) for item in sittings]
    list(map(room.sittings.view, tokens))
    assert [room.store.trials(item.sitting_id) for item in sittings] == plans


def test_a_listener_who_comes_again_hears_other_items(tmp_path: Path) -> None:
    room = Room(tmp_path, make_study(real=24, trials=12, repeats=0))
    for name in ("Ada", "Bert", "Ada"):
        room.sittings.view(room.invite(name))
    first, _, again = room.store.sittings("study")
    heard = [
        {trial.item_id for trial in room.store.trials(item.sitting_id) if trial.kind == "real"}
        for item in (first, again)
    ]
    assert first.listener_id == again.listener_id
    assert not heard[0] & heard[1]


# -- the sound check -----------------------------------------------------------------------
def test_the_sound_check_needs_two_of_three_sides(room: Room) -> None:
    token = room.invite()
    sides = room.sittings.consent(token, {})["sound_check"]["sides"]
    assert set(sides) == {"left", "right"}
    other = {"left": "right", "right": "left"}
    one_wrong = [other[sides[0]], *sides[1:]]
    for bad in ([other[side] for side in sides], [sides[0], "?", None], sides[:2], "lrl", None):
        with pytest.raises(AuditError):
            room.sittings.sound_check(token, True, bad)  # type: ignore[arg-type]
    for volume in (False, None, 1, "yes"):
        with pytest.raises(AuditError, match="volume"):
            room.sittings.sound_check(token, volume, sides)  # type: ignore[arg-type]
    assert room.sittings.view(token)["stage"] == "sound_check"
    assert room.sittings.sound_check(token, True, one_wrong)["stage"] == "instructions"


@pytest.mark.parametrize(
    "device",
    [
        {"width": "390"},
        {"width": -1},
        {"width": True},
        {"width": 1e9},
        {"touch": 1},
        {"name": "x"},
        {"width": 10**6},
    ],
)
def test_a_device_described_otherwise_is_refused(room: Room, device: Any) -> None:
    with pytest.raises(AuditError):
        room.sittings.consent(room.invite(), device)


# -- who may come in -----------------------------------------------------------------------
def _every_call(sittings: Sittings, token: str) -> list[Callable[[], object]]:
    answer = Given(str(uuid.uuid4()), "trial", None)
    return [
        lambda: sittings.view(token),
        lambda: sittings.consent(token, {}),
        lambda: sittings.sound_check(token, True, []),
        lambda: sittings.begin(token),
        lambda: sittings.shown(token, "trial"),
        lambda: sittings.answer(token, answer),
        lambda: sittings.back(token),
        lambda: sittings.clip(token, "0" * 32),
    ]


def _refused(room: Room, token: str) -> set[str]:
    codes = set()
    for call in _every_call(room.sittings, token):
        with pytest.raises(InvitationRefused) as refused:
            call()
        codes.add(refused.value.code)
    return codes


def test_forged_and_unknown_tokens_are_refused_by_every_call(room: Room) -> None:
    token = room.invite()
    invitation_id = room.store.invitations()[0].invitation_id
    for bad in (
        "",
        "x",
        token[:-1],
        token + "A",
        token.swapcase(),
        invitation_id,
        make_token(bytes(32), invitation_id),  # signed with another secret
        make_token(room.secret, uuid.uuid4().hex),  # well signed, of no invitation
        make_token(room.secret, "' OR 1 = 1 --"),
        "../../etc/passwd",
        "\ud800",
        "9" * 100_000,
    ):
        assert _refused(room, bad) == {"unknown"}
    assert room.store.sittings("study") == []


def test_expired_revoked_and_closed_links_are_refused_by_every_call(room: Room) -> None:
    short, revoked, kept = room.invite("A", days=1), room.invite("B"), room.invite("C")
    view = room.to_trial(short)
    room.store.revoke(room.store.invitations()[1].invitation_id)
    assert _refused(room, revoked) == {"revoked"}
    room.clock.add(days=1)
    assert _refused(room, short) == {"expired"}
    room.clock.add(days=-3)  # the clock goes back: the link stands again, nothing is broken
    assert room.sittings.view(short) == view
    room.store.close_study("study")
    assert _refused(room, kept) == _refused(room, short) == {"closed"}
    assert len(room.store.judgements("study")) == 2


def test_a_token_of_another_study_opens_that_study_alone(room: Room) -> None:
    room.store.put_draft(make_study(study_id="second", form="odd"))
    room.store.open_study("second")
    other = room.store.invite("second", "Ada", datetime(2027, 1, 1, tzinfo=UTC))
    token, foreign = room.invite(), make_token(room.secret, other.invitation_id)
    view, away = room.to_trial(token), room.begin(foreign)
    with pytest.raises(NotThisTrial):
        room.sittings.answer(foreign, given(view))
    with pytest.raises(NoSuchClip):
        room.sittings.clip(foreign, _names(view)[0])
    assert away["trial"]["form"] == "odd"
    assert room.store.judgements("second") == []


# -- answers -------------------------------------------------------------------------------
def test_an_answer_sent_again_counts_once(small: Room) -> None:
    token = small.invite()
    view = small.to_trial(token)
    answer = given(view)
    once = small.sittings.answer(token, answer)
    assert small.sittings.answer(token, answer) == once
    later = small.sittings.answer(token, given(once))
    assert small.sittings.answer(token, answer) == later  # a replay long after
    assert [item.position for item in small.store.judgements("study")] == [-1, 0, 1]


def test_twenty_double_clicks_are_one_answer(small: Room) -> None:
    token = small.invite()
    view = small.to_trial(token)
    answer = given(view)
    with ThreadPoolExecutor(20) as pool:
        views = list(pool.map(lambda _: small.sittings.answer(token, answer), range(20)))
    assert all(item == views[0] for item in views)
    assert views[0]["progress"]["done"] == 1


def test_an_id_used_again_with_another_content_is_refused(small: Room) -> None:
    one, two = small.invite("A"), small.invite("B")
    view, other = small.to_trial(one), small.to_trial(two)
    answer = given(view)
    view = small.sittings.answer(one, answer)
    with pytest.raises(AuditError, match="another content"):
        small.sittings.answer(one, replace(answer, answer={"point": -2}))
    with pytest.raises(NotThisTrial):  # the old id with the next trial
        small.sittings.answer(one, given(view, judgement_id=answer.judgement_id))
    with pytest.raises(AuditError, match="another content"):  # another listener's id
        small.sittings.answer(two, given(other, judgement_id=answer.judgement_id))
    assert [
        item.answer for item in counting(small.store.judgements("study")) if item.position == 0
    ] == [{"point": 1}]


def test_the_second_tab_is_told_where_the_listener_is(small: Room) -> None:
    token = small.invite()
    first = second = small.to_trial(token)
    view = small.sittings.answer(token, given(first))
    for call in (
        lambda: small.sittings.answer(token, given(second, {"point": -2})),
        lambda: small.sittings.shown(token, second["trial"]["id"]),
        lambda: small.sittings.answer(token, given(second, trial="0" * 32)),
        lambda: small.sittings.answer(token, given(second, trial="")),
    ):
        with pytest.raises(NotThisTrial) as wrong:
            call()
        assert wrong.value.view == view
    assert len(small.store.judgements("study")) == 2
    end = small.to_end(token, view)
    with pytest.raises(NotThisTrial) as wrong:
        small.sittings.answer(token, given(first))
    assert wrong.value.view == end


def test_no_answer_before_the_first_trial_or_in_the_break(room: Room) -> None:
    token = room.invite()
    asked = {"trial": {"id": "0" * 32, "form": "ab", "clips": [0, 0, 0]}}
    with pytest.raises(NotThisTrial):
        room.sittings.answer(token, given(asked))
    view = room.to_trial(token)
    while view["stage"] != "break":
        last, view = view, room.sittings.answer(token, given(view))
    with pytest.raises(NotThisTrial):
        room.sittings.answer(token, given(last))
    with pytest.raises(AuditError):
        room.sittings.back(token)


@pytest.mark.parametrize(
    "change",
    [
        {"heard": (Heard(1, 10.0, True),) * 2},
        {"heard": (Heard(1, 10.0, True),) * 4},
        {"heard": ()},
        {"heard": (Heard(1, 10.0, True), Heard(1, 10.0, True), Heard(1, 10.0, False))},
        {"heard": (Heard(0, 10.0, True), Heard(1, 10.0, True), Heard(1, 10.0, True))},
        {"heard": (Heard(1, 8.9, True), Heard(1, 10.0, True), Heard(1, 10.0, True))},
        {"heard": (Heard(1, float("nan"), True),) * 3},
        {"heard": (Heard(1, float("inf"), True),) * 3},
        {"heard": (Heard(1, -10.0, True),) * 3},
        {"heard": (Heard(1, "10", True),) * 3},  # type: ignore[arg-type]
        {"heard": (Heard(1, 10.0, 1),) * 3},  # type: ignore[arg-type]
        {"heard": (Heard(10**9, 10.0, True),) * 3},
        {"seconds": float("nan")},
        {"seconds": -0.1},
        {"seconds": 1e300},
        {"seconds": True},
        {"deciding_seconds": float("inf")},
        {"deciding_seconds": None},
        {"blurred": -1},
        {"blurred": 1.5},
        {"comment": "x" * (MAX_COMMENT + 1)},
        {"comment": None},
        {"judgement_id": "1"},
        {"judgement_id": str(uuid.uuid4()).upper()},
        {"judgement_id": "{" + str(uuid.uuid4()) + "}"},
        {"judgement_id": None},
        {"trial": None},
        {"answer": {"point": 3}},
        {"answer": {"point": 1.0}},
        {"answer": {"point": True}},
        {"answer": {"point": None}},
        {"answer": {}},
        {"answer": {"point": 0, "more": 1}},
        {"answer": {"odd": 1}},
        {"answer": [1]},
        {"answer": "a"},
        {"answer": None, "heard": (Heard(1, 1.0, False),) * 3},  # cannot tell, without listening
    ],
)
def test_an_answer_that_cannot_be_is_refused_and_the_trial_stays(
    small: Room, change: dict[str, Any]
) -> None:
    token = small.invite()
    view = small.to_trial(token)
    with pytest.raises(AuditError) as refused:
        small.sittings.answer(token, given(view, **change))
    assert not isinstance(refused.value, NotThisTrial)
    assert small.sittings.view(token)["trial"] == view["trial"]
    assert len(small.store.judgements("study")) == 1


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("graded", {"broad": [1, 1, 1, 1], "fine": [1, 1, 1, 1]}),
        ("graded", {"broad": [3, 0, 0, 0, 0], "fine": [0, 0, 0, 0, 0]}),
        ("graded", {"broad": [1, 0, 0, 0, 0], "fine": [None, 0, 0, 0, 0]}),
        ("graded", {"broad": [1, 0, 0, 0, 0], "fine": [101, 0, 0, 0, 0]}),
        ("odd", {"odd": 3}),
        ("odd", {"odd": -1}),
    ],
)
def test_answers_of_other_forms_are_checked_too(tmp_path: Path, form: Any, answer: Any) -> None:
    room = Room(tmp_path, make_study(form=form))
    token = room.invite()
    view = room.begin(token)
    with pytest.raises(AuditError, match="no answer"):
        room.sittings.answer(token, given(view, answer))


def test_an_answer_is_read_from_json_and_nothing_else(small: Room) -> None:
    token = small.invite()
    view = small.to_trial(token)
    body = {
        "id": str(uuid.uuid4()),
        "trial": view["trial"]["id"],
        "answer": {"point": -1},
        "comment": "half \ud83c of a character",
        "heard": [{"plays": 1, "seconds": 10, "whole": True}] * 3,
        "seconds": 31,
        "deciding_seconds": 0.4,
        "blurred": 1,
    }
    made = Given.from_dict(json.loads(json.dumps(body)))
    small.sittings.answer(token, made)
    small.sittings.answer(token, made)
    stored = small.store.judgements("study")[-1]
    assert stored.comment == "half ? of a character"
    assert (stored.answer, stored.blurred, stored.seconds) == ({"point": -1}, 1, 31)
    heard = body["heard"]
    for bad in (
        None,
        [],
        {},
        {**body, "kind": "real"},
        {name: value for name, value in body.items() if name != "heard"},
        {**body, "heard": None},
        {**body, "heard": [[1, 10, True]]},
        {**body, "heard": [{"plays": 1, "seconds": 10}] * 3},
        {**body, "heard": [*heard, "more"]},  # type: ignore[misc]
        {**body, "seconds": "31"},
    ):
        with pytest.raises(AuditError):
            Given.from_dict(bad)


# -- back ----------------------------------------------------------------------------------
def test_back_leads_to_the_trial_before_once_and_adds_a_revision(small: Room) -> None:
    token = small.invite()
    first = small.to_trial(token)
    assert not first["trial"]["can_go_back"]
    second = small.sittings.answer(token, given(first, {"point": 2}, comment="sure"))
    assert second["trial"]["can_go_back"]
    again = small.sittings.back(token)
    assert again["trial"] == {
        **first["trial"], "answer": {"point": 2}, "comment": "sure", "can_go_back": False,
    }  # fmt: skip
    assert small.sittings.back(token) == again == small.sittings.view(token)  # no further back
    with pytest.raises(NotThisTrial):
        small.sittings.answer(token, given(second))
    view = small.sittings.answer(token, given(again, {"point": -2}))
    assert view["trial"]["id"] == second["trial"]["id"]
    assert not view["trial"]["can_go_back"]
    with pytest.raises(AuditError, match="no way back"):
        small.sittings.back(token)
    stored = [item for item in small.store.judgements("study") if item.position == 0]
    assert [(item.revision, item.answer) for item in stored] == [
        (0, {"point": 2}), (1, {"point": -2}),
    ]  # fmt: skip
    assert small.sittings.answer(token, given(view))["trial"]["can_go_back"]


def test_there_is_no_way_back_from_before_practice_or_after_the_end(small: Room) -> None:
    token = small.invite()
    for go in (lambda: small.sittings.view(token), lambda: small.begin(token)):
        go()
        with pytest.raises(AuditError):
            small.sittings.back(token)
    view = small.sittings.answer(token, given(small.sittings.view(token)))
    with pytest.raises(AuditError):  # out of the first trial into practice
        small.sittings.back(token)
    small.to_end(token, view)
    with pytest.raises(AuditError):
        small.sittings.back(token)


# -- what goes out -------------------------------------------------------------------------
def test_only_clips_of_the_current_trial_and_the_one_before_are_served(small: Room) -> None:
    token, other = small.invite("A"), small.invite("B")
    first = small.to_trial(token)
    served = _tracks(small, token, first)
    plan = small.store.trials(small.store.sittings("study")[0].sitting_id)
    item = next(one for one in small.study.items if one.item_id == plan[1].item_id)
    assert item.reference is not None
    assert served == [
        item.reference.track_id,
        *(item.candidates[index].clip.track_id for index in plan[1].order),
    ]
    second = small.sittings.answer(token, given(first))
    assert _tracks(small, token, first) == served  # back leads there
    third = small.sittings.answer(token, given(second))
    small.to_trial(other)
    for name in (
        *_names(first),
        "",
        "0" * 32,
        "é",
        "\ud800",
        "../secret",
        _names(third)[0].upper(),
    ):
        with pytest.raises(NoSuchClip):
            small.sittings.clip(token, name)
    with pytest.raises(NoSuchClip):
        small.sittings.clip(other, _names(third)[0])
    assert len(_tracks(small, token, third)) == 3


def test_no_clip_is_served_before_the_first_trial_or_after_the_last(small: Room) -> None:
    token = small.invite()
    view = small.to_trial(token)
    while view["stage"] != "done":
        last, view = view, small.sittings.answer(token, given(view))
    for name in _names(last):
        with pytest.raises(NoSuchClip):
            small.sittings.clip(token, name)


def test_views_hold_no_word_of_what_listeners_must_not_know(room: Room) -> None:
    tokens = [room.invite(f"Secret Name {number}") for number in range(2)]
    texts, keys = [], set()
    for token in tokens:
        view = room.begin(token)
        while view["stage"] != "done":
            texts.append(json.dumps(view))
            keys.add((frozenset(view), frozenset(view.get("trial", {}))))
            if view["stage"] == "break":
                view = room.sittings.begin(token)
            else:
                view = room.sittings.answer(token, given(view, comment="a remark of mine"))
    text = "".join(texts)
    for item in room.study.items:
        assert item.item_id not in text
        assert all(clip.track_id not in text for clip in item.clips)
    for word in ("clap", "mert", "catch", "repeat", "stratum", "score", "Secret Name", "A study",
                 "a remark", *(one.listener_id for one in room.store.invitations()),
                 *(one.sitting_id for one in room.store.sittings("study"))):  # fmt: skip
        assert word not in text
    main = {key for key in keys if "feedback" not in key[0] and "trial" in key[0]}
    assert len(main) == 1  # a catch and a repeat look like any trial


def test_names_of_clips_and_trials_never_come_twice(room: Room) -> None:
    names: list[str] = []
    for number in range(2):
        token = room.invite(f"Listener {number}")
        view = room.begin(token)
        while view["stage"] != "done":
            if view["stage"] == "break":
                view = room.sittings.begin(token)
                continue
            names += [view["trial"]["id"], *_names(view)]
            assert all(clip["url"].startswith(f"{token}/clip/") for clip in view["trial"]["clips"])
            view = room.sittings.answer(token, given(view))
    assert len(names) == len(set(names)) == 2 * 32 * 4


def test_many_listeners_at_once_finish_whole_sittings(tmp_path: Path) -> None:
    room = Room(tmp_path, make_study(trials=5, repeats=0, catches=1, practice=1))
    tokens = [room.invite(f"Listener {number}") for number in range(16)]

    def listen(token: str) -> str:
        return str(room.to_end(token, room.to_trial(token))["stage"])

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(listen, tokens)) == {"done"}
    stored = room.store.judgements("study")
    assert len(stored) == len({item.judgement_id for item in stored}) == 16 * 7
    assert set(Counter(item.sitting_id for item in stored).values()) == {7}


def test_when_a_link_was_last_used_is_known(small: Room) -> None:
    token = small.invite()
    assert small.store.invitations()[0].seen_at == ""
    for minutes in (0, 5, -60):
        small.clock.add(minutes=minutes)
        small.sittings.view(token)
        assert small.store.invitations()[0].seen_at == small.store.now()
    assert whole(small.to_trial(token))
