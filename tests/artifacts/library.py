"""Libraries and artifacts for the tests of this folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kindred.artifacts import layout
from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, FileRecord, Track
from tests.conftest import tone

SPACE = EmbeddingSpace("spectrum", "1", 8_000, 1.0, 0.5, "mean", 6)


def content_hash(number: int) -> str:
    return hashlib.sha256(f"track {number}".encode()).hexdigest()


def unit(rng: np.random.Generator, n: int, dims: int) -> np.ndarray:
    vectors = rng.normal(size=(n, dims))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fill(store: StorageBackend, n: int = 40, *, space: EmbeddingSpace = SPACE) -> np.ndarray:
    """Tracks t000, t001, ... of four composers whose vectors gather somewhat; the last two tie."""
    rng = np.random.default_rng(3)
    centres = unit(rng, 4, space.dims)
    vectors = 0.5 * unit(rng, n, space.dims) + centres[np.arange(n) % 4]
    vectors[-1] = vectors[-2]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with store.batch():
        store.put_tracks(
            Track(
                f"t{number:03d}",
                content_hash=content_hash(number),
                title=f"Title {number}",
                artist=f"Artist {number % 3}",
                album="Album",
                album_id="a1",
                track_no=number,
                composer=f"Composer {number % 4}",
                composer_original=f"COMPOSER {number % 4}",
                work=f"Work {number // 2}",
                genre="Baroque" if number % 3 else "",
                year=1700 + number if number % 5 else None,
                duration=60.25 + number,
                sample_rate=44_100,
                channels=2,
                format="flac",
                added_at="2024-05-01T10:00:00+00:00",
                extra={"key": "C", "audio_s3_key": f"s3://music/{number}.flac"} if number else {},
            )
            for number in range(n)
        )
        store.put_embeddings(
            space,
            [
                Embedding(f"t{number:03d}", content_hash(number), vector, vector[None])
                for number, vector in enumerate(vectors)
            ],
        )
    return vectors


def add_tones(store: LocalBackend, folder: Path, count: int) -> None:
    """Tracks of real audio: tones of one and a half seconds at 22,050 Hz."""
    store.add_root(str(folder))
    vectors = unit(np.random.default_rng(5), count, SPACE.dims)
    for number in range(count):
        path = tone(folder / f"{number}.wav", hz=200 + 50 * number, seconds=1.5)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        track_id = f"tone:{number}"
        store.put_tracks([Track(track_id, content_hash=digest, title=f"Tone {number}")])
        size = path.stat().st_size
        store.put_files([FileRecord(str(path), size, 1, digest, track_id)])
        vector = vectors[number]
        store.put_embeddings(SPACE, [Embedding(track_id, digest, vector, vector[None])])


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {name: (folder / name).read_bytes() for name in layout.names_in(folder)}


def sign(folder: Path, **changes: Any) -> None:
    """Write a manifest that fits the files as they are now, and changes on top of it."""
    values = json.loads((folder / layout.MANIFEST).read_text("utf-8"))
    values["files"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in bytes_of(folder).items()
        if name != layout.MANIFEST
    }
    (folder / layout.MANIFEST).write_text(json.dumps(values | changes), "utf-8")


def change_json(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON file of an artifact; ``change`` returns what it becomes."""
    values = json.loads((folder / name).read_text("utf-8"))
    (folder / name).write_text(json.dumps(change(values)), "utf-8")
