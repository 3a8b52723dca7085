"""What differs between two artifacts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.artifacts.diff import diff
from kindred.artifacts.export import export_artifact
from kindred.artifacts.layout import VECTORS
from kindred.errors import ArtifactError
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track
from tests.artifacts.library import SPACE, content_hash, fill


def test_nothing(exported: Path, store: LocalBackend, tmp_path: Path) -> None:
    fill(store)
    export_artifact(store, SPACE, tmp_path / "again", index=False)
    found = diff(exported, tmp_path / "again")
    assert found.same
    assert found.largest < 1e-12
    assert found.lines() == ["No difference"]


def test_tracks_metadata_and_vectors(exported: Path, store: LocalBackend, tmp_path: Path) -> None:
    vectors = fill(store)
    store.delete_tracks(["t000"])
    store.put_tracks([replace(store.get_track("t002"), title="Other", year=None)])
    store.put_tracks([Track("zzz", content_hash=content_hash(99))])
    turned = vectors[5].astype(np.float64)
    turned[0] += 0.1
    turned /= np.linalg.norm(turned)
    cosine = float(turned @ vectors[5].astype(np.float64) / np.linalg.norm(vectors[5]))
    store.put_embeddings(
        SPACE,
        [
            Embedding("zzz", content_hash(99), vectors[1], vectors[1:2]),
            Embedding("t005", content_hash(5), turned.astype(np.float32), vectors[5:6]),
        ],
    )
    export_artifact(store, SPACE, tmp_path / "b")
    found = diff(exported, tmp_path / "b")
    assert (found.added, found.removed, found.settings) == (["zzz"], ["t000"], {})
    assert found.changed == {"t002": {"title": ("Title 2", "Other"), "year": (1702, None)}}
    assert found.vectors == {"t005": pytest.approx(1 - cosine, abs=1e-7)}
    assert found.largest == found.vectors["t005"]
    assert not found.same
    text = "\n".join(found.lines())
    for part in ("1 added: zzz", "1 removed: t000", "title 'Title 2' -> 'Other'", "1 vectors"):
        assert part in text
    assert json.loads(json.dumps(found.to_dict()))["same"] is False


def test_settings_and_dimensions(exported: Path, store: LocalBackend, tmp_path: Path) -> None:
    other = replace(SPACE, revision="2", window=2.0)
    fill(store, space=other)
    export_artifact(store, other, tmp_path / "b")
    found = diff(exported, tmp_path / "b")
    assert found.settings["revision"] == ("1", "2")
    assert found.settings["window_s"] == (1.0, 2.0)
    assert found.settings.keys() == {"revision", "window_s", "space_id"}
    assert found.vectors == {}
    wide = replace(SPACE, dims=7)
    fill(store, space=wide)
    export_artifact(store, wide, tmp_path / "c")
    found = diff(exported, tmp_path / "c")
    assert found.vectors is None
    assert "cannot be compared" in found.lines()[-1]


def test_a_damaged_one(exported: Path, artifact: Path) -> None:
    (artifact / VECTORS).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"embeddings.f32 was cut short"):
        diff(exported, artifact)
