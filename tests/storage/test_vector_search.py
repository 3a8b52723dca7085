"""Upkeep of snapshots and indexes, against a database that remembers what changed when."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from kindred.storage import ivf, snapshot, vectors
from kindred.storage.vector_search import VectorSearch

DIMS = 16


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.normal(size=(n, DIMS))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Database:
    """Vectors in memory, and the version at which each track was last put or removed."""

    version: int = 0
    tracks: dict[str, np.ndarray] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    read_whole: int = 0

    def put(self, tracks: dict[str, np.ndarray | None]) -> None:
        self.version += 1
        for key, vector in tracks.items():
            self.tracks.pop(key, None)
            if vector is not None:
                self.tracks[key] = vector
            self.changed[key] = self.version

    def count(self) -> int:
        return len(self.tracks)

    def all(self) -> Iterable[tuple[str, bytes]]:
        self.read_whole += 1
        return [(key, self.tracks[key].tobytes()) for key in sorted(self.tracks)]

    def since(self, version: int) -> Iterable[tuple[str, bytes | None]]:
        return [
            (key, self.tracks[key].tobytes() if key in self.tracks else None)
            for key, at in self.changed.items()
            if at > version
        ]


def filled(count: int) -> Database:
    rows = unit(np.random.default_rng(0), count)
    database = Database()
    database.put({f"t{at:05d}": row for at, row in enumerate(rows)})
    return database


def scored(database: Database, query: np.ndarray) -> dict[str, float]:
    wide = query.astype(float)
    return {
        key: min(1.0, float((row.astype(float) * wide).sum()))
        for key, row in database.tracks.items()
    }


def ask(search: VectorSearch, database: Database, query: np.ndarray) -> tuple[list[str], str]:
    """The top 5 and the index; every score is checked."""
    now = search.snapshot("space", DIMS, database)
    assert now.version == database.version
    rows, found, name = search.search(now, query, 5)
    scores = scored(database, query)
    for hit in now.hits(rows, found):
        assert hit.similarity == pytest.approx(scores[hit.track_id], abs=1e-12)
    return now.ids_of(rows), name


def truth(database: Database, query: np.ndarray) -> list[str]:
    scores = scored(database, query)
    return sorted(scores, key=lambda key: (-scores[key], key))[:5]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MIN_CHANGES", 20)


@pytest.mark.usefixtures("often")
def test_two_readers_follow_every_change_and_the_database_is_read_whole_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    database = filled(200)
    readers = [VectorSearch(tmp_path, ann_threshold=10**9) for _ in range(2)]
    bases = set()
    for step in range(60):
        keys = [f"t{at:05d}" for at in rng.integers(0, 260, 3)]
        database.put({key: None if rng.random() < 0.4 else unit(rng, 1)[0] for key in keys})
        query = unit(rng, 1)[0]
        for reader in readers if step % 3 else readers[:1]:  # one falls behind at times
            assert ask(reader, database, query) == (truth(database, query), "exact")
        if step % 10 == 9:
            readers[step % 2].wait()
        bases |= {path.stem for path in (tmp_path / "space").glob("*.json")}
    assert len(bases) > 3  # new bases were written meanwhile, from the old ones
    assert database.read_whole == 1
    readers.append(VectorSearch(tmp_path, ann_threshold=10**9))
    for reader in readers:
        reader.wait()
    monkeypatch.setattr(snapshot, "MIN_CHANGES", 10**9)
    database.put({"last": query})
    for reader in readers:  # all have come to the base that one of them wrote
        assert ask(reader, database, query)[0] == truth(database, query)
        base = reader.snapshot("space", DIMS, database).base
        assert base.version == max(int(path.stem) for path in base.path.parent.glob("*.json"))
    assert database.read_whole == 1


@pytest.mark.usefixtures("often")
def test_the_index_is_built_once_serves_through_changes_and_comes_with_the_next_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, rng = filled(2_000), np.random.default_rng(2)
    search = VectorSearch(tmp_path, ann_threshold=1_000)
    query = unit(rng, 1)[0]
    built = []
    build = ivf.build
    monkeypatch.setattr(ivf, "build", lambda made: [built.append(made.version), build(made)])
    assert ask(search, database, query) == (
        truth(database, query),
        "exact (the index is being built)",
    )
    search.wait()
    assert ask(search, database, query)[1] == ivf.NAME
    for number in range(20):  # at the very query: must be found at once
        database.put({f"n{number:02d}": query, f"t{number:05d}": None})
        found, name = ask(search, database, query)
        assert found[0] == "n00"
        assert name == ivf.NAME
        assert f"t{number:05d}" not in found
    search.wait()
    assert built == [1]
    database.put({"one more": query})
    assert ask(search, database, query)[1] == ivf.NAME  # the old index, while the new is built
    search.wait()
    assert built == [1, database.version]
    other = VectorSearch(tmp_path, ann_threshold=1_000)  # opens what the first has built
    for reader in (search, other):
        now = reader.snapshot("space", DIMS, database)
        assert now.base.version == database.version
        assert not now.changes
        found, name = ask(reader, database, query)
        assert found == ["n00", "n01", "n02", "n03", "n04"]
        assert name == ivf.NAME
    assert built == [1, database.version]
    assert {path.suffix for path in (tmp_path / "space").iterdir()} == {
        ".f32", ".json", ".faiss", ".lock"
    }  # fmt: skip


def test_a_filter_that_leaves_few_is_answered_exactly(tmp_path: Path) -> None:
    database, search = filled(2_000), VectorSearch(tmp_path, ann_threshold=1_000)
    query = unit(np.random.default_rng(3), 1)[0]
    ask(search, database, query)
    search.wait()
    now = search.snapshot("space", DIMS, database)
    for left, expected in ((999, "exact (the filter leaves few)"), (1_000, ivf.NAME)):
        allowed = np.arange(2_000) < left
        rows, _, name = search.search(now, query, 5, allowed=allowed)
        assert name == expected
        assert rows.max() < left


def test_an_index_that_cannot_be_built_is_said_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def fail(made: vectors.Snapshot) -> None:
        tried.append(made)
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(ivf, "build", fail)
    database, search = filled(50), VectorSearch(tmp_path, ann_threshold=10)
    query = unit(np.random.default_rng(4), 1)[0]
    with caplog.at_level(logging.WARNING):
        ask(search, database, query)
        search.wait()
    assert "No space left on device" in caplog.text
    for _ in range(3):
        assert ask(search, database, query) == (
            truth(database, query),
            "exact (the index could not be built: No space left on device)",
        )
        search.wait()
    assert len(tried) == 1


@pytest.mark.usefixtures("often")
def test_a_base_that_cannot_be_renewed_leaves_answers_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database, search = filled(50), VectorSearch(tmp_path, ann_threshold=10**9)
    query = unit(np.random.default_rng(4), 1)[0]
    ask(search, database, query)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors, "write_snapshot", full)
    for number in range(60):
        database.put({f"n{number}": unit(np.random.default_rng(number), 1)[0]})
        assert ask(search, database, query) == (truth(database, query), "exact")
        search.wait()
    assert caplog.text.count("No space left on device") == 1


def test_vectors_of_another_past_are_not_believed(tmp_path: Path) -> None:
    """A library that was put back from a copy meets the vectors of what came after the copy."""
    later = filled(30)
    for number in range(5):
        later.put({f"later{number}": unit(np.random.default_rng(number), 1)[0]})
    query = later.tracks["later3"]
    assert ask(VectorSearch(tmp_path, ann_threshold=10**9), later, query)[0][0] == "later3"
    put_back = filled(30)
    for number in range(9):
        put_back.put({f"t{number:05d}": None})
    assert ask(VectorSearch(tmp_path, ann_threshold=10**9), put_back, query)[0] == truth(
        put_back, query
    )
    assert put_back.read_whole == 1


@pytest.mark.parametrize("gone", ["everything", "the base", "the marker", "the index"])
def test_what_is_removed_under_a_reader_comes_back(tmp_path: Path, gone: str) -> None:
    database, search = filled(500), VectorSearch(tmp_path, ann_threshold=100)
    query = unit(np.random.default_rng(6), 1)[0]
    ask(search, database, query)
    search.wait()
    folder = tmp_path / "space"
    if gone == "everything":
        shutil.rmtree(folder)
    for path in folder.glob({"the base": "*.f32", "the marker": "*.json"}.get(gone, "*.faiss")):
        path.unlink()
    for reader in (search, VectorSearch(tmp_path, ann_threshold=100)):
        for _ in range(3):
            database.put({"new": query})
            assert ask(reader, database, query)[0][0] == "new"
            reader.wait()
        assert ask(reader, database, query)[1] == ivf.NAME
