"""What an export writes, what it leaves alone, and that it can be killed."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock

from kindred.artifacts import building, export, layout, waves
from kindred.artifacts.export import export_artifact
from kindred.artifacts.importing import import_artifact
from kindred.artifacts.read import Artifact
from kindred.artifacts.verify import verify
from kindred.errors import ArtifactError
from kindred.evaluation import metrics
from kindred.library.metadata_csv import read_metadata_csv
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track
from tests.artifacts.library import SPACE, add_tones, bytes_of, content_hash, fill


def hashes(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, which holds the time."""
    return {name: data for name, data in bytes_of(folder).items() if name != layout.MANIFEST}


def test_rows_are_the_librarys_tracks_and_vectors(store: LocalBackend, tmp_path: Path) -> None:
    vectors = fill(store)
    summary = export_artifact(store, SPACE, tmp_path / "a", evaluation={"p@5": 0.5})
    assert (summary.tracks, summary.left_out, summary.index) == (40, 0, "flat")
    artifact = verify(tmp_path / "a")
    assert artifact.track_ids == [f"t{number:03d}" for number in range(40)]
    assert artifact.vectors.tobytes() == vectors.tobytes()
    assert artifact.space == SPACE
    assert artifact.evaluation == {"p@5": 0.5}
    for track, original in zip(artifact.tracks, store.list_tracks(), strict=True):
        assert track == replace(original, peaks=b"", paths=())
    assert layout.names_in(tmp_path / "a") == sorted([*artifact.manifest.files, layout.MANIFEST])


def test_the_same_library_gives_the_same_bytes(store: LocalBackend, tmp_path: Path) -> None:
    fill(store)
    for name in ("a", "b"):
        export_artifact(store, SPACE, tmp_path / name, ann_threshold=10)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert layout.HNSW in hashes(tmp_path / "a")


def test_an_imported_artifact_exports_as_the_same_artifact(
    store: LocalBackend, tmp_path: Path
) -> None:
    fill(store)
    export_artifact(store, SPACE, tmp_path / "a")
    other = LocalBackend(tmp_path / "other")
    import_artifact(other, tmp_path / "a")
    export_artifact(other, SPACE, tmp_path / "b")
    other.close()
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


SCRIPT = """
import csv, json, sys
import numpy as np
root = sys.argv[1]
meta = json.load(open(f"{root}/embeddings/embeddings_meta.json"))
ids = json.load(open(f"{root}/embeddings/track_ids.json"))
vectors = np.fromfile(f"{root}/embeddings/embeddings.f32", "<f4").reshape(-1, meta["dims"])
with open(f"{root}/metadata/tracks_metadata.csv", encoding="utf-8", newline="") as file:
    composers = [row["composer"] for row in csv.DictReader(file)]
precisions, ranks = [], []
for row, composer in enumerate(composers):
    order = np.argsort(-(vectors @ vectors[row]), kind="stable")
    order = order[order != row]
    found = np.array([composers[other] == composer for other in order])
    precisions.append(found[:5].mean())
    ranks.append(1 / (1 + np.argmax(found)))
assert not any(name.split(".")[0] in ("kindred", "faiss", "torch") for name in sys.modules)
print(json.dumps({"p@5": np.mean(precisions), "mrr": np.mean(ranks)}))
"""


def test_numpy_alone_gets_the_same_evaluation(store: LocalBackend, tmp_path: Path) -> None:
    fill(store)
    tracks = store.list_tracks()
    precisions, ranks = [], []
    for track in tracks:  # as the library answers
        hits, _ = store.search_embeddings(
            SPACE,
            store.get_embeddings(SPACE, [track.track_id])[1][0],
            k=len(tracks),
            exclude=[track.track_id],
        )
        found = store.get_tracks([hit.track_id for hit in hits])
        gains = [float(other.composer == track.composer) for other in found]
        precisions.append(metrics.precision_at_k(gains, k=5))
        ranks.append(metrics.reciprocal_rank(gains))
    measured = {"p@5": float(np.mean(precisions)), "mrr": float(np.mean(ranks))}
    assert 0.3 < measured["p@5"] < 1  # neither chance nor certain

    export_artifact(store, SPACE, tmp_path / "a", evaluation=measured)
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == pytest.approx(measured, abs=1e-12)


