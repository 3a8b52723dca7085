"""The store: what was acknowledged is there once, what is frozen stays, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kindred.audit.judgement import Heard, Judgement
from kindred.audit.signing import load_secret, make_token, opaque, read_token
from kindred.audit.store import AuditStore, Sitting
from kindred.errors import AuditError, StorageError, StorageUnavailable
from tests.audit.studies import Room, make_item, make_study


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def _sitting(room: Room, listener: str = "Listener 1") -> Sitting:
    room.sittings.view(room.invite(listener))
    return room.store.sittings(room.study.study_id)[-1]


def _judgement(room: Room, sitting: Sitting, position: int = 0, **values: object) -> Judgement:
    plain = Judgement(
        judgement_id=str(uuid.uuid4()),
        study_id=room.study.study_id,
        design_hash=room.study.design_hash,
        sitting_id=sitting.sitting_id,
        listener_id=sitting.listener_id,
        item_id="real-1",
        kind="real",
        position=position,
        order=(1, 0),
        answer={"point": -2},
        comment="Größer, 音楽, 🎹\n; DROP TABLE judgements",
        heard=(Heard(1, 10.0, True), Heard(3, 27.5, True), Heard(1, 9.9, True)),
        seconds=41.25,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


# -- studies -------------------------------------------------------------------------------
def test_a_study_comes_back_as_it_was_and_a_draft_may_be_replaced(tmp_path: Path) -> None:
    store = AuditStore(tmp_path / "audit.db")
    store.put_draft(make_study(form="graded", trials=12))
    draft = make_study(form="odd", trials=10)
    store.put_draft(draft)
    found = AuditStore(tmp_path / "audit.db").study("study")
    assert replace(found, created_at="") == draft
    store.drop_draft("study")
    assert store.studies() == []


def test_an_opened_study_is_never_changed(room: Room) -> None:
    for attempt in (
        lambda: room.store.put_draft(make_study(trials=10)),
        lambda: room.store.open_study("study"),
        lambda: room.store.drop_draft("study"),
        lambda: room.store.put_draft(room.study),
    ):
        with pytest.raises(AuditError):
            attempt()
    assert room.store.study("study") == room.study
    closed = room.store.close_study("study")
    assert (closed.state, closed.design_hash) == ("closed", room.study.design_hash)
    for again in (room.store.close_study, room.store.open_study):
        with pytest.raises(AuditError):
            again("study")


def test_a_design_or_pool_that_cannot_be_a_study_stays_a_draft(tmp_path: Path) -> None:
    store = AuditStore(tmp_path / "audit.db")
    for bad in (make_study(real=19), make_study(trials=0), make_study(overlap=11)):
        store.put_draft(bad)
        with pytest.raises(AuditError):
            store.open_study("study")
        assert store.study("study").state == "draft"
    with pytest.raises(AuditError, match="No listening study"):
        store.open_study("other")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE judgements SET document = '{}'",
        "UPDATE judgements SET revision = 9",
        "DELETE FROM judgements",
        "INSERT OR REPLACE INTO judgements SELECT row, judgement_id, study_id, sitting_id,"
        " position, revision, '{}' FROM judgements",
        "INSERT OR REPLACE INTO judgements (judgement_id, study_id, sitting_id, position, revision,"
        " document) SELECT 'new', study_id, sitting_id, position, revision, '{}' FROM judgements",
        "UPDATE studies SET document = '{}'",
        "UPDATE studies SET design_hash = 'other'",
        "UPDATE studies SET state = 'draft'",
        "DELETE FROM studies",
        "INSERT OR REPLACE INTO studies VALUES ('study', 'draft', '', '', '', '', '{}')",
    ],
)
def test_sql_from_outside_cannot_change_what_is_kept(room: Room, statement: str) -> None:
    stored = _judgement(room, _sitting(room))
    room.store.append(stored)
    other = sqlite3.connect(room.store.path)
    with pytest.raises(sqlite3.IntegrityError, match="never"), other:
        other.execute(statement)
    other.close()
    assert room.store.judgements("study") == [stored]
    assert room.store.study("study") == room.study


def test_a_study_that_was_tampered_with_is_noticed(room: Room) -> None:
    other = sqlite3.connect(room.store.path)
    values = json.loads(other.execute("SELECT document FROM studies").fetchone()[0])
    values["items"][0]["expected"] = 1
    with other:
        other.execute("DROP TRIGGER studies_freeze")
        other.execute("UPDATE studies SET document = ?", (json.dumps(values),))
    with pytest.raises(StorageError, match="hash"):
        AuditStore(room.store.path).study("study")
    with other:
        other.execute("UPDATE studies SET document = '{\"schema\": 1}'")
    other.close()
    with pytest.raises(StorageError, match="cannot be read"):
        AuditStore(room.store.path).study("study")


# -- the file ------------------------------------------------------------------------------
def test_another_schema_and_another_file_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    AuditStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(AuditError, match="schema 7"):
        AuditStore(path)
    wrong = tmp_path / "text.db"
    wrong.write_text("This is no database. " * 100)
    with pytest.raises(StorageError, match="no database"):
        AuditStore(wrong)


def test_many_processes_and_threads_may_make_the_database_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        stores = list(pool.map(lambda _: AuditStore(tmp_path / "audit.db"), range(16)))
    stores[0].put_draft(make_study())
    assert len(stores[-1].studies()) == 1


def test_a_locked_database_is_said_and_nothing_is_stored(room: Room) -> None:
    judgement = _judgement(room, _sitting(room))
    hasty = AuditStore(room.store.path, patience=0.05)
    other = sqlite3.connect(room.store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="try again"):
        hasty.append(judgement)
    assert hasty.judgements("study") == []  # reading goes on meanwhile
    other.execute("ROLLBACK")
    other.close()
    assert hasty.append(judgement)


def test_a_transaction_that_fails_leaves_nothing(room: Room) -> None:
    sitting = _sitting(room)

    def fail() -> None:
        with room.store.transaction():
            room.store.append(_judgement(room, sitting))
            room.store.change_sitting(sitting.sitting_id, back_to=3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert room.store.judgements("study") == []
    assert room.store.sittings("study")[0].back_to is None


# -- judgements ----------------------------------------------------------------------------
def test_a_judgement_comes_back_as_it_was(room: Room) -> None:
    sitting = _sitting(room)
    stored = [_judgement(room, sitting, at) for at in range(3)]
    stored.append(_judgement(room, sitting, 1, revision=1, answer=None))
    assert all(room.store.append(item) for item in stored)
    assert AuditStore(room.store.path).judgements("study") == stored
    assert room.store.judgements_in(sitting.sitting_id) == stored
    assert room.store.judgements("other") == []


def test_the_same_id_counts_once_and_another_content_is_refused(room: Room) -> None:
    sitting = _sitting(room)
    first = _judgement(room, sitting)
    assert room.store.append(first)
    assert not room.store.append(replace(first, answered_at="2031-01-01T00:00:00.000+00:00"))
    for other in (
        replace(first, answer={"point": 2}),
        replace(first, comment="changed"),
        replace(first, position=1),
        replace(first, heard=()),
    ):
        with pytest.raises(AuditError, match="another content"):
            room.store.append(other)
    with pytest.raises(AuditError):  # the same position and revision under another id
        room.store.append(replace(first, judgement_id=str(uuid.uuid4())))
    assert room.store.judgements("study") == [first]


def test_a_judgement_of_no_sitting_or_that_is_no_number_is_refused(room: Room) -> None:
    sitting = _sitting(room)
    with pytest.raises(AuditError):
        room.store.append(_judgement(room, replace(sitting, sitting_id="none")))
    with pytest.raises(ValueError, match="JSON"):
        room.store.append(_judgement(room, sitting, seconds=float("nan")))
    assert room.store.judgements("study") == []


def test_twenty_threads_that_send_one_answer_store_it_once(room: Room) -> None:
    judgement = _judgement(room, _sitting(room))
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(lambda _: room.store.append(judgement), range(20)))
    assert sum(outcomes) == 1
    assert room.store.judgements("study") == [judgement]


def test_two_hundred_listeners_at_once_lose_nothing(room: Room) -> None:
    end = room.clock.time + timedelta(days=1)
    invited = [room.store.invite("study", f"Listener {number}", end) for number in range(200)]
    sittings = [
        Sitting(f"sitting-{at}", "study", one.invitation_id, one.listener_id, b"", {}, "")
        for at, one in enumerate(invited)
    ]
    for sitting in sittings:
        room.store.start_sitting(sitting, ())
    start = threading.Barrier(200)

    def listen(sitting: Sitting) -> list[str]:
        sent = [_judgement(room, sitting, position) for position in range(3)]
        start.wait()
        for judgement in sent:
            assert room.store.append(judgement)
        return [judgement.judgement_id for judgement in sent]

    with ThreadPoolExecutor(200) as pool:
        sent = [name for names in pool.map(listen, sittings) for name in names]
    stored = [item.judgement_id for item in room.store.judgements("study")]
    assert sorted(stored) == sorted(sent)
    assert len(stored) == 600


_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from kindred.audit.store import AuditStore
from kindred.audit.judgement import Judgement

store = AuditStore(Path(sys.argv[1]))
sitting = store.sittings("study")[0]
for number in range(int(sys.argv[2]), 100_000):
    store.append(Judgement(f"id-{number}", "study", "", sitting.sitting_id, "", "real-1", "real",
                           number, (0, 1), {"point": 1}))
    print(number, flush=True)
"""


