"""Synchronising after anything at all: random changes, faults and kills, clocks that disagree.

Every version of a row that a user ever wrote is followed. At the end, after one run without
faults, both sides are equal, and each version is what both have, or one that a user had before
their eyes when they replaced or deleted it, or kept among the conflicts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageUnavailable
from kindred.storage import replicate, rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import KINDS, Cover, Document, Embedding, Kind, Track, TrackVectors
from kindred.storage.replicate import Patience
from tests.doubles.faulty import FaultyStore

SPACE = EmbeddingSpace("m", "1", 8000, 1.0, 1.0, "mean", 6)


class Killed(BaseException):
    """Stands for the end of the process."""


class Faulty(FaultyStore):
    """Fails before or after a call, and now and then kills the process."""

    def __init__(self, store: LocalBackend, seed: int) -> None:
        super().__init__(store, seed=seed)
        self.chance = 0.1

    def _check(self) -> None:
        if self._random.random() < 0.02:
            raise Killed

    @contextmanager
    def batch(self) -> Iterator[None]:
        with super().batch():
            yield
        self._check()


@dataclass
class User:
    """Someone who changes rows on one machine, by its clock."""

    store: LocalBackend
    skew: int
    written: dict[tuple[Kind, str], set[str]]
    seen: dict[tuple[Kind, str], set[str]]
    """Versions that a user had before their eyes when they replaced or deleted them."""
    clock: list[int]

    def put(self, key: str, what: int) -> None:
        self.clock[0] += 1
        n = self.clock[0]
        vector = np.random.default_rng(n).normal(size=(2, SPACE.dims))
        vector = (vector / np.linalg.norm(vector, axis=1, keepdims=True)).astype(np.float32)
        exists = bool(self.store.get_tracks([key]))
        if what == 3:
            self._write(Document("runs", key, {"n": n}))
        elif what == 0 or not exists:
            self._write(Track(key, content_hash=f"h{key}", title=str(n)))
        elif what == 1:
            self._write(TrackVectors(SPACE, Embedding(key, "", vector[0], vector[1:])))
        else:
            self._write(Cover(key, str(n).encode(), b""))

    def _write(self, record: Any) -> None:
        kind, key = rows.identity(record)
        self._saw(kind, [key])
        row = rows.make(record, 1_000 * (self.clock[0] // 3) + self.skew)
        self.written.setdefault((kind, key), set()).add(rows.entry(row).digest)
        self.store.write_rows([row])

    def _saw(self, kind: Kind, keys: list[str]) -> None:
        for key, entry in self.store.entries(kind, keys).items():
            self.seen.setdefault((kind, key), set()).add(entry.digest)

    def delete(self, key: str, what: int) -> None:
        if what == 3:
            self._saw("documents", [f"runs/{key}"])
            self.store.delete_document("runs", key)
            return
        for kind in ("tracks", "covers", "embeddings"):
            self._saw(kind, [f"{SPACE.space_id}/{key}" if kind == "embeddings" else key])
        self.store.delete_tracks([key])


@dataclass
class World:
    folder: Path
    skew: int
    written: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = [0]
        self.users = {
            name: User(LocalBackend(self.folder / name), skew, self.written, self.seen, clock)
            for name, skew in (("a", 0), ("b", self.skew))
        }
        self.a, self.b = (self.users[name].store for name in "ab")

    def sync(self, seed: int | None = None, swap: bool = False) -> replicate.Report | None:
        a: Any = self.a if seed is None else Faulty(self.a, seed)
        b: Any = self.b if seed is None else Faulty(self.b, seed + 1)
        patience = Patience(seconds=5, sleep=lambda seconds: None)
        a, b = (b, a) if swap else (a, b)
        try:
            return replicate.synchronise(a, b, home=self.folder, patience=patience)
        except (Killed, StorageUnavailable):
            return None

    def check(self) -> None:
        report = self.sync()
        assert report is not None
        assert not report.refused
        again = self.sync()
        assert again is not None
        assert again.rows == 0
        assert replicate.verify(self.a, self.b).equal
        kept = {
            (item.kind, item.key, item.loser.digest): item for item in replicate.conflicts(self.a)
        }
        for (kind, key), digests in self.written.items():
            final = {item.digest for item in self.a.entries(kind, [key]).values()}
            for digest in digests - final - self.seen.get((kind, key), set()):
                lost = kept[(kind, key, digest)].lost  # KeyError: it vanished
                assert rows.entry(lost).digest == digest
        tracks = {key for key, entry in self.a.entries("tracks").items() if not entry.deleted}
        for kind in ("covers", "embeddings"):
            for key, entry in self.a.entries(kind).items():
                assert entry.deleted or key.rpartition("/")[2] in tracks

    def close(self) -> None:
        self.a.close()
        self.b.close()


keys = st.sampled_from(["k1", "k2", "k3"])
sides = st.sampled_from("ab")
changes = st.one_of(
    st.tuples(st.just("put"), sides, keys, st.integers(0, 3)),
    st.tuples(st.just("put"), sides, keys, st.integers(0, 3)),
    st.tuples(st.just("delete"), sides, keys, st.sampled_from([0, 3])),
    st.tuples(st.just("sync"), st.booleans(), st.none() | st.integers(0, 10**6)),
    st.tuples(st.just("forget")),
)


@pytest.mark.slow
@settings(
    max_examples=100, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.lists(changes, min_size=3, max_size=25), st.sampled_from([0, -5_000, 4_000]))
def test_nothing_vanishes_whatever_happens(steps: list[tuple], skew: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), skew)
        try:
            for step in steps:
                match step:
                    case ("put", side, key, what):
                        world.users[side].put(key, what)
                    case ("delete", side, key, what):
                        world.users[side].delete(key, what)
                    case ("sync", swap, seed):
                        world.sync(seed, swap)
                    case _:
                        for file in (world.folder / "sync").glob("*"):
                            file.unlink()
            world.check()
        finally:
            world.close()


def test_a_deletion_nobody_contradicts_holds_through_faults() -> None:
    for seed in range(12):
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), -5_000)
            for key in ("k1", "k2", "k3"):
                for what in (0, 1, 2, 3):
                    world.users["a"].put(key, what)
            world.sync()
            world.users["b"].delete("k1", 0)
            world.users["a"].delete("k2", 3)
            world.users["a"].put("k3", 0)
            for attempt in range(6):
                world.sync(100 * seed + attempt)
            world.check()
            assert not replicate.conflicts(world.a)
            for store in (world.a, world.b):
                live = {
                    kind: [key for key, e in store.entries(kind).items() if not e.deleted]
                    for kind in KINDS
                }
                assert live["tracks"] == live["covers"] == ["k2", "k3"]
                assert len(live["embeddings"]) == 2
                assert live["documents"] == ["runs/k1", "runs/k3"]
            world.close()


@pytest.mark.slow
def test_what_belongs_to_a_track_that_survives_stays_through_kills() -> None:
    for seed in range(25):
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), 4_000)
            for what in (0, 1, 2):
                world.users["a"].put("k1", what)
            world.sync()
            world.users["a"].delete("k1", 0)
            world.users["b"].put("k1", 0)
            for attempt in range(6):
                world.sync(1_000 * seed + attempt, swap=bool(attempt % 2))
            world.check()
            for kind in ("tracks", "covers", "embeddings"):
                assert len(world.a.read_rows(kind, list(world.a.entries(kind)))) == 1
            world.close()