def test_texts_stay_true_and_kindred_import_reads_them(store: LocalBackend, tmp_path: Path) -> None:
    add_tones(store, tmp_path / "music", 2)
    titles = ['=HYPERLINK("x"),\n"Σ"\r\n', "  Щедрик, ‘no. 1’;\t🎻"]
    for number, title in enumerate(titles):
        track = store.get_track(f"tone:{number}")
        store.put_tracks([replace(track, title=title, composer="Bach", year=1720)])
    export_artifact(store, SPACE, tmp_path / "a", audio=True)
    table = tmp_path / "a" / layout.TRACKS
    assert [track.title for track in Artifact.open(tmp_path / "a").tracks] == titles
    assert table.read_bytes().count(b"\r\n") == 4  # three rows and the one in a title
    read = read_metadata_csv(table, audio_root=tmp_path / "a")
    assert read.problems == []
    assert [row.title for row in read.rows] == [title.strip() for title in titles]
    assert [row.audio for row in read.rows] == ["audio_wav/tone%3A0.wav", "audio_wav/tone%3A1.wav"]
    assert {row.year for row in read.rows} == {1720}


def test_a_text_too_long_for_readers_is_named(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    store.put_tracks([replace(store.get_track("t001"), extra={"lyrics": "la " * 50_000})])
    with pytest.raises(ArtifactError, match="Track t001: extra has 150,0"):
        export_artifact(store, SPACE, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_stale_and_missing_vectors_are_left_out_and_counted(
    store: LocalBackend, tmp_path: Path
) -> None:
    fill(store)
    store.put_tracks([Track("zzz", content_hash=content_hash(99))])
    store.put_tracks([replace(store.get_track("t007"), content_hash=content_hash(98))])
    summary = export_artifact(store, SPACE, tmp_path / "a")
    assert (summary.tracks, summary.left_out) == (39, 2)
    assert "2 left out" in summary.sentence()
    artifact = verify(tmp_path / "a")
    assert not {"t007", "zzz"} & set(artifact.track_ids)
    assert artifact.manifest.counts == {"tracks": 39, "audio": 0, "left_out": 2}


def test_nothing_to_export(store: LocalBackend, tmp_path: Path) -> None:
    store.put_tracks([Track("a")])
    with pytest.raises(ArtifactError, match="kindred ingest --encoder spectrum"):
        export_artifact(store, SPACE, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_numbers_json_cannot_hold_are_refused(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    with pytest.raises(ArtifactError, match=r"eval_results.json cannot be written"):
        export_artifact(store, SPACE, tmp_path / "a", evaluation={"mrr": float("nan")})
    assert not (tmp_path / "a").exists()


def test_the_index_finds_what_exact_search_finds(store: LocalBackend, tmp_path: Path) -> None:
    import faiss

    vectors = fill(store, 300)
    for threshold, name in ((301, layout.FLAT), (300, layout.HNSW)):
        export_artifact(store, SPACE, tmp_path / "a", ann_threshold=threshold)
        index = faiss.read_index(str(tmp_path / "a" / name))
        scores, rows = index.search(vectors[:50], 1)
        assert np.allclose(scores, 1, atol=1e-5)
        assert (rows[:, 0] == np.arange(50)).all()
        meta = json.loads((tmp_path / "a" / layout.INDEX_META).read_text())
        assert (meta["file"], meta["rows"], meta["dims"]) == (Path(name).name, 300, SPACE.dims)
    assert not (tmp_path / "a" / layout.FLAT).exists()
    export_artifact(store, SPACE, tmp_path / "a", index=False)
    assert not (tmp_path / "a" / "index").exists()
    verify(tmp_path / "a")


# -- audio -------------------------------------------------------------------------------------
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are converted from now on."""
    converted: list[str] = []
    write = waves._write

    def spy(source: Path, target: Path, rate: int) -> None:
        converted.append(target.name)
        write(source, target, rate)

    monkeypatch.setattr(waves, "_write", spy)
    return converted


@pytest.mark.parametrize(("asked", "rate"), [(16_000, 16_000), (None, SPACE.sample_rate)])
def test_audio_is_mono_at_the_asked_rate(
    store: LocalBackend, tmp_path: Path, asked: int | None, rate: int
) -> None:
    add_tones(store, tmp_path / "music", 3)
    summary = export_artifact(store, SPACE, tmp_path / "a", audio=True, audio_rate=asked)
    assert (summary.audio, summary.no_audio) == (3, [])
    assert verify(tmp_path / "a").manifest.audio_rate == rate
    with (tmp_path / "a" / layout.TRACKS).open(newline="") as file:
        paths = [row["audio_path"] for row in csv.DictReader(file)]
    for number, path in enumerate(paths):
        info = soundfile.info(tmp_path / "a" / path)
        assert (info.samplerate, info.channels, info.subtype) == (rate, 1, "PCM_16")
        sound, _ = soundfile.read(tmp_path / "a" / path)
        spectrum = np.abs(np.fft.rfft(sound))
        assert spectrum.argmax() * rate / len(sound) == pytest.approx(200 + 50 * number, abs=1)
        assert len(sound) == pytest.approx(1.5 * rate, abs=2)


def test_audio_that_cannot_be_had_is_told(store: LocalBackend, tmp_path: Path) -> None:
    add_tones(store, tmp_path / "music", 4)
    (tmp_path / "music" / "1.wav").unlink()
    (tmp_path / "music" / "2.wav").write_bytes(b"RIFF, no more")
    summary = export_artifact(store, SPACE, tmp_path / "a", audio=True)
    assert (summary.tracks, summary.audio) == (4, 2)
    assert [track_id for track_id, _ in summary.no_audio] == ["tone:1", "tone:2"]
    assert "gone" in summary.no_audio[0][1]
    assert "changed" in summary.no_audio[1][1]
    verify(tmp_path / "a")


def test_a_stopped_export_goes_on_with_the_audio(
    store: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tones(store, tmp_path / "music", 8)
    export_artifact(store, SPACE, tmp_path / "a")
    before = bytes_of(tmp_path / "a")
    converted = counted(monkeypatch)
    steps: list[int] = []
    summary = export_artifact(
        store,
        SPACE,
        tmp_path / "a",
        audio=True,
        progress=lambda done, total, what: steps.append(done),
        cancelled=lambda: steps[-1] == 5,
    )
    assert summary.cancelled
    assert bytes_of(tmp_path / "a") == before
    noted = (tmp_path / ".a.building" / waves.JOURNAL).read_text().splitlines()
    kept = {Path(json.loads(line)[0]).name for line in noted}
    assert len(kept) >= 5
    damaged = sorted(kept)[0]  # a kept file that is not what was noted is converted again
    (tmp_path / ".a.building" / layout.AUDIO / damaged).write_bytes(b"cut")
    converted.clear()
    summary = export_artifact(store, SPACE, tmp_path / "a", audio=True)
    assert summary.audio == 8
    assert not (kept - {damaged}) & set(converted)
    assert damaged in converted
    verify(tmp_path / "a")
    assert not (tmp_path / ".a.building").exists()


def test_a_grown_library_converts_only_what_is_new(
    store: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tones(store, tmp_path / "music", 3)
    export_artifact(store, SPACE, tmp_path / "a", audio=True)
    converted = counted(monkeypatch)
    add_tones(store, tmp_path / "music", 4)
    export_artifact(store, SPACE, tmp_path / "a", audio=True)
    assert converted == ["tone%3A3.wav"]
    assert verify(tmp_path / "a").manifest.counts["audio"] == 4
    export_artifact(store, SPACE, tmp_path / "a", audio=True, audio_rate=8_000)
    assert len(converted) == 5  # another rate is other audio


# -- nothing is lost ---------------------------------------------------------------------------
def test_a_library_that_changes_meanwhile_is_read_again(
    store: LocalBackend, tmp_path: Path
) -> None:
    vectors = fill(store)
    writes = []

    def write(done: int, total: int, what: str) -> None:
        if what == "tables" and not writes:
            writes.append(done)
            store.put_tracks([Track("a-new-one", content_hash="h")])
            vector = vectors[0]
            store.put_embeddings(SPACE, [Embedding("a-new-one", "h", vector, vector[None])])

    summary = export_artifact(store, SPACE, tmp_path / "a", progress=write)
    assert summary.tracks == 41
    assert verify(tmp_path / "a").track_ids[0] == "a-new-one"


def test_a_library_that_never_rests_is_told(store: LocalBackend, tmp_path: Path) -> None:
    fill(store)

    def write(done: int, total: int, what: str) -> None:
        store.put_tracks([replace(store.get_track("t001"), title=str(store.version()))])

    with pytest.raises(ArtifactError, match="keeps changing"):
        export_artifact(store, SPACE, tmp_path / "a", progress=write)
    assert not (tmp_path / "a").exists()


def _killed(home: Path, target: Path, die: Callable[[], None]) -> int | None:
    """Export in another process that dies somewhere; its exit status."""

    def work() -> None:
        die()
        store = LocalBackend(home)
        store.put_tracks([replace(store.get_track("t001"), title="New")])
        export_artifact(store, SPACE, target)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("moment", ["tables", "before", "after", "renamed"])
def test_a_killed_export_leaves_the_old_or_the_new(home: Path, tmp_path: Path, moment: str) -> None:
    store = LocalBackend(home)
    fill(store)
    export_artifact(store, SPACE, tmp_path / "a")
    store.close()

    def die() -> None:
        exchange = building._exchange
        if moment == "tables":
            export.write_index = lambda *args, **more: os._exit(7)
        elif moment == "before":
            building._exchange = lambda one, other: os._exit(7)
        elif moment == "after":
            building._exchange = lambda one, other: exchange(one, other) and os._exit(7)
        else:  # no exchange on this system: killed between its two renames
            building._exchange = lambda one, other: one.with_name(".a.old").exists()
            rename = Path.rename

            def once(self: Path, other: Path) -> Path:
                done = rename(self, other)
                os._exit(7)
                return done

            Path.rename = once  # type: ignore[method-assign]

    assert _killed(home, tmp_path / "a", die) == 7
    store = LocalBackend(home)
    if moment == "renamed":
        assert not (tmp_path / "a").exists()
        with building.building(tmp_path / "a", "building"):
            pass  # puts the old one back
    title = verify(tmp_path / "a").track("t001").title
    assert title == ("New" if moment == "after" else "Title 1")
    export_artifact(store, SPACE, tmp_path / "a")
    assert verify(tmp_path / "a").track("t001").title == "New"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.lock", "a", "library"]
    store.close()


def test_other_files_are_never_replaced(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mp3").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"holds other files, such as song.mp3"):
        export_artifact(store, SPACE, tmp_path / "music")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="is not a folder"):
        export_artifact(store, SPACE, tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "music")
    with pytest.raises(ArtifactError, match="is not a folder"):
        export_artifact(store, SPACE, tmp_path / "link")
    export_artifact(store, SPACE, tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes.txt does not belong"):
        export_artifact(store, SPACE, tmp_path / "a")
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "music" / "song.mp3").exists()


def test_a_damaged_artifact_can_be_exported_anew(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    export_artifact(store, SPACE, tmp_path / "a")
    (tmp_path / "a" / layout.MANIFEST).write_text("{")
    export_artifact(store, SPACE, tmp_path / "a")
    verify(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    export_artifact(store, SPACE, tmp_path / "empty")
    verify(tmp_path / "empty")


def test_two_exports_to_one_place(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    with (
        FileLock(tmp_path / ".a.lock"),
        pytest.raises(ArtifactError, match="Another process is writing"),
    ):
        export_artifact(store, SPACE, tmp_path / "a")


def test_a_place_that_cannot_be_written(store: LocalBackend, tmp_path: Path) -> None:
    fill(store, 3)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match="cannot be written"):
        export_artifact(store, SPACE, tmp_path / "file" / "a")


def test_the_usual_name() -> None:
    assert layout.folder_name(SPACE) == "v1_model_spectrum"
    assert layout.folder_name(replace(SPACE, model="a/b c")) == "v1_model_a-b-c"