def test_killed_at_any_moment_what_was_acknowledged_is_stored_once(room: Room) -> None:
    _sitting(room)
    acknowledged = -1
    for lines in (1, 7, 30, 55):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(room.store.path), str(acknowledged + 1)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        assert writer.returncode == -signal.SIGKILL
        stored = [item.position for item in AuditStore(room.store.path).judgements("study")]
        assert stored == sorted(set(stored))
        assert stored[: acknowledged + 1] == list(range(acknowledged + 1))
        assert len(stored) <= acknowledged + 2  # the one whose acknowledgement was cut off
    check = sqlite3.connect(room.store.path)
    assert check.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    check.close()


def test_a_clock_that_goes_back_changes_no_order(room: Room) -> None:
    sitting = _sitting(room)
    for position in range(4):
        room.store.append(_judgement(room, sitting, position, answered_at=room.store.now()))
        room.clock.add(hours=-5)
    found = room.store.judgements("study")
    assert [item.position for item in found] == [0, 1, 2, 3]
    assert found[0].answered_at > found[-1].answered_at


# -- invitations ---------------------------------------------------------------------------
def test_invitations_carry_a_pseudonym_for_each_listener(room: Room) -> None:
    end = room.clock.time + timedelta(days=1)
    one, again = (room.store.invite("study", name, end) for name in ("Ada  B.", " Ada B. "))
    other = room.store.invite("study", "Bert", end)
    assert one.listener == again.listener == "Ada B."
    assert one.listener_id == again.listener_id != other.listener_id
    assert len({one.invitation_id, again.invitation_id, other.invitation_id}) == 3
    assert room.store.invitations("study") == [one, again, other] == room.store.invitations()
    assert room.store.invitations("other") == []
    revoked = room.store.revoke(again.invitation_id)
    assert revoked.revoked_at
    assert room.store.revoke(again.invitation_id) == revoked
    assert room.store.invitation("none") is None


