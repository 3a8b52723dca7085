"""Bringing an artifact into a library: what is added, kept and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.artifacts.importing import import_artifact
from kindred.artifacts.layout import VECTORS
from kindred.errors import ArtifactError, SpaceMismatch
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track
from tests.artifacts.library import SPACE, content_hash, fill


def test_a_new_library_answers_as_the_old_one(
    exported: Path, store: LocalBackend, tmp_path: Path
) -> None:
    old = LocalBackend(tmp_path / "old")
    vectors = fill(old)
    outcome = import_artifact(store, exported, space=SPACE)
    assert (outcome.added, outcome.kept, outcome.vectors) == (40, 0, 40)
    for vector in vectors:
        assert store.search_embeddings(SPACE, vector, k=9) == old.search_embeddings(
            SPACE, vector, k=9
        )
    assert store.list_tracks() == old.list_tracks()
    assert (store.get_segments(SPACE, "t007") == vectors[7:8]).all()
    old.close()


def test_twice_changes_nothing(exported: Path, store: LocalBackend) -> None:
    import_artifact(store, exported)
    before, version = store.list_tracks(), store.version()
    outcome = import_artifact(store, exported)
    assert (outcome.added, outcome.kept, outcome.vectors) == (0, 40, 0)
    assert (store.list_tracks(), store.version()) == (before, version)


def test_known_tracks_keep_their_names_unless_overwritten(
    exported: Path, store: LocalBackend
) -> None:
    mine = Track("t001", content_hash=content_hash(1), title="Mine", peaks=b"ab", extra={"a": "b"})
    store.put_tracks([mine])
    outcome = import_artifact(store, exported)
    assert (outcome.added, outcome.kept, outcome.overwritten) == (39, 1, 0)
    assert store.get_track("t001") == mine
    assert store.get_embeddings(SPACE, ["t001"])[0] == ["t001"]
    outcome = import_artifact(store, exported, overwrite=True)
    assert (outcome.added, outcome.kept, outcome.overwritten) == (0, 0, 40)
    track = store.get_track("t001")
    assert (track.title, track.peaks) == ("Title 1", b"ab")
    assert track.extra == {"a": "b", "key": "C", "audio_s3_key": "s3://music/1.flac"}


def test_the_same_bytes_under_another_id_are_one_track(exported: Path, store: LocalBackend) -> None:
    store.put_tracks([Track("mine", content_hash=content_hash(3), title="Mine")])
    outcome = import_artifact(store, exported)
    assert (outcome.added, outcome.kept) == (39, 1)
    assert store.get_embeddings(SPACE, ["mine", "t003"])[0] == ["mine"]
    assert store.count_tracks() == 40


def test_an_id_that_stands_for_other_bytes_is_left_alone(
    exported: Path, store: LocalBackend
) -> None:
    other = Track("t005", content_hash=content_hash(99), title="Another recording")
    vector = np.eye(SPACE.dims, dtype=np.float32)[0]
    store.put_tracks([other])
    store.put_embeddings(SPACE, [Embedding("t005", content_hash(99), vector, vector[None])])
    for overwrite in (False, True):
        outcome = import_artifact(store, exported, overwrite=overwrite)
        assert outcome.conflicts == ["t005"]
        assert store.get_track("t005") == other
        assert (store.get_embeddings(SPACE, ["t005"])[1] == vector).all()
    assert "1 left out" in outcome.sentence()


def test_a_stale_vector_is_replaced_and_a_fresh_one_stays(
    exported: Path, store: LocalBackend
) -> None:
    vectors = fill(store, 40)
    other = np.eye(SPACE.dims, dtype=np.float32)[0]
    fresh = Embedding("t001", content_hash(1), other, other[None])
    store.put_embeddings(SPACE, [fresh, replace(fresh, track_id="t002")])
    assert import_artifact(store, exported).vectors == 1
    _, now = store.get_embeddings(SPACE, ["t001", "t002"])
    assert (now == [other, vectors[2]]).all()


def test_a_row_without_a_file_takes_the_vector(exported: Path, store: LocalBackend) -> None:
    store.put_tracks([Track("t004", title="From a table")])
    outcome = import_artifact(store, exported)
    assert outcome.kept == 1
    track = store.get_track("t004")
    assert (track.title, track.content_hash) == ("From a table", content_hash(4))


def test_another_space_is_refused(exported: Path, store: LocalBackend) -> None:
    with pytest.raises(SpaceMismatch, match="revision '2' against '1'"):
        import_artifact(store, exported, space=replace(SPACE, revision="2"))
    assert store.count_tracks() == 0


def test_a_damaged_artifact_writes_nothing(artifact: Path, store: LocalBackend) -> None:
    data = bytearray((artifact / VECTORS).read_bytes())
    data[-1] ^= 1
    (artifact / VECTORS).write_bytes(data)
    with pytest.raises(ArtifactError, match=r"embeddings.f32 has other bytes"):
        import_artifact(store, artifact)
    assert (store.count_tracks(), store.spaces()) == (0, [])


def test_a_stopped_import_goes_on(
    exported: Path, store: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindred.artifacts.importing._AT_ONCE", 15)
    seen: list[tuple[int, int]] = []
    outcome = import_artifact(
        store,
        exported,
        progress=lambda done, total, title: seen.append((done, total)),
        cancelled=lambda: True,
    )
    assert outcome.cancelled
    assert (outcome.added, seen, store.count_tracks()) == (15, [(15, 40)], 15)
    outcome = import_artifact(store, exported)
    assert (outcome.added, outcome.kept, outcome.cancelled) == (25, 15, False)
