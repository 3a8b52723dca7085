"""Snapshots: a base on disk and the changes since are the same as everything written anew."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kindred.errors import StorageError
from kindred.storage import snapshot as snapshots
from kindred.storage import vectors
from kindred.storage.vectors import Snapshot

DIMS = 3
ODD_IDS = [
    "", " ", "'; DROP TABLE tracks; --", '"quoted"', "a", "a\x00", "a\x00b", "a\nb", "a\\b", "A",
    "Ångström", "é", "e\u0301", "\u202eright to left", "Щелкунчик", "くるみ割り人形", "\uffff",
    "🎻", "🎻🎻", "../../etc/passwd", "x" * 5_000, "x" * 5_001, "ж" * 3_000,
]  # fmt: skip
#: Few directions, so that many rows tie.
VECTORS = np.array(
    [[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0.6, 0, 0.8], [-1, 0, 0]], np.float32
)  # fmt: skip


def write(folder: Path, tracks: dict[str, np.ndarray], version: int = 1) -> Snapshot:
    rows = ((key, tracks[key].tobytes()) for key in sorted(tracks))
    return vectors.write_snapshot(folder, version, DIMS, rows)


def rows_of(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    found = np.random.default_rng(seed).normal(size=(count, DIMS))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return {f"t{row:05d}": vector for row, vector in enumerate(found.astype(np.float32))}


def content(snapshot: Snapshot) -> dict[str, list[float]]:
    return dict(zip(snapshot.track_ids, snapshot.matrix.tolist(), strict=True))


def assert_same(one: Snapshot, other: Snapshot) -> None:
    """Every answer is the same, bit by bit."""
    assert len(one) == len(other)
    assert list(one.track_ids) == list(other.track_ids) == sorted(other.track_ids)
    np.testing.assert_array_equal(one.matrix, other.matrix)
    assert list(one.items()) == list(other.items())
    ids = list(other.track_ids)
    every_row = np.arange(len(ids))
    assert one.ids_of(every_row) == ids
    np.testing.assert_array_equal(np.sort(one.find([*ids[::2], "nobody"])), every_row[::2])
    for only, exclude in (
        (None, []),
        (None, ids[:2]),
        (ids[1::2], []),
        (ids[::3], ids[:4]),
        ([], []),
    ):
        allowed, expected = one.mask(only, exclude), other.mask(only, exclude)
        assert (allowed is None) == (expected is None)
        if allowed is not None and expected is not None:
            np.testing.assert_array_equal(allowed, expected)
        for query in (VECTORS[2], -VECTORS[3]):
            for k in (0, 1, 3, len(ids) + 5):
                found = one.hits(*one.search(query, k, allowed=allowed))
                assert found == other.hits(*other.search(query, k, allowed=expected))
                assert found == other.hits(
                    *vectors.top_rows(other.matrix, query, k, allowed=expected)
                )
                assert found == sorted(found, key=lambda hit: (-hit.similarity, hit.track_id))


track_ids = st.one_of(st.sampled_from(ODD_IDS), st.text(st.characters(codec="utf-8"), max_size=3))
vector_rows = st.integers(0, len(VECTORS) - 1)
steps = st.lists(
    st.lists(st.tuples(track_ids, st.one_of(st.none(), vector_rows)), max_size=6), max_size=4
)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.usefixtures("quick_disk")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(first=st.dictionaries(track_ids, vector_rows, max_size=12), changes=steps)
def test_a_base_with_changes_is_the_same_as_one_written_anew(
    tmp_path: Path, first: dict[str, int], changes: list[list[tuple[str, int | None]]]
) -> None:
    tracks = {key: VECTORS[row] for key, row in first.items()}
    now = write(tmp_path / "base", tracks, 1)
    for version, step in enumerate(changes, 2):
        for key, row in step:
            if row is None:
                tracks.pop(key, None)
            else:
                tracks[key] = VECTORS[row]
        changed = {key for key, _ in step}
        now = now.updated(
            version,
            [(key, tracks[key].tobytes() if key in tracks else None) for key in changed],
        )
        assert now.version == version
        assert_same(now, write(tmp_path / "anew", tracks, version))
    # a base written from base and changes is that as well, read from disk
    vectors.write_snapshot(tmp_path / "base", 99, DIMS, now.items())
    reopened = vectors.open_snapshot(tmp_path / "base", 100, DIMS)
    assert reopened is not None
    assert reopened.base.version == 99
    assert_same(reopened, write(tmp_path / "anew", tracks, 98))


def test_changes_told_twice_or_too_many_change_nothing(tmp_path: Path) -> None:
    tracks = rows_of(20)
    base = write(tmp_path, tracks)
    step = [("t00003", None), ("t00004", tracks["t00007"].tobytes()), ("new", bytes(12))]
    once = base.updated(2, step)
    twice = once.updated(3, [*step, ("never there", None), ("t00011", tracks["t00011"].tobytes())])
    assert_same(twice, once)
    assert content(base) == {key: vector.tolist() for key, vector in tracks.items()}


def test_odd_ids_come_back_in_the_order_of_sqlite(tmp_path: Path) -> None:
    import sqlite3

    write(tmp_path, dict.fromkeys(ODD_IDS, VECTORS[0]))
    snapshot = vectors.read_snapshot(tmp_path, 1, DIMS)
    assert snapshot is not None
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
    db.executemany("INSERT INTO t VALUES (?)", [(key,) for key in ODD_IDS])
    in_order = [row[0] for row in db.execute("SELECT id FROM t ORDER BY id")]
    db.close()
    assert list(snapshot.track_ids) == snapshot.track_ids[:] == in_order
    assert [snapshot.track_ids[row] for row in range(-3, 3)] == in_order[-3:] + in_order[:3]
    for row, key in enumerate(in_order):  # one by one, and in a pass over all
        assert snapshot.base.ids.place(key) == (row, True)
        assert snapshot.find([key, "nobody", "\ud800"]).tolist() == [row]
    assert snapshot.base.ids.place("a\x00a") == (in_order.index("a\x00b"), False)
    with pytest.raises(IndexError):
        snapshot.track_ids[len(in_order)]


def test_ids_are_found_by_bisection_and_by_a_pass_over_all(tmp_path: Path) -> None:
    tracks = rows_of(40_000)  # more than one block of ids
    snapshot = write(tmp_path, tracks)
    ids = list(tracks)
    assert list(snapshot.track_ids) == ids
    assert sorted(snapshot.find(ids[5:40_000:9_000])) == list(range(5, 40_000, 9_000))
    assert snapshot.find([*ids[::3], "x"]).tolist() == list(range(0, 40_000, 3))


def test_an_empty_space_and_a_single_row(tmp_path: Path) -> None:
    empty = write(tmp_path / "0", {})
    assert len(empty) == 0
    assert empty.mask(["a"], ["b"]).tolist() == []
    assert empty.hits(*empty.search(VECTORS[0], 5)) == []
    reopened = vectors.read_snapshot(tmp_path / "0", 1, DIMS)
    assert reopened is not None
    grown = reopened.updated(2, [("only", VECTORS[1].tobytes())])
    assert [(hit.track_id, hit.similarity) for hit in grown.hits(*grown.search(VECTORS[1], 5))] == [
        ("only", 1.0)
    ]
    assert len(grown.updated(3, [("only", None)])) == 0
    single = write(tmp_path / "1", {"only": VECTORS[1]})
    assert [hit.track_id for hit in single.hits(*single.search(VECTORS[1], 5))] == ["only"]


def test_blocks_do_not_change_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = write(tmp_path, rows_of(500))
    allowed = np.random.default_rng(1).random(500) < 0.2
    whole = [snapshot.search(VECTORS[2], k, allowed=allowed) for k in (1, 50, 500)]
    monkeypatch.setattr(snapshots, "_BLOCK", 7)
    for k, (rows, scores) in zip((1, 50, 500), whole, strict=True):
        again, same = snapshot.search(VECTORS[2], k, allowed=allowed)
        np.testing.assert_array_equal(again, rows)
        np.testing.assert_array_equal(same, scores)


def test_equal_vectors_tie_by_id_wherever_they_stand() -> None:
    matrix = np.repeat(rows_of(1)["t00000"][None], 1_000, axis=0)
    rows, scores = vectors.top_rows(matrix, matrix[0], 7)
    assert rows.tolist() == list(range(7))
    assert len(set(scores.tolist())) == 1


def test_a_new_base_is_due_after_many_changes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MIN_CHANGES", 3)
    base = write(tmp_path, rows_of(200))
    vector = VECTORS[0].tobytes()
    assert not base.updated(2, [(f"n{at}", vector) for at in range(4)]).is_due
    assert base.updated(2, [(f"n{at}", vector) for at in range(5)]).is_due
    assert base.updated(2, [(f"t{at:05d}", None) for at in range(5)]).is_due


DAMAGES = {
    "vectors cut short": lambda data, marker: data.write_bytes(data.read_bytes()[:-1]),
    "vectors too long": lambda data, marker: data.write_bytes(data.read_bytes() + b"x"),
    "vectors missing": lambda data, marker: data.unlink(),
    "vectors empty": lambda data, marker: data.write_bytes(b""),
    "marker missing": lambda data, marker: marker.unlink(),
    "marker cut short": lambda data, marker: marker.write_text(marker.read_text()[:-3]),
    "marker not UTF-8": lambda data, marker: marker.write_bytes(b"\xff\xfe"),
    "marker of another kind": lambda data, marker: marker.write_text("[1, 2]"),
    "marker of the old format": lambda data, marker: marker.write_text(
        json.dumps({"dims": DIMS, "track_ids": ["a"]})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_base_is_none(tmp_path: Path, damage: str) -> None:
    write(tmp_path, rows_of(30), 4)
    DAMAGES[damage](tmp_path / "4.f32", tmp_path / "4.json")
    assert vectors.read_snapshot(tmp_path, 4, DIMS) is None
    assert vectors.open_snapshot(tmp_path, 9, DIMS) is None
    again = write(tmp_path, rows_of(30), 5)
    assert content(again) == {key: row.tolist() for key, row in rows_of(30).items()}
    assert {path.name for path in tmp_path.iterdir()} == {"5.f32", "5.json"}


def test_a_base_of_other_dimensions_or_of_the_future_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, rows_of(5), 7)
    assert vectors.read_snapshot(tmp_path, 7, DIMS + 1) is None
    assert vectors.open_snapshot(tmp_path, 6, DIMS) is None  # of a library that was put back
    opened = vectors.open_snapshot(tmp_path, 7, DIMS)
    assert opened is not None
    assert opened.version == 7


def test_a_vector_of_the_wrong_length_leaves_the_old_base(tmp_path: Path) -> None:
    write(tmp_path, rows_of(5), 1)
    with pytest.raises(StorageError, match="track bad has 8 bytes, not 12"):
        vectors.write_snapshot(tmp_path, 2, DIMS, [("a", bytes(12)), ("bad", bytes(8))])
    with pytest.raises(StorageError, match="track bad has 0 bytes"):
        write(tmp_path, rows_of(5), 1).updated(2, [("bad", b"")])
    assert {path.name for path in tmp_path.iterdir()} == {"1.f32", "1.json"}


def test_the_index_is_prepared_before_others_see_the_base(tmp_path: Path) -> None:
    old = write(tmp_path, rows_of(5), 1)

    def prepare(snapshot: Snapshot) -> None:
        opened = vectors.open_snapshot(tmp_path, 2, DIMS)
        assert opened is not None
        assert opened.base.version == 1
        (tmp_path / f"{snapshot.base.version}.index").write_text("built")

    vectors.write_snapshot(tmp_path, 2, DIMS, old.items(), prepare=prepare)
    assert {path.name for path in tmp_path.iterdir()} == {"2.f32", "2.json", "2.index"}

    def fail(snapshot: Snapshot) -> None:
        raise RuntimeError("no memory left")

    with pytest.raises(RuntimeError, match="no memory left"):
        vectors.write_snapshot(tmp_path, 3, DIMS, old.items(), prepare=fail)
    opened = vectors.open_snapshot(tmp_path, 3, DIMS)
    assert opened is not None
    assert opened.base.version == 2


def test_what_killed_processes_left_is_swept_after_an_hour(tmp_path: Path) -> None:
    fresh, stale = tmp_path / "1.f32.7.1.tmp", tmp_path / "1.f32.8.1.tmp"
    fresh.write_bytes(b"half")
    stale.write_bytes(b"half")
    os.utime(stale, (1, 1))
    write(tmp_path, rows_of(3), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"2.f32", "2.json", fresh.name}


def _rewrite_for_ever(folder: Path, says: Connection) -> None:
    tracks = rows_of(2_000)
    for version in itertools.count(2):
        now = vectors.open_snapshot(folder, 1 << 40, DIMS)
        if now is None:  # two writers may remove each other's base: then it is written anew
            write(folder, tracks, version)
        else:
            vectors.write_snapshot(folder, max(version, now.version + 1), DIMS, now.items())
        says.send(version)


@pytest.mark.slow
def test_killed_writers_leave_a_whole_base_and_readers_go_on(tmp_path: Path) -> None:
    tracks = rows_of(2_000)
    held = write(tmp_path, tracks)
    expected = content(held)
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        writers = [
            context.Process(target=_rewrite_for_ever, args=(tmp_path, says), daemon=True)
            for _, says in pipes
        ]
        for writer in writers:
            writer.start()
        for hears, _ in pipes * 10:
            assert hears.poll(120)
            hears.recv()
            seen = vectors.open_snapshot(tmp_path, 1 << 40, DIMS)
            assert seen is None or content(seen) == expected
        for writer in writers:
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        last = vectors.open_snapshot(tmp_path, 1 << 40, DIMS) or write(tmp_path, tracks, 1 << 20)
        assert content(last) == expected
    assert content(held) == expected  # long removed, still mapped


def _hold(folder: str, says: Connection) -> None:
    with vectors.alone(Path(folder)) as free:
        says.send(free)
        signal.pause()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[multiprocessing.context.SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    hears, says = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(str(tmp_path / "space"), says), daemon=True)
    process.start()
    assert hears.poll(120)
    assert hears.recv() is True
    yield process
    process.kill()
    process.join()


def test_one_process_builds_at_a_time_and_a_killed_one_frees_the_place(
    tmp_path: Path, holder: multiprocessing.context.SpawnProcess
) -> None:
    folder = tmp_path / "space"
    with vectors.alone(folder) as free:
        assert not free
    write(folder, rows_of(3))  # sweeping leaves the lock
    with vectors.alone(folder) as free:
        assert not free
    assert holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with vectors.alone(folder) as free:
        assert free
        with vectors.alone(folder) as second:
            assert not second