@pytest.mark.parametrize(
    ("listener", "end"),
    [
        ("", timedelta(days=1)),
        (" \n ", timedelta(days=1)),
        ("x" * 201, timedelta(days=1)),
        ("Late", timedelta(0)),
        ("Past", timedelta(days=-1)),
        ("Naive", None),
    ],
)
def test_an_invitation_that_cannot_be_is_refused(
    room: Room, listener: str, end: timedelta | None
) -> None:
    when = datetime(2030, 1, 1) if end is None else room.clock.time + end
    with pytest.raises(AuditError):
        room.store.invite("study", listener, when)
    assert room.store.invitations() == []


def test_nobody_is_invited_to_a_draft_a_closed_study_or_none(room: Room) -> None:
    end = room.clock.time + timedelta(days=1)
    room.store.put_draft(make_study(study_id="draft"))
    room.store.close_study("study")
    for study_id in ("draft", "study", "none"):
        with pytest.raises(AuditError):
            room.store.invite(study_id, "Ada", end)
    with pytest.raises(AuditError):
        room.store.revoke("none")


# -- the secret ----------------------------------------------------------------------------
def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "secret"
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: load_secret(path), range(32)))
    assert len(found) == 1
    assert len(found.pop()) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["secret"]
    path.chmod(0o644)
    load_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_or_damaged_secret_is_an_error_never_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(AuditError, match="backup"):
        load_secret(path, make=False)
    assert not path.exists()
    for content in (b"", b"short", bytes(33)):
        path.write_bytes(content)
        with pytest.raises(AuditError, match="damaged"):
            load_secret(path)
        assert path.read_bytes() == content
    path.unlink()
    path.mkdir()
    with pytest.raises(AuditError):
        load_secret(path)


def test_only_a_token_as_it_was_made_is_read() -> None:
    secret, other = bytes(32), bytes(range(32))
    token = make_token(secret, "invitation")
    assert read_token(secret, token) == "invitation"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forged = [
        token[:at] + letter + token[at + 1 :] for at in range(len(token)) for letter in "Ax_."
    ]
    last = [token[:-1] + letter for letter in letters]  # base64's unused bits
    for text in {*forged, *last, make_token(other, "invitation"), token + "=", f" {token}"} - {
        token
    }:
        assert read_token(secret, text) is None
    for text in ("", ".", "a.b", "é", "\ud800", "x" * 10_000, "\0", "IjEi", '"1".'):
        assert read_token(secret, text) is None


def test_opaque_names_differ_and_tell_nothing() -> None:
    secret = bytes(32)
    names = {opaque(secret, "clip", "a", at, slot) for at in range(50) for slot in ("a", "b")}
    assert len(names) == 100
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
    assert opaque(secret, "ab", "c") != opaque(secret, "a", "bc")


def test_an_item_made_for_one_form_is_not_taken_for_another(tmp_path: Path) -> None:
    store = AuditStore(tmp_path / "audit.db")
    study = make_study()
    store.put_draft(replace(study, items=(*study.items, make_item("x", "real", form="graded"))))
    with pytest.raises(AuditError, match="5 candidates"):
        store.open_study("study")
