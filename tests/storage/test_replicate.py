"""Moving and synchronising: what is decided, what is done, and what stays after faults."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import replicate, rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import (
    KINDS,
    Audio,
    Cover,
    Document,
    Embedding,
    Entry,
    FileRecord,
    QuarantineRecord,
    Track,
    TrackVectors,
)
from kindred.storage.replicate import Patience, SyncState
from kindred.storage.replicate.moves import Move, decide

SPACE = EmbeddingSpace("m", "1", 8000, 1.0, 1.0, "mean", 6)
OTHER = replace(SPACE, revision="2")


@pytest.fixture
def a(tmp_path: Path) -> Iterator[LocalBackend]:
    with LocalBackend(tmp_path / "a") as store:
        yield store


@pytest.fixture
def b(tmp_path: Path) -> Iterator[LocalBackend]:
    with LocalBackend(tmp_path / "b") as store:
        yield store


@pytest.fixture
def sync(a: LocalBackend, b: LocalBackend, tmp_path: Path) -> Callable[..., replicate.Report]:
    def run(**options: Any) -> replicate.Report:
        return replicate.synchronise(a, b, home=tmp_path / "home", **options)

    return run


def vectors(seed: int, space: EmbeddingSpace = SPACE, windows: int = 3) -> tuple:
    found = np.random.default_rng(seed).normal(size=(windows + 1, space.dims))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found[0].astype(np.float32), found[1:].astype(np.float32)


def put(store: LocalBackend, track_id: str, seed: int = 0, space: EmbeddingSpace = SPACE) -> None:
    """A track with its cover, vectors and kept audio."""
    store.put_tracks([Track(track_id, content_hash=f"h{track_id}", title=f"Title {track_id}")])
    store.put_cover(track_id, b"picture", b"small")
    store.put_embeddings(space, [Embedding(track_id, f"h{track_id}", *vectors(seed, space))])
    store.write_rows([rows.make(Audio(f"h{track_id}", ".wav", b"RIFF" + track_id.encode()))])


def fill(store: LocalBackend, count: int = 8) -> None:
    for number in range(count):
        put(store, f"t{number}", number)
    store.put_setting("encoder", "clap")


def content(store: LocalBackend) -> dict[str, dict[str, str]]:
    """Digests of everything a store has, hashed anew, but for the conflicts it keeps."""
    return {
        kind: {
            row.key: rows.entry(row).digest
            for row in store.read_rows(kind, list(store.entries(kind)))
            if not row.key.startswith("conflicts/")
        }
        for kind in KINDS
    }


def rename(store: LocalBackend, track_id: str, title: str, at: int | None = None) -> None:
    track = replace(store.get_track(track_id), title=title)
    store.write_rows([rows.make(track, at)])


# -- decisions ---------------------------------------------------------------------------------
ROW = {name: Entry(name * 32, time) for name, time in (("aa", 1), ("bb", 2), ("cc", 2))}
GONE = Entry("", 3)


@pytest.mark.parametrize(
    ("mine", "theirs", "agreed", "both", "migrate"),
    [
        (ROW["aa"], ROW["aa"], None, None, None),
        (ROW["aa"], replace(ROW["aa"], updated_at=9), None, None, None),
        (None, GONE, None, None, None),
        (GONE, GONE, ROW["aa"].digest, None, None),
        (ROW["aa"], None, None, Move("add", "b"), Move("add", "b")),
        (None, ROW["aa"], None, Move("add", "a"), None),
        # Missing without a tombstone was never deleted.
        (None, ROW["aa"], ROW["aa"].digest, Move("add", "a"), None),
        (ROW["aa"], ROW["bb"], ROW["aa"].digest, Move("replace", "a"), Move("keep", None, True)),
        (ROW["bb"], ROW["aa"], ROW["aa"].digest, Move("replace", "b"), Move("replace", "b")),
        (GONE, ROW["aa"], ROW["aa"].digest, Move("delete", "b"), Move("delete", "b")),
        (ROW["aa"], GONE, ROW["aa"].digest, Move("delete", "a"), Move("keep", None, True)),
        (ROW["aa"], GONE, "", Move("add", "b"), Move("add", "b")),
        # The change bears an earlier time than what it replaces.
        (ROW["aa"], ROW["bb"], ROW["bb"].digest, Move("replace", "b", True), None),
        (ROW["aa"], ROW["bb"], None, Move("replace", "a", True), Move("keep", None, True)),
        (ROW["bb"], ROW["aa"], "dd" * 32, Move("replace", "b", True), None),
        # Equal times: the greater digest.
        (ROW["bb"], ROW["cc"], "dd" * 32, Move("replace", "a", True), Move("keep", None, True)),
        (ROW["cc"], ROW["bb"], "dd" * 32, Move("replace", "b", True), None),
        # A row wins over its deletion, although that is later.
        (ROW["bb"], GONE, ROW["aa"].digest, Move("add", "b", True), Move("add", "b", True)),
        (GONE, ROW["bb"], None, Move("add", "a", True), Move("keep", None, True)),
    ],
)
def test_one_row(
    mine: Entry | None, theirs: Entry | None, agreed: str | None, both: Move, migrate: Move | None
) -> None:
    assert decide(mine, theirs, agreed) == both
    mirrored = decide(theirs, mine, agreed)
    assert (mirrored and mirrored._replace(to=None)) == (both and both._replace(to=None))
    assert decide(mine, theirs, agreed, direction="a->b") == (migrate or _to_b(both))


def _to_b(move: Move | None) -> Move | None:
    return move if move and move.to == "b" else None


def test_the_side_that_is_preferred_wins_every_conflict() -> None:
    mine, theirs = ROW["aa"], ROW["bb"]
    assert decide(mine, theirs, None, prefer="a") == Move("replace", "b", True)
    assert decide(theirs, mine, None, prefer="b") == Move("replace", "a", True)
    assert decide(GONE, theirs, None, prefer="a") == Move("delete", "b", True)
    migrated = decide(mine, theirs, mine.digest, direction="a->b", prefer="a")
    assert migrated == Move("replace", "b", True)
    # What is no conflict goes its way.
    assert decide(mine, theirs, mine.digest, prefer="a") == Move("replace", "a")


# -- whole runs --------------------------------------------------------------------------------
def test_a_migration_makes_the_other_side_equal_and_a_second_one_does_nothing(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    before = content(a)
    told: list[tuple[int, int, str]] = []
    report = sync(direction="a->b", progress=lambda *args: told.append(args))
    assert report.written == {
        "tracks add b": 8, "covers add b": 8, "embeddings add b": 8, "audio add b": 8,
        "documents add b": 1,
    }  # fmt: skip
    assert told[-1][:2] == (0, 0)
    assert max(told)[:2] == (33, 33)
    assert content(a) == content(b) == before
    assert {kind: a.entries(kind) for kind in KINDS} == {kind: b.entries(kind) for kind in KINDS}
    version = b.version()
    assert sync(direction="a->b").rows == 0
    assert b.version() == version
    assert replicate.verify(a, b).equal
    answers = replicate.same_answers(a, b, SPACE)
    assert (answers.questions, answers.overlap, answers.difference) == (8, 1.0, 0.0)
    assert a.library_id() != b.library_id()


def test_additions_edits_and_deletions_go_both_ways(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync()
    rename(a, "t1", "By A")
    rename(b, "t2", "By B")
    a.delete_tracks(["t3"])
    b.delete_tracks(["t4"])
    put(a, "new a")
    put(b, "new b")
    report = sync()
    assert report.conflicts == 0
    assert content(a) == content(b)
    assert a.get_track("t2").title == "By B"
    assert b.get_track("t1").title == "By A"
    expected = {"t0", "t1", "t2", "t5", "t6", "t7", "new a", "new b"}
    for store in (a, b):
        assert set(content(store)["tracks"]) == expected
        assert set(content(store)["covers"]) == expected
        assert len(store.embedded_hashes(SPACE)) == len(content(store)["audio"]) == 8
    assert sync().rows == 0


def test_an_edit_on_both_sides_keeps_the_version_that_lost_on_both_sides(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync()
    rename(a, "t1", "By A", rows.now() + 10_000_000)
    rename(b, "t1", "By B")
    lost = b.get_track("t1")
    assert sync().conflicts == 1
    assert a.get_track("t1").title == b.get_track("t1").title == "By A"
    assert replicate.conflicts(a) == replicate.conflicts(b)
    (conflict,) = replicate.conflicts(a)
    assert conflict.lost.record == replace(lost, paths=())
    assert (conflict.kind, conflict.key) == ("tracks", "t1")
    assert conflict.winner.library == a.library_id()
    assert conflict.loser.library == b.library_id()
    assert conflict.to_dict()["title"] == "By B"
    assert sync().rows == 0

    replicate.resolve(b, conflict.conflict_id, keep="loser")
    assert b.get_track("t1").title == "By B"
    assert sync().conflicts == 0
    assert a.get_track("t1").title == "By B"
    assert replicate.conflicts(a) == replicate.conflicts(b) == []
    with pytest.raises(StorageError, match="no conflict"):
        replicate.resolve(a, conflict.conflict_id, keep="winner")


def test_settling_a_conflict_overwrites_no_third_version(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync()
    rename(a, "t1", "By A", rows.now() + 10_000_000)
    rename(b, "t1", "By B")
    sync()
    rename(a, "t1", "Later")
    (conflict,) = replicate.conflicts(a)
    replicate.resolve(a, conflict.conflict_id, keep="loser")
    assert a.get_track("t1").title == "By B"
    (third,) = replicate.conflicts(a)
    assert isinstance(third.lost.record, Track)
    assert third.lost.record.title == "Later"
    replicate.resolve(a, third.conflict_id, keep="winner")
    assert replicate.conflicts(a) == []


@pytest.mark.parametrize("deleting", ["a", "b"])
def test_an_edit_survives_a_deletion_with_all_that_belongs_to_the_track(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], deleting: str
) -> None:
    fill(a)
    sync()
    deleter, editor = (a, b) if deleting == "a" else (b, a)
    rename(editor, "t1", "Edited")
    deleter.delete_tracks(["t1", "t2"])  # later than the edit
    report = sync()
    for store in (a, b):
        assert store.get_track("t1").title == "Edited"
        assert store.get_cover("t1") == b"picture"
        assert store.get_segments(SPACE, "t1").shape == (3, SPACE.dims)
        assert "ht1.wav" in content(store)["audio"]
        assert store.get_tracks(["t2"]) == []
        assert "ht2.wav" not in content(store)["audio"]
    assert report.conflicts == 1
    (conflict,) = replicate.conflicts(a)
    assert conflict.lost.record is None
    replicate.resolve(a, conflict.conflict_id, keep="loser")
    sync()
    assert content(a) == content(b)
    assert b.get_tracks(["t1"]) == []
    assert "t1" not in b.embedded_hashes(SPACE)


def test_what_a_deleted_track_was_given_elsewhere_goes_with_it_and_is_kept(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync()
    a.delete_tracks(["t1"])
    b.put_embeddings(OTHER, [Embedding("t1", "ht1", *vectors(7))])
    sync()
    assert content(a) == content(b)
    assert a.spaces() == b.spaces() == [(SPACE, 7)]
    (conflict,) = replicate.conflicts(a)
    assert isinstance(conflict.lost.record, TrackVectors)
    np.testing.assert_array_equal(conflict.lost.record.embedding.vector, vectors(7)[0])
    with pytest.raises(StorageError, match="t1"):
        replicate.resolve(a, conflict.conflict_id, keep="loser")


def test_vectors_removed_on_purpose_are_removed_and_the_track_stays(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync()
    a.write_rows([rows.tombstone("embeddings", f"{SPACE.space_id}/t1")])
    rename(b, "t1", "Edited")
    sync()
    assert content(a) == content(b)
    assert a.get_track("t1").title == "Edited"
    assert "t1" not in b.embedded_hashes(SPACE)


def test_audio_stays_while_another_track_that_comes_has_its_bytes(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 2)
    sync()
    a.delete_tracks(["t1"])
    b.delete_tracks(["t1"])
    b.put_tracks([Track("again", content_hash="ht1")])
    b.write_rows([rows.make(Audio("ht1", ".wav", b"RIFFt1"))])
    sync()
    assert content(a) == content(b)
    assert "ht1.wav" in content(a)["audio"]


def test_a_first_meeting_treats_differences_as_conflicts_and_deletes_nothing(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], tmp_path: Path
) -> None:
    fill(a)
    sync()
    rename(a, "t1", "By A")
    a.delete_tracks(["t2"])
    for file in (tmp_path / "home" / "sync").iterdir():
        file.unlink()
    report = sync()
    assert content(a) == content(b)
    assert b.get_track("t1").title == "By A"
    assert b.get_track("t2").title == "Title t2"
    assert len(a.embedded_hashes(SPACE)) == 8
    assert report.conflicts == 2
    kept = {item.key: item.lost.record for item in replicate.conflicts(b)}
    assert kept.keys() == {"t1", "t2"}
    assert isinstance(kept["t1"], Track)
    assert kept["t1"].title == "Title t1"


def test_a_damaged_agreement_is_begun_anew(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], tmp_path: Path
) -> None:
    fill(a)
    sync()
    (file,) = (tmp_path / "home" / "sync").glob("*.db")
    file.write_bytes(b"not a database" * 1000)
    rename(a, "t1", "By A")
    sync()
    assert content(a) == content(b)
    (tmp_path / "home" / "sync").rename(tmp_path / "elsewhere")
    (tmp_path / "home" / "sync").write_text("a file")
    with pytest.raises(StorageError, match="KINDRED_HOME"):
        sync()


def test_a_library_that_came_back_from_a_backup_loses_nothing_of_the_newer(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 2)
    old = a.read_rows("tracks", ["t0"])
    rename(a, "t0", "Newer")
    sync()
    a.write_rows(old)  # with its old time
    sync()
    assert b.get_track("t0").title == "Title t0"
    (conflict,) = replicate.conflicts(b)
    assert isinstance(conflict.lost.record, Track)
    assert conflict.lost.record.title == "Newer"


def test_a_copy_of_a_folder_keeps_no_agreement(a: LocalBackend, tmp_path: Path) -> None:
    import shutil

    fill(a, 2)
    a.close()
    shutil.copytree(a.home, tmp_path / "copy")
    home = tmp_path / "home"
    with LocalBackend(tmp_path / "copy") as copy:
        rename(copy, "t0", "In the copy")
        replicate.synchronise(a, copy, home=home)
        assert a.get_track("t0").title == "In the copy"
    assert not (home / "sync").exists()


def test_a_migration_writes_nothing_to_its_source_and_overwrites_nothing_newer(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a)
    sync(direction="a->b")
    rename(b, "t1", "By B")
    rename(b, "t2", "By B")
    b.delete_tracks(["t3"])
    put(b, "own")
    rename(a, "t2", "By A", rows.now() + 10_000_000)
    rename(a, "t4", "By A")
    before, version = content(a), a.version()
    report = sync(direction="a->b")
    assert (content(a), a.version()) == (before, version)
    assert [b.get_track(key).title for key in ("t1", "t2", "t4", "own")] == [
        "By B", "By A", "By A", "Title own",
    ]  # fmt: skip
    assert b.get_tracks(["t3"]) == []
    assert report.kept == 1 + 4  # t1; t3 with its cover, vectors and audio
    (lost,) = replicate.conflicts(b)
    assert isinstance(lost.lost.record, Track)
    assert lost.lost.record.title == "By B"
    assert replicate.verify(a, b, direction="a->b").different == {"tracks": 1}

    sync(direction="a->b", prefer="a")
    assert replicate.verify(a, b, ["tracks", "embeddings"], direction="a->b").equal
    assert b.get_track("own").title == "Title own"
    assert replicate.verify(a, b, ["tracks"]).missing == {"tracks": 1}


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], tmp_path: Path
) -> None:
    fill(a, 14)
    versions = a.version(), b.version()
    with SyncState.between(tmp_path / "home", a, b) as base:
        plan = replicate.plan(a, b, base=base)
        assert plan.rows == 14 * 4 + 1
        text = "\n".join(plan.lines())
        assert "tracks: 14 to add" in text
        assert "Title t0; Title t1; Title t10; " in text
        assert "and 4 more" in text
        assert plan.to_dict()["counts"]["tracks"] == {
            "a": 14, "b": 0, "only_a": 14, "only_b": 0, "differ": 0,
        }  # fmt: skip
        assert (a.version(), b.version()) == versions
    sync()
    rename(a, "t1", "By A", rows.now() + 10_000_000)
    rename(b, "t1", "By B")
    b.delete_tracks(["t2"])
    with SyncState.between(tmp_path / "home", a, b) as base:
        plan = replicate.plan(a, b, base=base)
        text = "\n".join(plan.lines())
        assert plan.lines()[1:4] == [
            "  tracks: 1 to delete",
            "    delete: Title t2",
            "  covers: 1 to delete",
        ]
        assert "tracks: 1 to replace (1 changed on both sides)" in text
        assert "replace, changed on both sides: By A" in text
        assert replicate.drift(a, b, base=base)["tracks"] == (14, 13, 1, 0, 1)
    sync()
    with SyncState.between(tmp_path / "home", a, b) as base:
        assert replicate.plan(a, b, base=base).lines()[-1] == "Nothing has to be written."


def test_rows_a_store_refuses_hold_up_no_others_and_are_named(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 30)
    with a.batch():  # a vector that lost its unit length, its digest with it
        a._db.execute(
            "UPDATE embeddings SET vector = ? WHERE track_id = 't3'",
            (np.zeros(6, np.float32).tobytes(),),
        )
        bad = a.read_rows("embeddings", [f"{SPACE.space_id}/t3"])
        a._note(bad[0])
        a._db.execute("UPDATE tracks SET title = 'rotten' WHERE track_id = 't5'")
    report = sync()
    assert len(report.refused) == 2
    assert "t5: its content does not have its digest" in report.refused[0]
    assert "t3: The vector of track t3 has not unit length" in report.refused[1]
    assert len(content(b)["tracks"]) == 29
    assert len(content(b)["embeddings"]) == 29
    result = replicate.verify(a, b)
    assert result.missing == {"tracks": 1, "embeddings": 1}
    assert result.damaged == {"tracks": 1}
    assert "not equal" in " ".join(result.lines()).lower()


def test_a_run_that_is_stopped_is_gone_on_with(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 30)
    asked = iter([False, False, True])
    report = sync(cancelled=lambda: next(asked))
    assert report.cancelled
    assert 0 < b.count_tracks() <= 30
    assert not b.spaces()
    rest = sync()
    assert not rest.cancelled
    assert rest.rows == 30 * 4 + 1 - report.rows
    assert content(a) == content(b)


def test_rows_that_change_between_plan_and_copy_are_left_to_the_next_round(
    a: LocalBackend, b: LocalBackend, tmp_path: Path
) -> None:
    fill(a, 5)
    with SyncState.between(tmp_path / "home", a, b) as base:
        replicate.apply(replicate.plan(a, b, base=base), a, b, base=base)
        rename(a, "t1", "By A")
        plan = replicate.plan(a, b, base=base)
        rename(b, "t1", "By B")
        report = replicate.apply(plan, a, b, base=base)
        assert (report.later, report.rows) == (1, 0)
        assert b.get_track("t1").title == "By B"
        replicate.apply(replicate.plan(a, b, base=base), a, b, base=base)
        assert len(replicate.conflicts(a)) == 1


def test_readers_meet_no_vectors_without_their_track(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 25)

    def look(*_: object) -> None:
        have = {kind: set(content(b)[kind]) for kind in ("tracks", "covers", "embeddings")}
        assert {key.partition("/")[2] for key in have["embeddings"]} <= have["tracks"]
        assert have["covers"] <= have["tracks"]

    sync(progress=look)
    a.delete_tracks([f"t{number}" for number in range(25)])
    sync(progress=look)
    assert b.count_tracks() == 0


def test_a_store_that_sleeps_is_waited_for_and_one_that_stays_away_is_an_error(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], monkeypatch: Any
) -> None:
    fill(a, 3)
    slept: list[float] = []
    away = 9

    def entries(*args: Any) -> Any:
        nonlocal away
        away -= 1
        if away >= 0:
            error = StorageUnavailable("resuming")
            error.asleep = True  # type: ignore[attr-defined]
            error.retry_after = 7 if away == 8 else None  # type: ignore[attr-defined]
            raise error
        return LocalBackend.entries(b, *args)

    monkeypatch.setattr(b, "entries", entries)
    words: list[str] = []
    sync(patience=Patience(sleep=slept.append), progress=lambda *args: words.append(args[2]))
    assert slept[:3] == [7, 0.4, 0.8]
    assert max(slept[1:]) == 15
    assert "waiting: resuming" in words
    assert content(a) == content(b)
    away = 10**9
    with pytest.raises(StorageUnavailable):
        sync(patience=Patience(seconds=100, sleep=slept.append))
    stopped = iter([True] * 9)
    assert sync(patience=Patience(sleep=slept.append), cancelled=lambda: next(stopped)).cancelled


def test_a_store_that_keeps_no_audio_is_given_none(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], monkeypatch: Any
) -> None:
    monkeypatch.setattr(b, "store_audio", False, raising=False)
    fill(a, 3)
    assert "audio add b" not in sync().written
    assert content(b)["audio"] == {}
    assert replicate.verify(a, b).equal


def test_large_rows_go_in_small_batches(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], monkeypatch: Any
) -> None:
    wide = replace(SPACE, dims=512)
    for number in range(30):
        key = f"t{number:02d}"
        a.put_tracks([Track(key)])
        a.put_embeddings(wide, [Embedding(key, "", *vectors(number, wide, 360))])
        a.write_rows([rows.make(Cover(key, bytes([number]) * 10, b""))])
    sizes: list[int] = []
    write = LocalBackend.write_rows

    def spy(changes: Any) -> None:
        if changes and changes[0].kind == "embeddings":
            sizes.append(sum(row.record.embedding.segments.nbytes for row in changes))
        write(b, changes)

    monkeypatch.setattr(b, "write_rows", spy)
    sync()
    assert sum(sizes) == 30 * 360 * 512 * 4
    assert max(sizes) <= 8_000_000
    assert len(sizes) == 3


# -- this machine's side -----------------------------------------------------------------------
def test_a_machine_s_side_goes_along_so_that_audio_plays(tmp_path: Path) -> None:
    home, music = tmp_path / "home", tmp_path / "music"
    music.mkdir()
    (music / "t0.wav").write_bytes(b"in place")
    with LocalBackend(home) as source, LocalBackend(home, library="postgres-1") as target:
        source.put_tracks([Track("t0", content_hash="h0"), Track("t1", content_hash="h1")])
        source.add_root(str(music))
        (tmp_path / "upload").write_bytes(b"kept")
        kept = source.upload_audio("h1", tmp_path / "upload", suffix=".wav")
        files = [
            FileRecord(str(music / "t0.wav"), 8, os.stat(music / "t0.wav").st_mtime_ns, "h0", "t0"),
            FileRecord(kept, 4, os.stat(kept).st_mtime_ns, "h1", "t1"),
            FileRecord(str(music / "gone.wav"), 4, 1, "h9", "t9"),
        ]
        source.put_files(files)
        source.put_quarantine([QuarantineRecord(str(music / "x"), 1, 2, "empty", "Empty.", "now")])
        replicate.synchronise(source, target, home=home, direction="a->b")
        tracks = target.entries("tracks")
        assert replicate.carry_machine(source, target, tracks=tracks) == 2
        assert len(target.list_files()) == 2
        assert replicate.carry_machine(source, target, tracks=tracks) == 0
        assert target.audio_path("t0").read_bytes() == b"in place"
        assert target.audio_path("t1").read_bytes() == b"kept"
        assert target.audio_path("t1").is_relative_to(target.audio_folder)
        assert target.roots() == source.roots()
        assert target.list_quarantine() == source.list_quarantine()
        found = {item.track_id: item for item in target.list_files()}
        assert found["t0"] == files[0]
        stat = os.stat(found["t1"].path)
        assert (found["t1"].size, found["t1"].mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        source.delete_tracks(["t1"])
        assert target.audio_path("t1").read_bytes() == b"kept"


def test_audio_that_came_with_the_rows_plays(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report]
) -> None:
    fill(a, 3)
    a.delete_audio("t0")
    sync()
    with pytest.raises(StorageError):
        b.audio_path("t1")
    assert replicate.adopt_audio(b) == 3
    assert replicate.adopt_audio(b) == 0
    assert b.audio_path("t1").read_bytes() == b"RIFFt1"
    b.delete_tracks(["t1"])
    sync()
    assert set(content(a)["audio"]) == {"ht0.wav", "ht2.wav"}


def test_documents_of_a_conflict_do_not_breed(
    a: LocalBackend, b: LocalBackend, sync: Callable[..., replicate.Report], tmp_path: Path
) -> None:
    a.put_document(Document("runs", "r", {"k": 1}))
    b.put_document(Document("runs", "r", {"k": 2}))
    sync()
    (conflict,) = replicate.conflicts(a)
    replicate.resolve(a, conflict.conflict_id, keep="winner")
    for file in (tmp_path / "home" / "sync").iterdir():
        file.unlink()
    sync()
    assert replicate.conflicts(a) == replicate.conflicts(b) == [conflict]
