"""What every storage backend promises. ``conftest.py`` opens each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import JobError, SpaceMismatch, StorageError, TrackNotFound
from kindred.storage import rows
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.records import (
    KINDS,
    Document,
    Embedding,
    Entry,
    FileRecord,
    JobRecord,
    QuarantineRecord,
    Track,
    TrackFilter,
)

SPACE = EmbeddingSpace("m", "1", 8000, 1.0, 1.0, "mean", 6)


@pytest.fixture(params=["local", "postgres", "astra"])
def opened(request: pytest.FixtureRequest) -> Callable[[Path], StorageBackend]:
    """Opens a fresh library of each kind, or the same one again from another folder."""
    return request.getfixturevalue(f"open_{request.param}")


@pytest.fixture
def store(opened: Callable[[Path], StorageBackend], home: Path) -> Iterator[StorageBackend]:
    backend = opened(home)
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


def test_documents(store: StorageBackend) -> None:
    first = Document("runs", "r/1", {"k": 5, "scores": [0.5, None], "имя": "ё"})
    store.put_document(first)
    store.put_document(Document("runs", "r0", {}))
    store.put_document(Document("other", "r/1", {"a": 1}))
    assert store.get_document("runs", "r/1") == first
    assert store.get_document("runs", "none") is None
    assert [item.key for item in store.list_documents("runs")] == ["r/1", "r0"]
    store.delete_document("runs", "r0")
    assert store.list_documents("runs") == [first]


def test_an_appended_document_is_never_overwritten(store: StorageBackend) -> None:
    assert store.append_document(Document("judgements", "j1", {"answer": 4}))
    assert not store.append_document(Document("judgements", "j1", {"answer": 1}))
    assert store.get_document("judgements", "j1") == Document("judgements", "j1", {"answer": 4})


def everything(store: StorageBackend, tmp_path: Path) -> None:
    """Rows of every kind."""
    fill(store, 6)
    store.put_cover("t01", b"picture", b"small")
    source = tmp_path / "song.wav"
    source.write_bytes(bytes(range(256)) * 20)
    store.upload_audio("hash2", source, suffix=".wav")
    store.put_setting("encoder", "clap")


def test_rows_have_digests_and_times_that_only_a_change_moves(
    store: StorageBackend, tmp_path: Path
) -> None:
    everything(store, tmp_path)
    before = {kind: store.entries(kind) for kind in KINDS}
    assert [len(before[kind]) for kind in KINDS] == [6, 1, 6, 1, 1]
    version = store.version()
    everything(store, tmp_path)
    assert {kind: store.entries(kind) for kind in KINDS} == before
    assert store.version() == version
    store.put_tracks([replace(store.get_track("t03"), title="New")])
    after = store.entries("tracks")
    assert {key for key in after if after[key] != before["tracks"][key]} == {"t03"}
    assert after["t03"].updated_at > before["tracks"]["t03"].updated_at
    assert store.entries("tracks", ["t03", "none"]) == {"t03": after["t03"]}


def test_rows_come_back_with_the_digest_they_went_in_with(
    store: StorageBackend, tmp_path: Path
) -> None:
    everything(store, tmp_path)
    for kind in KINDS:
        entries = store.entries(kind)
        found = store.read_rows(kind, [*entries, "none/none"])
        assert {row.key: rows.entry(row) for row in found} == entries
        assert [rows.entry(rows.unpack(rows.pack(row))) for row in found] == list(entries.values())


def test_rows_of_one_store_make_another(store: StorageBackend, tmp_path: Path) -> None:
    everything(store, tmp_path)
    with LocalBackend(tmp_path / "other") as other:
        for kind in KINDS:
            other.write_rows(store.read_rows(kind, list(store.entries(kind))))
        assert all(other.entries(kind) == store.entries(kind) for kind in KINDS)
        store.delete_tracks(["t01", "t02", "t03", "t04", "t05"])
        store.write_rows(other.read_rows("tracks", ["t01"]))
        assert store.entries("tracks", ["t01"]) == other.entries("tracks", ["t01"])


def test_what_is_deleted_leaves_a_tombstone(store: StorageBackend, tmp_path: Path) -> None:
    everything(store, tmp_path)
    before = store.entries("tracks")["t01"]
    store.delete_tracks(["t01", "t02", "none"])
    for kind, key in (("tracks", "t01"), ("covers", "t01"), ("audio", "hash2.wav")):
        entry = store.entries(kind, [key])[key]
        assert entry.deleted
        assert entry.updated_at > before.updated_at
        assert store.read_rows(kind, [key]) == []
    assert store.entries("embeddings")[f"{SPACE.space_id}/t02"].deleted
    assert store.spaces() == [(SPACE, 4)]
    assert "none" not in store.entries("tracks")
    fill(store, 6)
    assert not store.entries("tracks")["t01"].deleted
    assert store.count_tracks() == 6


def test_a_row_brings_its_own_time(store: StorageBackend) -> None:
    store.write_rows(
        [rows.make(Track("a"), 1_700_000_000_123_456), rows.tombstone("tracks", "b", 7)]
    )
    assert store.entries("tracks")["a"].updated_at == 1_700_000_000_123_456
    assert store.entries("tracks")["b"] == Entry("", 7)


def test_text_no_engine_could_hold_is_mended(store: StorageBackend) -> None:
    store.put_tracks([Track("a", title="nul\0l", artist="half \ud800", extra={"k\0": "\udcff"})])
    track = store.get_track("a")
    assert (track.title, track.artist, track.extra) == ("nul l", "half ?", {"k ": "?"})


def test_a_library_has_a_name_that_stays(
    opened: Callable[[Path], StorageBackend], home: Path, tmp_path: Path
) -> None:
    with opened(home) as store:
        first = store.library_id()
    with opened(home) as store:
        assert store.library_id() == first
    with LocalBackend(tmp_path / "other") as other:
        assert other.library_id() != first


def test_many_rows_at_once(store: StorageBackend) -> None:
    rng = np.random.default_rng(4)
    ids = [f"{number:05d}" for number in range(1_203)]
    vectors = unit(rng, len(ids))
    store.put_tracks(Track(track_id, title=track_id) for track_id in ids)
    store.put_embeddings(
        SPACE, [Embedding(i, "", v, v[None]) for i, v in zip(ids, vectors, strict=True)]
    )
    assert [track.track_id for track in store.list_tracks()] == ids
    assert store.embedded_hashes(SPACE) == dict.fromkeys(ids, "")
    found, matrix = store.get_embeddings(SPACE, ids[::-1])
    assert found == ids[::-1]
    np.testing.assert_array_equal(matrix, vectors[::-1])
    query = unit(rng, 1)[0]
    exact = sorted(ids, key=lambda i: (-float(vectors[int(i)] @ query), i))[:10]
    hits, _ = store.search_embeddings(SPACE, query, k=10)
    assert len({hit.track_id for hit in hits} & set(exact)) >= 9
