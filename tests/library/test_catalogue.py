"""Imported tables: what they say wins, ids are theirs, bad rows are named by line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindred.errors import ImportRejected, LibraryError, UploadRejected
from kindred.library.catalogue import Catalogue
from kindred.library.ingest import Ingest
from kindred.library.uploads import Uploads
from kindred.storage.local import LocalBackend
from kindred.storage.records import Track
from tests.conftest import SpectrumEncoder, tone


@pytest.fixture
def ingest(home: Path, spectrum: SpectrumEncoder) -> Iterator[Ingest]:
    storage = LocalBackend(home)
    yield Ingest(storage, spectrum, home=home)
    storage.close()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    tone(tmp_path / "a.wav", hz=300)
    tone(tmp_path / "b.wav", hz=500)
    path = tmp_path / "tracks_metadata.csv"
    path.write_text(
        "track_id,album_id,track_no,title,composer,audio_path,duration_sec\n"
        'bach-1,alb,1,Air,"Bach, Johann Sebastian",a.wav,2.0\n'
        "bach-2,alb,2,Gigue,J.S. Bach,b.wav,2.0\n"
        "lost,alb,3,Nothing,J.S. Bach,no-such.wav,2.0\n"
        "bach-1,alb,4,Twice,J.S. Bach,b.wav,2.0\n",
        "utf-8",
    )
    return path


@pytest.mark.parametrize("first", ["table first", "files first"])
def test_a_table_gives_ids_and_names(ingest: Ingest, table: Path, first: str) -> None:
    if first == "files first":
        ingest.run([table.parent])
    outcome = Catalogue(ingest.storage).import_csv(table)
    assert outcome.imported == 2
    assert [line for line, _ in outcome.problems] == [4, 5]
    ingest.run([table.parent])
    tracks = {track.track_id: track for track in ingest.storage.list_tracks()}
    assert set(tracks) == {"bach-1", "bach-2"}
    assert tracks["bach-1"].title == "Air"
    assert tracks["bach-1"].composer == tracks["bach-2"].composer == "Johann Sebastian Bach"
    assert tracks["bach-1"].composer_original == "Bach, Johann Sebastian"
    assert tracks["bach-1"].path == str(table.parent / "a.wav")
    assert tracks["bach-1"].duration == pytest.approx(2)
    assert set(ingest.storage.embedded_hashes(ingest.encoder.space)) == {"bach-1", "bach-2"}
    assert ingest.run([table.parent]).unchanged == 2


def test_what_a_table_said_outlasts_a_changed_file(ingest: Ingest, table: Path) -> None:
    Catalogue(ingest.storage).import_csv(table)
    ingest.run([table.parent])
    tone(table.parent / "a.wav", hz=900, seconds=3)
    ingest.run([table.parent])
    track = ingest.storage.get_track("bach-1")
    assert (track.title, track.duration) == ("Air", 3.0)


def test_importing_twice_changes_nothing(ingest: Ingest, table: Path) -> None:
    catalogue = Catalogue(ingest.storage)
    catalogue.import_csv(table)
    ingest.run([table.parent])
    before = ingest.storage.list_tracks()
    catalogue.import_csv(table)
    assert ingest.storage.list_tracks() == before


def test_a_file_that_is_no_table(ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\x00\x01\x02")
    with pytest.raises(ImportRejected):
        Catalogue(ingest.storage).import_csv(path)


def test_tracks_without_a_file_are_counted_and_removed(ingest: Ingest, table: Path) -> None:
    ingest.run([table.parent])
    (table.parent / "a.wav").unlink()
    ingest.run([table.parent])
    catalogue = Catalogue(ingest.storage)
    summary = catalogue.summary(ingest.encoder.space)
    assert (summary.tracks, summary.without_audio, summary.by_format) == (2, 1, {"wav": 2})
    assert catalogue.remove_missing() == 1
    assert catalogue.summary(ingest.encoder.space).tracks == 1


# -- uploads ------------------------------------------------------------------------------------


def uploads(ingest: Ingest, home: Path, max_bytes: int = 1 << 20) -> Uploads:
    return Uploads(ingest.storage, home=home, max_bytes=max_bytes)


def test_uploads_are_copied_in_and_named_by_their_own_names(
    ingest: Ingest, home: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "x.wav").read_bytes()
    taken = uploads(ingest, home)
    batch = taken.stage(
        [
            ("../../../etc/04 - Évil\n.wav", io.BytesIO(sound)),
            ("song.mp3", io.BytesIO(b"this is not music")),
            ("", io.BytesIO(b"")),
        ]
    )
    outcome = taken.ingest(batch, ingest.run)
    [track] = ingest.storage.list_tracks()
    assert (track.title, track.track_no) == ("Évil", 4)
    assert Path(track.path).is_relative_to(home / "audio")
    assert sorted(name for name, _ in outcome.refused) == ["", "song.mp3"]
    assert ingest.storage.list_quarantine() == []
    stored = [path for path in (home / "audio").rglob("*") if path.is_file()]
    assert stored == [Path(track.path)]
    assert list((home / "incoming").iterdir()) == []
    assert not (tmp_path / "etc").exists()


def test_a_file_that_is_too_large_is_refused_and_nothing_is_kept(
    ingest: Ingest, home: Path
) -> None:
    taken = uploads(ingest, home, max_bytes=10 << 20)
    with pytest.raises(UploadRejected, match="10 MiB"):
        taken.stage([("ok.wav", io.BytesIO(b"1")), ("big.wav", io.BytesIO(bytes(11 << 20)))])
    assert list((home / "incoming").iterdir()) == []


@pytest.mark.parametrize("batch", ["nothing", "../../x", ""])
def test_a_batch_that_is_not_there(ingest: Ingest, home: Path, batch: str) -> None:
    with pytest.raises(UploadRejected, match="no longer here"):
        uploads(ingest, home).ingest(batch, ingest.run)


# -- tags of the user's own ----------------------------------------------------------------


def tags(ingest: Ingest) -> dict[str, str | None]:
    return {track.track_id: track.extra.get("tags") for track in ingest.storage.list_tracks()}


@pytest.fixture
def catalogue(ingest: Ingest) -> Catalogue:
    ingest.storage.put_tracks(
        [Track("a", title="A", extra={"key": "Am"}), Track("b", extra={"tags": "odd"}), Track("c")]
    )
    return Catalogue(ingest.storage)


def test_tags_are_given_and_taken_away(ingest: Ingest, catalogue: Catalogue) -> None:
    assert catalogue.tag(["a", "b"], "  rainy \n evening ") == 2
    assert tags(ingest) == {"a": "rainy evening", "b": "odd; rainy evening", "c": None}
    assert catalogue.tag(["a", "b", "c"], "rainy evening") == 1  # two have it
    assert catalogue.tag(["c", "c"], "夜") == 1
    assert tags(ingest)["c"] == "rainy evening; 夜"
    assert catalogue.tag(["a", "b"], "odd", remove=True) == 1
    assert catalogue.tag(["a", "c"], "rainy evening", remove=True) == 2
    assert tags(ingest) == {"a": None, "b": "rainy evening", "c": "夜"}
    assert ingest.storage.get_track("a") == Track("a", title="A", extra={"key": "Am"})


def test_a_tag_that_nobody_has_or_of_nobody_changes_nothing(
    ingest: Ingest, catalogue: Catalogue
) -> None:
    before, version = ingest.storage.list_tracks(), ingest.storage.version()
    for ids, tag in ((["a", "b"], "never given"), ([], "odd"), (["gone"], "odd"), (["b"], "od")):
        assert catalogue.tag(ids, tag, remove=True) == 0
    assert catalogue.tag(["gone"], "new") == 0
    assert catalogue.tag([], "new") == 0
    assert ingest.storage.list_tracks() == before
    assert ingest.storage.version() == version


@pytest.mark.parametrize("tag", ["", "  ", "\n\t", "a;b", ";", "a; b"])
@pytest.mark.parametrize("remove", [False, True])
def test_what_is_no_tag_is_refused(
    ingest: Ingest, catalogue: Catalogue, tag: str, remove: bool
) -> None:
    with pytest.raises(LibraryError, match="without a semicolon"):
        catalogue.tag(["a", "b"], tag, remove=remove)
    assert tags(ingest) == {"a": None, "b": "odd", "c": None}


def test_tags_stay_when_a_file_changes(ingest: Ingest, tmp_path: Path) -> None:
    path = tone(tmp_path / "music" / "a.wav", hz=300)
    ingest.run([path.parent])
    [track] = ingest.storage.list_tracks()
    Catalogue(ingest.storage).tag([track.track_id], "mine")
    tone(path, hz=900, seconds=3)
    ingest.run([path.parent])
    [after] = ingest.storage.list_tracks()
    assert (after.track_id, after.duration) == (track.track_id, 3.0)
    assert after.extra["tags"] == "mine"
