"""The cache: bounded, shared, never a reason to fail, and never a way to run code."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
from pathlib import Path

import diskcache
import pytest

from kindred.storage.shared.cache import Cache, PlainDisk

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def cache(folder: Path, size_mb: int = 64) -> Cache:
    return Cache(folder, size_mb=size_mb)


def test_values_come_back_after_a_restart(folder: Path) -> None:
    one = cache(folder)
    values = {"a": b"", "б": b"\0\xff" * 9, "large": os.urandom(300_000)}
    one.put_many(values)
    one.close()
    again = cache(folder)
    assert again.get_many([*values, "none"]) == values
    assert again.get("none") is None
    again.put("a", b"new")
    assert again.get("a") == b"new"
    again.close()


def test_it_is_for_its_owner_alone(folder: Path) -> None:
    cache(folder).put("a", b"1")
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("size", "count"), [(2_000, 1_500), (90_000, 70)])
def test_the_least_recently_used_go_and_the_bound_holds(
    folder: Path, size: int, count: int
) -> None:
    one = cache(folder, size_mb=16)  # 4 MiB are for values
    values = {f"{number}": os.urandom(size) for number in range(count)}
    for key, value in values.items():
        one.put(key, value)
        assert one.get("0") == values["0"]  # in use all the time
    assert one.stats().bytes <= 4 * MIB + 64_000
    assert one.get("1") is None
    last = str(len(values) - 1)
    assert one.get(last) == values[last]
    kept = [key for key in values if one.get(key) is not None]
    assert len(kept) > 1 * MIB // size  # it does not throw away more than it must
    one.close()


def test_one_write_of_more_than_the_bound_keeps_what_fits(folder: Path) -> None:
    one = cache(folder, size_mb=16)
    one.put_many({f"{number}": bytes(2_000) for number in range(5_000)})
    assert one.stats().bytes <= 4 * MIB
    assert one.stats().entries > 500
    one.close()


def test_files_have_their_names_and_a_bound(folder: Path) -> None:
    one = cache(folder, size_mb=16)  # 12 MiB are for files
    paths = []
    for number in range(6):
        name = f"{number}{number}abc.mp3"
        assert one.path(name).name == name
        path = one.put_file(name, bytes([number]) * (3 * MIB))
        assert path == one.path(name)
        os.utime(path, (number, number))
        assert one.file("00abc.mp3") == one.path("00abc.mp3")  # played all the time
        paths.append(path)
    assert [path.is_file() for path in paths] == [True, False, False, True, True, True]
    assert one.file("11abc.mp3") is None
    assert not list(folder.rglob("*.tmp"))
    assert one.stats().bytes <= 16 * MIB


@pytest.mark.parametrize("name", ["../../evil.mp3", "/etc/passwd", "a/b.mp3", ".hidden", ""])
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a file"):
        cache(folder).put_file(name, b"data")


def test_stats_and_clear(folder: Path) -> None:
    one = cache(folder)
    one.put("a", b"12345")
    one.put_file("abcd.wav", bytes(1_000))
    one.get_many(["a", "a", "b"])
    stats = one.stats()
    assert (stats.entries, stats.hits, stats.misses) == (2, 2, 1)
    assert stats.limit == 64 * MIB
    assert 1_000 < stats.bytes < MIB
    assert stats.fault == ""
    one.clear()
    stats = one.stats()
    assert (stats.entries, stats.hits, stats.misses) == (0, 0, 0)
    assert one.get("a") is None
    assert one.file("abcd.wav") is None
    one.put("a", b"again")
    assert one.get("a") == b"again"
    one.close()


# -- damage --------------------------------------------------------------------------------------
def damage(folder: Path, how: str) -> None:
    database = folder / "values" / "cache.db"
    if how == "garbage":
        database.write_bytes(b"this is no database " * 500)
    elif how == "cut short":
        database.write_bytes(database.read_bytes()[: len(database.read_bytes()) // 2])
    elif how == "empty":
        database.write_bytes(b"")
    elif how == "overwritten":
        data = bytearray(database.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        database.write_bytes(data)
    else:
        with sqlite3.connect(database) as db:
            if how == "no table":
                db.execute("DROP TABLE Cache")
            elif how == "no settings":
                db.execute("DELETE FROM Settings")
            elif how == "another value":
                db.execute("UPDATE Cache SET value = x'00112233' WHERE value IS NOT NULL")
            elif how == "text":
                db.execute("UPDATE Cache SET value = 'text' WHERE value IS NOT NULL")
            elif how == "leads out":
                db.execute("UPDATE Cache SET filename = '/etc/hostname', mode = 2")
        db.close()
    for path in (folder / "values").glob("cache.db-*"):
        if how in ("garbage", "cut short", "empty", "overwritten"):
            path.unlink()


DAMAGES = ["garbage", "cut short", "empty", "overwritten", "no table", "no settings"]
DAMAGES += ["another value", "text", "leads out"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_cache_is_begun_anew(folder: Path, how: str) -> None:
    one = cache(folder)
    one.put_many({str(number): os.urandom(3_000) for number in range(100)})
    one.close()
    damage(folder, how)
    again = cache(folder)
    for number in range(100):
        again.get(str(number))
    again.put("new", b"value")
    assert again.get("new") == b"value"
    assert again.stats().fault == ""
    again.close()


@pytest.mark.parametrize("how", ["cut short", "changed", "removed"])
def test_a_damaged_value_is_never_given_back(folder: Path, how: str) -> None:
    one = cache(folder)
    one.put("large", b"x" * 200_000)
    for path in (folder / "values").rglob("*.val"):
        if how == "cut short":
            path.write_bytes(path.read_bytes()[:100_000])
        elif how == "changed":
            path.write_bytes(path.read_bytes()[:-1] + b"y")
        else:
            path.unlink()
    assert one.get("large") is None
    one.put("large", b"z" * 200_000)
    assert one.get("large") == b"z" * 200_000
    one.close()


class Evil:
    """What runs when it is unpickled."""

    def __init__(self, witness: str) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.witness,)


@pytest.mark.parametrize("where", ["value", "key", "file"])
def test_a_pickle_in_the_folder_never_runs(folder: Path, tmp_path: Path, where: str) -> None:
    witness = str(tmp_path / "it ran")
    foreign = diskcache.Cache(str(folder / "values"), eviction_policy="none")
    if where == "key":
        foreign[Evil(witness)] = b"value"
    else:
        foreign["a"] = [Evil(witness), "x" * (100_000 if where == "file" else 1)]
    [*foreign] if where == "key" else foreign["a"]
    os.rmdir(witness)  # as it comes, diskcache runs it
    foreign.close()
    one = cache(folder)
    assert one.get("a") is None
    one.stats()
    one.put_many({str(number): bytes(5_000) for number in range(5_000)})  # evicts
    one.clear()
    assert not os.path.exists(witness)
    one.close()


def test_only_text_and_bytes_go_in(folder: Path) -> None:
    one = cache(folder)
    with pytest.raises(TypeError, match="is text, got tuple"):
        one.put(("a", 1), b"value")  # type: ignore[arg-type]
    disk = PlainDisk(str(folder))
    with pytest.raises(TypeError, match="is bytes, got list"):
        disk.store([1], False)
    one.close()


# -- disks that do not take it -------------------------------------------------------------------
def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    one = cache(tmp_path / "file" / "cache")
    one.put("a", b"1")
    assert one.get("a") is None
    assert one.put_file("abc.mp3", b"data") is None
    assert one.file("abc.mp3") is None
    assert "is off" in one.stats().fault
    one.clear()
    one.close()


def test_a_database_that_cannot_be_written_is_no_reason_to_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cache(folder)
    one.put("a", b"1")

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(diskcache.Cache, "set", full)
    one.put("b", b"2")
    assert "database or disk is full" in one.fault
    monkeypatch.undo()
    assert one.get("a") is None  # left alone for a while
    again = cache(folder)
    assert again.get("a") == b"1"
    assert again.fault == ""
    again.close()


def _fill_with_a_small_limit(folder: str, report: multiprocessing.SimpleQueue) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    one = cache(Path(folder))
    one.put("a", b"1")
    one.get("a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    one.put("large", os.urandom(400_000))
    first = one.fault
    path = one.put_file("abcdef.mp3", os.urandom(400_000))
    report.put((first, path, one.fault, one.get("large")))


def test_a_full_disk_is_no_reason_to_fail(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    report = context.SimpleQueue()
    process = context.Process(target=_fill_with_a_small_limit, args=(str(folder), report))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    first, path, second, value = report.get()
    assert "File too large" in first
    assert path is None
    assert "File too large" in second
    assert value is None
    assert not list(folder.rglob("*.tmp"))
    assert not list(folder.rglob("*.val"))
    one = cache(folder)
    assert one.get("a") == b"1"
    assert one.get("large") is None
    one.close()


# -- together ------------------------------------------------------------------------------------
def _write_and_read(folder: str, number: int) -> None:
    one = cache(Path(folder), 16)
    for turn in range(100):
        key = str(turn % 40)
        value = one.get(key)
        assert value is None or value == key.encode() * 30_000
        one.put(key, key.encode() * 30_000)
        one.put_file(f"{turn % 5}shared.mp3", bytes([turn % 5]) * 50_000)
        if turn == 60 and number == 0:
            one.clear()
    assert one.fault == ""


def test_processes_and_threads_share_it(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_write_and_read, args=(str(folder), number)) for number in range(2)
    ]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            _write_and_read(str(folder), 9)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(4)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert failed == []
    assert cache(folder, 16).stats().bytes <= 16 * MIB


def _write_for_ever(folder: str) -> None:
    one = cache(Path(folder))
    for number in range(1_000_000):
        one.put(str(number % 50), str(number % 50).encode() * 40_000)
        one.put_file(f"{number % 9}f.mp3", bytes([number % 9]) * 100_000)


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_values(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    one = cache(folder)
    for _ in range(3):
        one.clear()
        writer = context.Process(target=_write_for_ever, args=(str(folder),))
        writer.start()
        while one.stats().entries < 20:
            assert writer.is_alive()
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        for number in range(50):
            value = one.get(str(number))
            assert value in (None, str(number).encode() * 40_000)
        for number in range(9):
            path = one.file(f"{number}f.mp3")
            assert path is None or path.read_bytes() == bytes([number]) * 100_000
    one.close()
