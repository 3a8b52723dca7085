"""An open artifact answers as the library does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kindred.artifacts import layout
from kindred.artifacts.read import Artifact
from kindred.errors import ArtifactError, QueryError, SpaceMismatch, TrackNotFound
from kindred.storage.local import LocalBackend
from tests.artifacts.library import SPACE, fill, unit


def test_the_nearest_are_the_librarys(exported: Path, store: LocalBackend) -> None:
    vectors = fill(store)
    artifact = Artifact.open(exported)
    for number, track_id in enumerate(artifact.track_ids):
        expected, _ = store.search_embeddings(SPACE, vectors[number], k=7, exclude=[track_id])
        assert artifact.nearest(track_id, k=7) == expected
    for query in unit(np.random.default_rng(8), 20, SPACE.dims):
        expected, _ = store.search_embeddings(SPACE, query, k=50)
        got = artifact.nearest(3 * query, k=50)  # of any length
        assert [hit.track_id for hit in got] == [hit.track_id for hit in expected]
        assert [hit.similarity for hit in got] == pytest.approx(
            [hit.similarity for hit in expected], abs=1e-6
        )


def test_ties_order_by_track_id(exported: Path) -> None:
    artifact = Artifact.open(exported)
    query = artifact.vectors[38]
    assert [hit.track_id for hit in artifact.nearest(query, k=2)] == ["t038", "t039"]
    assert artifact.nearest("t039", k=1)[0].track_id == "t038"
    assert artifact.nearest("t000", k=0) == []


def test_questions_without_an_answer(exported: Path) -> None:
    artifact = Artifact.open(exported)
    with pytest.raises(TrackNotFound, match="nobody"):
        artifact.nearest("nobody")
    with pytest.raises(TrackNotFound, match="nobody"):
        artifact.track("nobody")
    with pytest.raises(SpaceMismatch, match=r"shape \(7,\)"):
        artifact.nearest(np.ones(7, np.float32))
    for bad in (0.0, np.nan, np.inf):
        with pytest.raises(QueryError, match="no direction"):
            artifact.nearest(np.full(SPACE.dims, bad, np.float32))


def test_vectors_are_mapped_and_cannot_be_written(exported: Path) -> None:
    artifact = Artifact.open(exported)
    assert isinstance(artifact.vectors.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        artifact.vectors[0, 0] = 1


@pytest.mark.parametrize("name", layout.NEEDED)
def test_an_artifact_cut_short_does_not_open(artifact: Path, name: str) -> None:
    whole = (artifact / name).read_bytes()
    (artifact / name).write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match="was cut short") as caught:
        Artifact.open(artifact)
    assert str(artifact / name) in str(caught.value)


def test_an_artifact_without_evaluation(store: LocalBackend, tmp_path: Path) -> None:
    from kindred.artifacts.export import export_artifact

    fill(store, 3)
    export_artifact(store, SPACE, tmp_path / "a")
    assert Artifact.open(tmp_path / "a").evaluation is None
