"""The outbox: nothing lost, nothing doubled, in order, whatever dies and whenever."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import Audio, Document, FileRecord, Row, Track
from kindred.storage.shared.backend import SharedBackend
from kindred.storage.shared.delivery import Delivery
from kindred.storage.shared.outbox import Change, DamagedParcel, Outbox
from tests.doubles.faulty import FaultyStore
from tests.storage.sharing import far_end, machine, note, same, track_rows, values

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def local(home: Path) -> Iterator[LocalBackend]:
    with LocalBackend(home, library="faulty") as backend:
        yield backend


def changes(*given: Row) -> list[Change]:
    return [Change(row) for row in given]


# -- the queue itself ----------------------------------------------------------------------------
def test_what_is_kept_is_applied_here_and_given_in_order(local: LocalBackend) -> None:
    outbox = Outbox(local)
    given = track_rows(1)
    first = outbox.keep(changes(*given))
    second = outbox.keep(
        [Change(rows.make(note(1), 77), only_new=True), Change(rows.tombstone("tracks", "t001"))],
        late=True,
    )
    assert local.count_tracks() == 0
    assert local.get_document("notes", "00001") == note(1)
    again = Outbox(local)
    found = again.next()
    assert [(parcel.number, parcel.late) for parcel in found] == [(first, False), (second, True)]
    assert [rows.entry(change.row) for change in found[0].changes] == [
        rows.entry(row) for row in given
    ]
    assert [c.only_new for c in found[1].changes] == [True, False]
    assert found[1].changes[0].row.updated_at == 77
    assert found[1].changes[1].row.record is None
    assert (again.count(), again.count(late=True)) == (4, 2)
    assert [note.keys for note in again.waiting()][1] == (
        ("documents", "notes/00001"),
        ("tracks", "t001"),
    )
    assert again.holds("documents") == {"notes/00001"}
    assert [parcel.number for parcel in again.next(upto=first)] == [first]
    again.remove([first])
    assert again.is_late()
    again.remove([second])
    assert again.is_empty()
    assert not again.is_late()
    assert outbox.keep(changes(rows.make(note(2)))) > second  # a number is never used twice


def test_a_parcel_is_never_cut_and_a_group_is_bounded(local: LocalBackend) -> None:
    outbox = Outbox(local)
    outbox.keep(changes(*(rows.make(note(number)) for number in range(700))))
    for number in range(700, 1_300):
        outbox.keep(changes(rows.make(note(number))))
    sizes = []
    while parcels := outbox.next():
        sizes.append(sum(len(parcel.changes) for parcel in parcels))
        outbox.remove([parcel.number for parcel in parcels])
    assert sizes == [700, 500, 100]
    outbox.keep(changes(rows.make(Document("a", "1", {"text": "x" * 3_000_000}))))
    outbox.keep(changes(rows.make(Document("a", "2", {"text": "x" * 3_000_000}))))
    assert len(outbox.next()) == 1


def test_kept_audio_is_not_copied_and_its_file_is_what_is_sent(local: LocalBackend) -> None:
    outbox = Outbox(local)
    number = outbox.keep(changes(rows.make(Audio("abcd", ".mp3", b"x" * 1_000_000), 5)))
    assert local.database.stat().st_size < 500_000
    (parcel,) = outbox.next()
    record = parcel.changes[0].row.record
    assert isinstance(record, Audio)
    assert (record.data, parcel.changes[0].row.updated_at) == (b"x" * 1_000_000, 5)
    outbox.keep(changes(rows.tombstone("audio", "abcd.mp3")))  # takes the file with it
    assert [len(parcel.changes) for parcel in outbox.next()] == [0, 1]
    outbox.remove([number])


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_kept_audio_that_went_another_way_is_said(local: LocalBackend, how: str) -> None:
    outbox = Outbox(local)
    outbox.keep(changes(rows.make(Audio("abcd", ".mp3", b"music"))))
    path = local.audio_folder / "ab" / "abcd.mp3"
    path.unlink() if how == "gone" else path.write_bytes(b"noise")
    with pytest.raises(DamagedParcel, match=r"audio abcd\.mp3 is gone or changed"):
        outbox.next()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE outbox_rows SET body = CAST(substr(body, 1, 20) || x'00' AS BLOB)",
        "UPDATE outbox_rows SET body = zeroblob(length(body))",
        "UPDATE outbox_rows SET body = NULL",
        "UPDATE outbox_rows SET key = 'notes/00002'",
        "UPDATE outbox_rows SET digest = ''",
        "UPDATE outbox_rows SET updated_at = updated_at + 1",
        "UPDATE outbox_rows SET only_new = 1",
        "DELETE FROM outbox_rows WHERE position = 1",
    ],
)
def test_a_damaged_parcel_is_an_error_and_never_a_shorter_list(
    local: LocalBackend, statement: str
) -> None:
    outbox = Outbox(local)
    outbox.keep(changes(rows.make(note(1)), rows.make(note(3))))
    local._db.execute(statement)
    with pytest.raises(DamagedParcel, match="damaged"):
        outbox.next()
    assert len(outbox.waiting()) == 1


def test_a_damaged_parcel_is_set_aside_and_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    shared, line = machine(tmp_path)
    shared.refresh()
    line.go_away()
    for number in range(3):
        shared.put_document(note(number, 7))
    shared.local._db.execute("UPDATE outbox_rows SET checksum = x'00' WHERE key = 'notes/00001'")
    line.come_back()
    shared.deliver()
    assert values(line.inner) == {"00000": 7, "00002": 7}
    (refused,) = shared.refused()
    assert refused.keys == (("documents", "notes/00001"),)
    assert "documents notes/00001 is not what was kept" in refused.reason
    assert "not what was kept" in shared.status().notice
    with pytest.raises(StorageError, match="not what was kept"):
        shared.retry_refused(refused.number)
    shared.close()


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    shared, line = machine(tmp_path)
    line.go_away()
    with shared.batch():
        for number in range(2_000):
            shared.put_document(note(number))
    database = shared.local.database
    shared.close()
    data = bytearray(database.read_bytes())
    data[4096 * 3 :] = random.Random(0).randbytes(len(data) - 4096 * 3)
    database.write_bytes(data)
    with pytest.raises(StorageError, match=r"faulty\.db"):
        machine(tmp_path)[0].deliver()


# -- full disks ----------------------------------------------------------------------------------
def _write_until_full(folder: str, pipe: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    shared, line = machine(Path(folder))
    line.go_away()
    shared.put_document(note(0, 1))
    limit = 2_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    kept = [0]
    for number in range(1, 2_000):
        try:
            with shared.batch():
                shared.put_document(note(number, 1))
                shared.put_files([FileRecord(f"/{number}", 1, 1, "h", f"t{number}")])
                shared.put_document(Document("text", f"{number}", {"text": "x" * 5_000}))
        except StorageError as error:
            pipe.send((kept, str(error)))
            break
        kept.append(number)
    os._exit(0)


def test_a_full_disk_is_a_clear_error_and_loses_nothing_kept_before(tmp_path: Path) -> None:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_write_until_full, args=(str(tmp_path), there))
    process.start()
    assert here.poll(60)
    kept, message = here.recv()
    process.join(60)
    assert "nothing of this change was kept" in message
    assert len(kept) > 5
    shared, line = machine(tmp_path)
    assert [int(item.path[1:]) for item in shared.list_files()] == kept[1:]
    shared.deliver()
    assert values(line.inner) == {f"{number:05d}": 1 for number in kept}
    assert len(line.inner.list_documents("text")) == len(kept) - 1
    shared.close()


@pytest.mark.parametrize("where", ["INSERT INTO outbox (", "INSERT INTO outbox_rows", "COMMIT"])
def test_a_write_that_cannot_be_kept_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    shared, line = machine(tmp_path)
    shared.put_document(note(1, 1))

    class Full(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement.startswith(where) and failing:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *values)

        def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement.startswith(where) and failing:
                raise sqlite3.OperationalError("database or disk is full")
            return super().executemany(statement, *values)

    failing = False
    shared.local.close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, **o, factory=Full))
    assert shared.get_setting("a") == ""
    shared.local.count_tracks()
    failing = True
    with pytest.raises(StorageError, match="disk is full"):
        shared.put_document(note(1, 2))
    with pytest.raises(StorageError, match="disk is full"), shared.batch():
        shared.put_document(note(2, 2))
    failing = False
    assert shared.waiting() == []
    assert values(shared.local) == values(line.inner) == {"00001": 1}
    shared.put_document(note(1, 3))
    assert values(line.inner) == {"00001": 3}
    shared.close()


# -- kill -9 -------------------------------------------------------------------------------------
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, *, times: int = 1) -> None:
    """Die when a method is called."""
    count = iter(range(times))

    def deadly(*given: Any, **options: Any) -> Any:
        if next(count, None) == times - 1:
            die()
        return method(*given, **options)

    method = getattr(owner, name)
    setattr(owner, name, deadly)


def after(owner: Any, name: str) -> None:
    """Die when a method has done its work."""

    def deadly(*given: Any, **options: Any) -> Any:
        method(*given, **options)
        die()

    method = getattr(owner, name)
    setattr(owner, name, deadly)


def after_block(owner: Any, name: str) -> None:
    """Die when a context has ended."""

    @contextmanager
    def deadly() -> Iterator[None]:
        with method():
            yield
        die()

    method = getattr(owner, name)
    setattr(owner, name, deadly)


STEPS: dict[str, Callable[[SharedBackend, FaultyStore], None]] = {
    "before it is kept": lambda shared, line: before(shared._outbox, "keep"),
    "while it is applied here": lambda shared, line: after(shared.local, "write_rows"),
    "kept, before the end of the transaction": lambda shared, line: after(shared._outbox, "keep"),
    "kept": lambda shared, line: before(shared._delivery, "deliver"),
    "before it arrives": lambda shared, line: before(line, "batch"),
    "while it is applied there": lambda shared, line: after(line.inner, "write_rows"),
    "applied there": lambda shared, line: after_block(line, "batch"),
    "confirmed": lambda shared, line: before(shared._outbox, "remove"),
    "while it is taken out": lambda shared, line: after(shared._outbox, "remove"),
    "taken out": lambda shared, line: after(shared._delivery, "deliver"),
}
#: Where the write may be lost, as its caller has not been told that it was done.
MAY_BE_LOST = list(STEPS)[:3]


def _die_at(folder: str, step: str, in_batch: bool) -> None:
    shared, line = machine(Path(folder))
    shared.version()
    if not in_batch and step == "kept, before the end of the transaction":
        step = "while it is applied here"
    STEPS[step](shared, line)
    if in_batch:
        with shared.batch():
            shared.put_tracks([Track("t001", title="New", content_hash="hash1")])
            shared.write_rows(track_rows(2, "Two"))
            shared.put_files([FileRecord("/a.mp3", 1, 1, "hash1", "t001")])
    else:
        shared.write_rows([*track_rows(1, "New"), *track_rows(2, "Two")])


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("step", list(STEPS))
def test_killed_at_any_step_nothing_is_lost_or_doubled(
    tmp_path: Path, step: str, in_batch: bool
) -> None:
    shared, _ = machine(tmp_path)
    shared.write_rows(track_rows(1, "Old"))
    shared.refresh()
    shared.close()
    process = SPAWN.Process(target=_die_at, args=(str(tmp_path), step, in_batch))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    shared, line = machine(tmp_path)
    shared.deliver()
    titles = [track.title for track in line.inner.list_tracks()]
    assert titles == (["Old"] if step in MAY_BE_LOST else ["New", "Two"])
    assert [track.title for track in shared.list_tracks()] == titles
    assert [item.path for item in shared.list_files()] == (
        ["/a.mp3"] if in_batch and len(titles) == 2 else []
    )
    assert same(shared.local, line.inner)
    assert shared.waiting() == shared.refused() == []
    version = line.inner.version()
    shared.refresh()
    assert line.inner.version() == version
    assert same(shared.local, line.inner)
    shared.close()


def _count_up(folder: str, seed: int, pipe: Connection) -> None:
    """Write for ever over a bad line, and tell what was written once the call has returned."""
    shared, line = machine(Path(folder), background=bool(seed % 2), patience=0.2)
    start = max([int(key) for key in values(shared.local)], default=0)
    shared.version()
    line.chance = 0.3
    for number in range(start + 1, start + 100_000):
        with shared.batch():
            shared.put_document(note(0, number))  # the same row every time
            shared.put_document(note(number, number))
            shared.put_files([FileRecord(f"/{number}", 1, number, "h", "t")])
        pipe.send(number)


@pytest.mark.slow
def test_killed_at_random_over_a_bad_line_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    machine(tmp_path)[0].close()
    acknowledged = 0
    for seed in range(4):
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=_count_up, args=(str(tmp_path), seed, there))
        process.start()
        wanted = acknowledged + random.Random(seed).randint(5, 40)
        while acknowledged < wanted:
            assert here.poll(60)
            acknowledged = here.recv()
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while here.poll():
            try:
                acknowledged = here.recv()
            except EOFError:
                break
    shared, line = machine(tmp_path)
    shared.deliver()
    found = values(line.inner)
    last = found.pop("00000")
    assert last >= acknowledged
    assert found == {f"{number:05d}": number for number in range(1, last + 1)}
    assert sorted(item.mtime_ns for item in shared.list_files()) == list(range(1, last + 1))
    assert line.inner.list_documents("conflicts") == []
    assert same(shared.local, line.inner)
    shared.close()


# -- several at once -----------------------------------------------------------------------------
def _deliver_all(folder: str, pipe: Connection) -> None:
    shared, line = machine(Path(folder))
    pipe.send("ready")
    pipe.recv()
    while shared.waiting():
        with contextlib.suppress(StorageUnavailable):
            shared.deliver()
    pipe.send([int(key.split("/")[1]) for sent in line.written for _, key in sent])


def test_two_processes_deliver_at_once_and_each_write_arrives_once(tmp_path: Path) -> None:
    shared, line = machine(tmp_path)
    shared.library_id()
    line.go_away()
    with contextlib.suppress(StorageUnavailable):
        shared.deliver()
    for number in range(60):
        with shared.batch():
            for part in range(20):
                shared.put_document(note(number * 20 + part, number))
    pipes = []
    processes = []
    for _ in range(2):
        here, there = SPAWN.Pipe()
        processes.append(SPAWN.Process(target=_deliver_all, args=(str(tmp_path), there)))
        processes[-1].start()
        pipes.append(here)
    for pipe in pipes:
        assert pipe.poll(60)
        assert pipe.recv() == "ready"
    for pipe in pipes:
        pipe.send("go")
    sent = []
    for pipe in pipes:
        assert pipe.poll(120)
        sent.append(pipe.recv())
    for process in processes:
        process.join(60)
    assert sorted(sent[0] + sent[1]) == list(range(1_200))
    assert sent[0] == sorted(sent[0])
    assert sent[1] == sorted(sent[1])
    assert values(far_end(tmp_path)) == {f"{n:05d}": n // 20 for n in range(1_200)}
    assert shared.waiting() == []
    shared.close()


def test_ten_thousand_waiting_rows(tmp_path: Path) -> None:
    shared, line = machine(tmp_path)
    line.go_away()
    for number in range(0, 9_500, 500):
        with shared.batch():
            for part in range(500):
                shared.put_document(note(number + part, 1))
    for number in range(9_500, 10_000):
        shared.put_document(note(number, 1))
        shared.put_document(note(0, number))
    assert shared.status().waiting == 10_500
    line.come_back()
    line.calls.clear()
    progress: list[tuple[int, int]] = []
    shared.deliver(progress=lambda done, total, _: progress.append((done, total)))
    assert progress[-1] == (10_500, 10_500)
    assert progress == sorted(progress)
    assert line.calls.count("write_rows") <= 25
    found = values(line.inner)
    assert found.pop("00000") == 9_999
    assert found == {f"{number:05d}": 1 for number in range(1, 10_000)}
    assert shared.status().waiting == 0
    shared.close()


def test_delivery_by_another_process_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    one, _ = machine(tmp_path, patience=0.05)
    other, line = machine(tmp_path, patience=0.05)
    with one._delivery._turn(0):
        other.put_document(note(1, 1))  # returns: it waits
        assert other.status().waiting == 1
        with pytest.raises(StorageUnavailable, match="just now"):
            other.deliver()
    assert isinstance(one._delivery, Delivery)
    assert values(line.inner) == {}
    assert other.get_document("notes", "00001") == note(1, 1)  # whoever comes next delivers
    assert values(line.inner) == {"00001": 1}
    one.close()
    other.close()
