"""What only the local backend promises: crash safety, moving, many readers, the FAISS index."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from kindred.errors import StorageError
from kindred.storage import ivf, vectors
from kindred.storage.local import LocalBackend
from kindred.storage.records import KINDS, Embedding, FileRecord, Track, TrackFilter
from tests.contracts.test_storage_backend import SPACE, fill, unit


def test_a_library_can_be_moved(home: Path, tmp_path: Path) -> None:
    store = LocalBackend(home)
    fill(store, 3)
    source = tmp_path / "a.wav"
    source.write_bytes(b"audio")
    key = store.upload_audio("abc", source, suffix=".wav")
    store.put_files([FileRecord(key, 5, 1, "abc", "t01")])
    store.close()
    moved = LocalBackend(Path(shutil.move(home, tmp_path / "elsewhere")))
    assert moved.audio_path("t01").read_bytes() == b"audio"
    assert moved.audio_path("t01").is_relative_to(tmp_path / "elsewhere")
    moved.close()


def test_a_newer_schema_is_refused(home: Path) -> None:
    LocalBackend(home).close()
    with sqlite3.connect(home / "library.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="newer Kindred"):
        LocalBackend(home)


@pytest.mark.parametrize("spoil", ["file in the way", "not a database"])
def test_a_folder_that_cannot_be_used_is_said(home: Path, spoil: str) -> None:
    if spoil == "file in the way":
        home.write_text("I am a file")
    else:
        home.mkdir()
        (home / "library.db").write_bytes(b"this is no database " * 100)
    with pytest.raises(StorageError, match="KINDRED_HOME"):
        LocalBackend(home)


@pytest.mark.parametrize("damage", ["cut short", "ids removed", "ids garbled", "all removed"])
def test_a_damaged_snapshot_is_built_again(home: Path, damage: str) -> None:
    store = LocalBackend(home)
    expected = fill(store)
    folder = store.snapshot(SPACE).path.parent
    store.close()
    for path in folder.iterdir():
        if damage == "cut short" and path.suffix == ".f32":
            path.write_bytes(path.read_bytes()[:40])
        if damage == "ids removed" and path.suffix == ".json":
            path.unlink()
        if damage == "ids garbled" and path.suffix == ".json":
            path.write_text("{")
        if damage == "all removed":
            path.unlink()
    store = LocalBackend(home)
    np.testing.assert_array_equal(store.snapshot(SPACE).matrix, expected)
    store.close()


def test_a_change_writes_no_new_base(home: Path) -> None:
    store = LocalBackend(home)
    expected = fill(store)
    held = store.snapshot(SPACE)
    before = {path.name: path.stat().st_mtime_ns for path in held.path.parent.iterdir()}
    store.delete_tracks(["t00"])
    fresh = store.snapshot(SPACE)
    assert {path.name: path.stat().st_mtime_ns for path in fresh.path.parent.iterdir()} == before
    assert len(fresh) == 39
    np.testing.assert_array_equal(fresh.matrix, expected[1:])
    np.testing.assert_array_equal(held.matrix, expected)  # as it was for whoever holds it
    store.close()


def test_a_batch_that_fails_leaves_no_snapshot_of_what_it_wrote(home: Path) -> None:
    store = LocalBackend(home)
    fill(store)
    assert len(store.snapshot(SPACE)) == 40

    def fails() -> None:
        with store.batch():
            store.delete_tracks(["t00", "t01"])
            assert len(store.snapshot(SPACE)) == 40  # as it was before the batch
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fails()
    assert len(store.snapshot(SPACE)) == 40
    store.delete_tracks(["t05"])
    assert len(store.snapshot(SPACE)) == 39
    store.close()


def test_a_library_of_schema_2_is_taken_over(home: Path) -> None:
    """Its tracks, vectors and settings get digests, and filters find them."""
    store = LocalBackend(home)
    fill(store)
    store.put_setting("encoder", "clap")
    kept = {kind: store.entries(kind) for kind in KINDS}
    store.close()
    with sqlite3.connect(home / "library.db") as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE sql NOTNULL")]
        for name in names:
            if name.startswith(("tracks_", "embeddings_seq")) and name != "tracks_hash":
                db.execute(f"DROP INDEX {name}")
        for table in ("ledger", "documents", "removed_embeddings", "lost"):
            db.execute(f"DROP TABLE {table}")
        for name in ("composer", "artist", "album", "genre", "work"):
            db.execute(f"ALTER TABLE tracks DROP COLUMN {name}_fold")
        db.execute("ALTER TABLE embeddings DROP COLUMN seq")
        db.execute("DELETE FROM meta WHERE key = 'library_id'")
        db.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        db.execute("INSERT INTO settings VALUES ('encoder', 'clap')")
        db.execute("PRAGMA user_version = 2")
    db.close()
    store = LocalBackend(home)
    for kind in KINDS:
        found = store.entries(kind)
        assert {key: entry.digest for key, entry in found.items()} == {
            key: entry.digest for key, entry in kept[kind].items()
        }
    assert store.get_setting("encoder") == "clap"
    assert len(store.list_tracks(TrackFilter(composers=("COMPOSER 1",)))) == 10
    query = unit(np.random.default_rng(0), 1)[0]
    assert len(store.search_embeddings(SPACE, query, k=50)[0]) == 40
    assert len(store.library_id()) == 32
    store.close()


def _write_for_ever(home: str) -> None:
    store = LocalBackend(Path(home))
    for number in range(100_000):
        vector = unit(np.random.default_rng(number), 1)[0]
        with store.batch():
            store.put_tracks([Track(f"w{number:06d}")])
            store.put_embeddings(SPACE, [Embedding(f"w{number:06d}", "h", vector, vector[None])])


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_tracks_and_readers_go_on(home: Path) -> None:
    reader = LocalBackend(home)
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        writer = context.Process(target=_write_for_ever, args=(str(home),))
        writer.start()
        before = reader.count_tracks()
        deadline = time.monotonic() + 30
        while reader.count_tracks() < before + 5 and time.monotonic() < deadline:
            reader.search_embeddings(SPACE, unit(np.random.default_rng(0), 1)[0], k=3)
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        tracks = {track.track_id for track in reader.list_tracks()}
        assert tracks == set(reader.embedded_hashes(SPACE))
        assert len(tracks) >= before + 5
    reader.close()


def clustered(n: int, dims: int = 32) -> np.ndarray:
    rng = np.random.default_rng(5)
    centres = unit(rng, 50, dims)
    points = centres[rng.integers(0, 50, n)] + 0.1 * rng.normal(size=(n, dims))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_exact_search_agrees_with_a_full_sort() -> None:
    matrix = clustered(3_000)
    rng = np.random.default_rng(1)
    for query in matrix[:20]:
        allowed = rng.random(len(matrix)) < rng.choice([0.01, 0.5])
        rows, scores = vectors.top_rows(matrix, query, 10, allowed=allowed)
        exact = (matrix.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        exact[~allowed] = -2
        expected = np.lexsort((np.arange(len(matrix)), -exact))[:10]
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(scores, np.clip(exact[expected], -1, 1), atol=1e-12)


def test_the_index_answers_above_the_threshold_and_agrees_with_exact_search(home: Path) -> None:
    matrix = clustered(3_000)
    space = SPACE.__class__("m", "1", 8000, 1.0, 1.0, "mean", 32)
    store = LocalBackend(home, ann_threshold=1_000)
    ids = [f"t{row:05d}" for row in range(len(matrix))]
    store.put_tracks(
        Track(track_id, genre="rare" if track_id < "t00010" else "") for track_id in ids
    )
    store.put_embeddings(
        space, [Embedding(i, "", v, v[None]) for i, v in zip(ids, matrix, strict=True)]
    )
    _, index = store.search_embeddings(space, matrix[0], k=10)
    assert index == "exact (the index is being built)"
    deadline = time.monotonic() + 60
    while index != ivf.NAME and time.monotonic() < deadline:
        time.sleep(0.05)
        _, index = store.search_embeddings(space, matrix[0], k=10)
    assert index == ivf.NAME
    oracle = LocalBackend(home)
    found = 0
    for row in range(100):
        approximate, _ = store.search_embeddings(space, matrix[row], k=10, exclude=[ids[row]])
        exact, _ = oracle.search_embeddings(space, matrix[row], k=10, exclude=[ids[row]])
        assert ids[row] not in {hit.track_id for hit in approximate}
        scores = {hit.track_id: hit.similarity for hit in exact}
        found += sum(hit.track_id in scores for hit in approximate)
        for hit in approximate:  # the scores are exact wherever both have the track
            assert scores.get(hit.track_id, hit.similarity) == hit.similarity
    assert found / 1000 >= 0.95
    rare, index = store.search_embeddings(
        space, matrix[0], k=20, where=TrackFilter(genres=("rare",))
    )
    assert len(rare) == 10
    assert index.startswith("exact")
    reopened = LocalBackend(home, ann_threshold=1_000)  # the index is read, not built again
    assert reopened.search_embeddings(space, matrix[0], k=10)[1] == ivf.NAME
    for opened in (store, oracle, reopened):
        opened.close()
