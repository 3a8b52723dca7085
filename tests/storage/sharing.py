"""Machines that share a library, kept in a folder that stands for the far end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kindred.storage import rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import KINDS, Document, Embedding, Entry, Row, Track, TrackVectors
from kindred.storage.retry import Breaker
from kindred.storage.shared.backend import SharedBackend
from kindred.storage.shared.cache import Cache
from tests.contracts.test_storage_backend import SPACE, unit
from tests.doubles.faulty import FaultyStore


class Hours:
    """A clock that somebody else moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def far_end(folder: Path) -> LocalBackend:
    """The library itself."""
    return LocalBackend(folder / "far")


def machine(
    folder: Path,
    name: str = "here",
    *,
    background: bool = False,
    size_mb: int = 64,
    clock: Hours | None = None,
    patience: float = 10.0,
) -> tuple[SharedBackend, FaultyStore]:
    """A machine that shares the library of a folder, and the line that leads there."""
    line = FaultyStore(far_end(folder))
    shared = SharedBackend(
        line,
        LocalBackend(folder / name, library="faulty"),
        cache=Cache(folder / f"{name}-cache", size_mb=size_mb),
        breaker=Breaker(clock=clock, attempts=1)
        if clock
        else Breaker(cool_down=0.05, longest=0.2, attempts=1),
        background=background,
        patience=patience,
    )
    return shared, line


def note(number: int, value: int = 0) -> Document:
    """A small document."""
    return Document("notes", f"{number:05d}", {"value": value})


def values(store: LocalBackend | SharedBackend) -> dict[str, int]:
    """What the notes say."""
    return {item.key: item.body["value"] for item in store.list_documents("notes")}


def track_rows(number: int, title: str = "") -> list[Row]:
    """A track and its vectors."""
    track_id = f"t{number:03d}"
    vector = unit(np.random.default_rng(number), 1)[0]
    return [
        rows.make(Track(track_id, content_hash=f"hash{number}", title=title or track_id)),
        rows.make(TrackVectors(SPACE, Embedding(track_id, "", vector, vector[None]))),
    ]


def everything(store: LocalBackend | FaultyStore) -> dict[str, dict[str, Entry]]:
    """What a store says of all its rows, without what was deleted."""
    return {
        kind: {key: entry for key, entry in store.entries(kind).items() if not entry.deleted}
        for kind in KINDS
    }


def same(one: LocalBackend, other: LocalBackend, *, kinds: Sequence[str] = KINDS) -> bool:
    """Whether two stores hold the same content."""
    here, there = everything(one), everything(other)
    return all(
        {key: entry.digest for key, entry in here[kind].items()}
        == {key: entry.digest for key, entry in there[kind].items()}
        for kind in kinds
    )
