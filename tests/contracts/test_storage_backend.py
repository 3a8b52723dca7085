"""What every storage backend promises; a new backend is added to ``BACKENDS``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import JobError, SpaceMismatch, StorageError, TrackNotFound
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.records import (
    Embedding,
    FileRecord,
    JobRecord,
    QuarantineRecord,
    Track,
    TrackFilter,
)

BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {"local": LocalBackend}
SPACE = EmbeddingSpace("m", "1", 8000, 1.0, 1.0, "mean", 6)


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, home: Path) -> Iterator[StorageBackend]:
    backend = BACKENDS[request.param](home)
    yield backend
    backend.close()


def unit(rng: np.random.Generator, n: int, dims: int = SPACE.dims) -> np.ndarray:
    vectors = rng.normal(size=(n, dims))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fill(store: StorageBackend, n: int = 40, seed: int = 0) -> np.ndarray:
    """Tracks t00, t01, ... of four composers and ten albums, with vectors."""
    vectors = unit(np.random.default_rng(seed), n)
    ids = [f"t{number:02d}" for number in range(n)]
    store.put_tracks(
        Track(
            track_id,
            content_hash=f"hash{number}",
            title=f"Title {number}",
            composer=f"Composer {number % 4}",
            album=f"Album {number % 10}",
            artist=f"Artist {number % 2}",
            work=f"Work {number % 8}",
            genre="Baroque" if number % 3 else "",
            year=1700 + number if number % 5 else None,
            duration=float(number),
            peaks=bytes(range(8)),
            extra={"key": "C"},
        )
        for number, track_id in enumerate(ids)
    )
    store.put_embeddings(
        SPACE,
        [
            Embedding(track_id, f"hash{number}", vectors[number], vectors[number : number + 1])
            for number, track_id in enumerate(ids)
        ],
    )
    return vectors


def test_tracks_come_back_as_they_went_in(store: StorageBackend) -> None:
    fill(store)
    track = store.get_track("t07")
    assert track.title == "Title 7"
    assert track.peaks == bytes(range(8))
    assert track.extra == {"key": "C"}
    assert track.year == 1707
    assert store.count_tracks() == 40
    assert [item.track_id for item in store.get_tracks(["t05", "none", "t01"])] == ["t05", "t01"]
    assert store.find_track_by_hash("hash3") == store.get_track("t03")
    assert store.find_track_by_hash("no such hash") is None
    with pytest.raises(TrackNotFound, match="nobody"):
        store.get_track("nobody")


def test_writing_twice_changes_nothing(store: StorageBackend) -> None:
    fill(store)
    before = store.list_tracks()
    fill(store)
    assert store.list_tracks() == before
    assert store.spaces() == [(SPACE, 40)]


def test_put_replaces_a_track(store: StorageBackend) -> None:
    fill(store)
    store.put_tracks([replace(store.get_track("t01"), title="Другое имя")])
    assert store.get_track("t01").title == "Другое имя"
    assert store.count_tracks() == 40


def test_version_grows_with_every_change(store: StorageBackend) -> None:
    seen = [store.version()]
    fill(store)
    seen.append(store.version())
    store.delete_tracks(["t01"])
    seen.append(store.version())
    assert seen == sorted(set(seen))


def test_a_batch_is_all_or_nothing(store: StorageBackend) -> None:
    fill(store)

    def half_way() -> None:
        with store.batch():
            store.put_tracks([Track("new")])
            store.delete_tracks(["t01"])
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        half_way()
    assert store.count_tracks() == 40
    assert store.get_track("t01")


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (TrackFilter(), lambda t: True),
        (TrackFilter(composers=("composer 1", "COMPOSER 2")), lambda t: t.composer[-1] in "12"),
        (TrackFilter(genres=("baroque",)), lambda t: t.genre == "Baroque"),
        (TrackFilter(albums=("Album 3",)), lambda t: t.album == "Album 3"),
        (TrackFilter(artists=("Artist 1",)), lambda t: t.artist == "Artist 1"),
        (TrackFilter(year=(1710, 1720)), lambda t: t.year and 1710 <= t.year <= 1720),
        (TrackFilter(year=(None, 1705)), lambda t: t.year and t.year <= 1705),
        (TrackFilter(duration=(5, None)), lambda t: t.duration >= 5),
        (TrackFilter(not_albums=("Album 3",)), lambda t: t.album != "Album 3"),
        (TrackFilter(not_artists=("Artist 0",)), lambda t: t.artist != "Artist 0"),
        (TrackFilter(not_works=(("composer 1", "work 1"),)), lambda t: t.work != "Work 1"),
        (TrackFilter(composers=("'; DROP TABLE tracks",)), lambda t: False),
    ],
)
def test_filters_and_filtered_search_agree_with_a_plain_loop(
    store: StorageBackend, where: TrackFilter, passes: Callable[[Track], bool]
) -> None:
    vectors = fill(store)
    expected = [track for track in store.list_tracks() if passes(track)]
    assert store.list_tracks(where) == expected
    query = unit(np.random.default_rng(9), 1)[0]
    hits, _ = store.search_embeddings(SPACE, query, k=100, where=where)
    scores = {t.track_id: float(vectors[int(t.track_id[1:])] @ query) for t in expected}
    assert [hit.track_id for hit in hits] == sorted(scores, key=lambda i: (-scores[i], i))
    assert np.allclose([hit.similarity for hit in hits], sorted(scores.values(), reverse=True))


def test_ties_order_by_track_id_and_self_is_left_out(store: StorageBackend) -> None:
    vector = unit(np.random.default_rng(1), 1)[0]
    ids = [f"x{number:03d}" for number in range(300)]
    store.put_tracks(Track(track_id) for track_id in reversed(ids))
    store.put_embeddings(
        SPACE, [Embedding(track_id, "", vector, vector[None]) for track_id in reversed(ids)]
    )
    hits, _ = store.search_embeddings(SPACE, vector, k=5, exclude=["x000", "x002"])
    assert [hit.track_id for hit in hits] == ["x001", "x003", "x004", "x005", "x006"]
    assert len({hit.similarity for hit in hits}) == 1


def test_search_asks_for_more_than_there_is(store: StorageBackend) -> None:
    fill(store, 3)
    hits, _ = store.search_embeddings(SPACE, unit(np.random.default_rng(2), 1)[0], k=50)
    assert len(hits) == 3
    assert all(-1 <= hit.similarity <= 1 for hit in hits)


def test_search_in_an_empty_space(store: StorageBackend) -> None:
    hits, index = store.search_embeddings(SPACE, unit(np.random.default_rng(2), 1)[0], k=5)
    assert hits == []
    assert index


def test_search_sees_what_was_written_and_removed(store: StorageBackend) -> None:
    vectors = fill(store)
    query = vectors[3]
    assert store.search_embeddings(SPACE, query, k=1)[0][0].track_id == "t03"
    store.delete_tracks(["t03"])
    assert store.search_embeddings(SPACE, query, k=1)[0][0].track_id != "t03"
    store.put_tracks([Track("new")])
    store.put_embeddings(SPACE, [Embedding("new", "h", query, query[None])])
    assert store.search_embeddings(SPACE, query, k=1)[0][0].track_id == "new"


def test_vectors_of_another_shape_are_refused(store: StorageBackend) -> None:
    wide = np.ones(7, np.float32) / np.sqrt(np.float32(7))
    with pytest.raises(SpaceMismatch):
        store.put_embeddings(SPACE, [Embedding("a", "h", wide, wide[None])])
    with pytest.raises(SpaceMismatch):
        store.search_embeddings(SPACE, wide, k=3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 3.0])
def test_vectors_without_unit_length_are_refused(store: StorageBackend, bad: float) -> None:
    vector = np.full(SPACE.dims, bad, np.float32)
    with pytest.raises(StorageError):
        store.put_embeddings(SPACE, [Embedding("a", "h", vector, vector[None])])
    assert store.spaces() == []


def test_spaces_are_kept_apart(store: StorageBackend) -> None:
    fill(store)
    other = replace(SPACE, revision="2")
    vector = unit(np.random.default_rng(3), 1)[0]
    store.put_embeddings(other, [Embedding("t01", "hash1", vector, np.stack([vector, vector]))])
    assert store.embedded_hashes(other) == {"t01": "hash1"}
    assert len(store.search_embeddings(other, vector, k=9)[0]) == 1
    assert store.get_segments(other, "t01").shape == (2, SPACE.dims)
    assert store.get_segments(other, "t02").shape == (0, SPACE.dims)
    ids, vectors = store.get_embeddings(SPACE, ["t02", "gone", "t01"])
    assert ids == ["t02", "t01"]
    assert vectors.shape == (2, SPACE.dims)


def test_covers_are_kept_and_shared(store: StorageBackend) -> None:
    fill(store)
    for track_id in ("t01", "t02"):
        store.put_cover(track_id, b"picture", b"small")
    assert store.get_cover("t01") == b"picture"
    assert store.get_thumbnails(["t01", "t02", "t03"]) == {"t01": b"small", "t02": b"small"}
    store.delete_tracks(["t01"])
    assert store.get_cover("t01") is None
    assert store.get_cover("t02") == b"picture"


def test_files_belong_to_one_track_each(store: StorageBackend, tmp_path: Path) -> None:
    fill(store)
    odd = str(tmp_path / "na\udcefve\n'x'.mp3")  # not valid UTF-8
    store.put_files([FileRecord(odd, 1, 2, "hash1", "t01"), FileRecord("/b", 1, 2, "hash1", "t01")])
    assert store.get_track("t01").paths == (odd, "/b")
    store.put_files([FileRecord("/b", 1, 3, "hash2", "t02")])
    assert store.get_track("t01").paths == (odd,)
    assert store.get_track("t02").paths == ("/b",)
    store.delete_files([odd])
    assert store.get_track("t01").path == ""
    assert [item.path for item in store.list_files()] == ["/b"]


def test_quarantine(store: StorageBackend) -> None:
    record = QuarantineRecord("/a.mp3", 1, 2, "empty", "It is empty.", "2026-01-01")
    store.put_quarantine([record])
    store.put_quarantine([replace(record, code="silent")])
    assert store.list_quarantine() == [replace(record, code="silent")]
    store.delete_quarantine(["/a.mp3"])
    assert store.list_quarantine() == []


def test_audio_is_kept_given_back_and_removed(store: StorageBackend, tmp_path: Path) -> None:
    fill(store)
    source = tmp_path / "song.wav"
    source.write_bytes(b"RIFF....")
    key = store.upload_audio("abcdef", source, suffix=".wav")
    assert store.upload_audio("abcdef", source, suffix=".wav") == key
    store.put_files([FileRecord(key, 8, 1, "abcdef", "t01")])
    assert store.audio_path("t01").read_bytes() == b"RIFF...."
    assert store.audio_url("t01") == "/audio/t01"
    assert store.download_audio("t01", tmp_path / "copy.wav").read_bytes() == b"RIFF...."
    store.delete_audio("t01")
    with pytest.raises(StorageError, match="Title 1"):
        store.audio_path("t01")
    assert source.exists()


def test_audio_outside_the_library_and_its_folders_is_not_given(
    store: StorageBackend, tmp_path: Path
) -> None:
    fill(store)
    music, secret = tmp_path / "music", tmp_path / "secret.txt"
    music.mkdir()
    secret.write_text("secret")
    (music / "link.mp3").symlink_to(secret)
    store.add_root(str(music))
    for path in (secret, music / "link.mp3", music / ".." / "secret.txt"):
        store.put_files([FileRecord(str(path), 1, 1, "hash1", "t01")])
        with pytest.raises(StorageError):
            store.audio_path("t01")
        store.delete_files([str(path)])


def test_settings_are_kept(store: StorageBackend) -> None:
    assert store.get_setting("encoder") == ""
    store.put_setting("encoder", "clap")
    store.put_setting("encoder", "descriptors")
    assert store.get_setting("encoder") == "descriptors"


def test_jobs(store: StorageBackend) -> None:
    for number in range(3):
        store.put_job(
            JobRecord(f"j{number}", "ingest", "queued", {"n": number}, created_at=f"2026-0{number}")
        )
    assert [job.job_id for job in store.list_jobs(limit=2)] == ["j2", "j1"]
    assert store.list_jobs(kind="other") == []
    changed = store.update_job("j1", lambda job: replace(job, state="done", result={"a": [1]}))
    assert store.get_job("j1") == changed
    with pytest.raises(JobError, match="j9"):
        store.get_job("j9")
