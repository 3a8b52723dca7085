"""Ingest: what is new, changed, copied, moved, gone or broken, and being killed in the middle."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kindred.config import load_settings
from kindred.embeddings.registry import load_encoder
from kindred.errors import LibraryBusy, LibraryError
from kindred.library.ingest import NAMESPACE, Ingest, library_lock, split_number, track_id_of
from kindred.storage.local import LocalBackend
from tests.conftest import SpectrumEncoder, tone
from tests.odd_files import make_odd_files


@pytest.fixture
def ingest(home: Path, spectrum: SpectrumEncoder) -> Iterator[Ingest]:
    storage = LocalBackend(home)
    yield Ingest(storage, spectrum, home=home, workers=2)
    storage.close()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for number in range(4):
        tone(tmp_path / "music" / f"{number + 1:02d} - Tone {number}.wav", hz=300 + 100 * number)
    return tmp_path / "music"


def titles(ingest: Ingest) -> list[str]:
    return sorted(track.title for track in ingest.storage.list_tracks())


def test_a_folder_becomes_tracks_with_vectors(ingest: Ingest, music: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = ingest.run([music], progress=lambda done, total, name: seen.append((done, total)))
    assert (summary.found, summary.added, summary.quarantined) == (4, 4, 0)
    assert summary.audio_seconds == pytest.approx(8, abs=0.01)
    assert seen[0] == (0, 4)
    assert seen[-1] == (4, 4)
    track = next(t for t in ingest.storage.list_tracks() if t.title == "Tone 0")
    assert (track.track_no, track.format, track.channels) == (1, "wav", 1)
    assert track.track_id == str(uuid.uuid5(NAMESPACE, track.content_hash))
    assert len(track.peaks) == 240
    assert ingest.storage.get_segments(ingest.encoder.space, track.track_id).shape == (2, 8)


def test_a_second_run_reads_nothing(ingest: Ingest, music: Path, spectrum: SpectrumEncoder) -> None:
    ingest.run([music])
    before, encoded = ingest.storage.list_tracks(), spectrum.encoded
    summary = ingest.run([music])
    assert (summary.unchanged, summary.added) == (4, 0)
    assert spectrum.encoded == encoded
    assert ingest.storage.list_tracks() == before


def test_only_the_new_file_is_read_and_roots_are_remembered(ingest: Ingest, music: Path) -> None:
    ingest.run([music])
    tone(music / "sub" / "new.flac", hz=1234)
    summary = ingest.run()
    assert (summary.unchanged, summary.added) == (4, 1)


def test_the_same_bytes_twice_are_one_track(ingest: Ingest, music: Path) -> None:
    shutil.copy(music / "01 - Tone 0.wav", music / "copy.wav")
    summary = ingest.run([music])
    assert (summary.added, summary.linked) == (4, 1)
    track = next(t for t in ingest.storage.list_tracks() if len(t.paths) == 2)
    assert {Path(path).name for path in track.paths} == {"01 - Tone 0.wav", "copy.wav"}


def test_a_moved_file_stays_the_same_track(
    ingest: Ingest, music: Path, spectrum: SpectrumEncoder
) -> None:
    ingest.run([music])
    before = {track.track_id for track in ingest.storage.list_tracks()}
    encoded = spectrum.encoded
    (music / "deep").mkdir()
    (music / "01 - Tone 0.wav").rename(music / "deep" / "renamed.wav")
    summary = ingest.run([music])
    assert (summary.moved, summary.added, summary.missing, summary.linked) == (1, 0, 0, 0)
    assert {track.track_id for track in ingest.storage.list_tracks()} == before
    assert spectrum.encoded == encoded
    assert all(os.path.exists(track.path) for track in ingest.storage.list_tracks())


def test_a_changed_file_keeps_its_track_and_is_embedded_again(ingest: Ingest, music: Path) -> None:
    path = music / "01 - Tone 0.wav"
    ingest.run([music])
    [track] = [t for t in ingest.storage.list_tracks() if t.path == str(path)]
    _, before = ingest.storage.get_embeddings(ingest.encoder.space, [track.track_id])
    tone(path, hz=3_000, seconds=3)
    summary = ingest.run([music])
    assert (summary.updated, summary.added) == (1, 0)
    again = ingest.storage.get_track(track.track_id)
    assert again.content_hash != track.content_hash
    assert again.duration == pytest.approx(3)
    _, after = ingest.storage.get_embeddings(ingest.encoder.space, [track.track_id])
    assert float(before[0] @ after[0]) < 0.999
    assert ingest.storage.count_tracks() == 4


def test_a_changed_copy_becomes_a_track_of_its_own(ingest: Ingest, music: Path) -> None:
    copy = music / "copy.wav"
    shutil.copy(music / "01 - Tone 0.wav", copy)
    ingest.run([music])
    tone(copy, hz=5_000)
    ingest.run([music])
    assert ingest.storage.count_tracks() == 5
    assert all(len(track.paths) == 1 for track in ingest.storage.list_tracks())


def test_two_files_that_swap_names_swap_paths(ingest: Ingest, music: Path) -> None:
    one, two, aside = music / "01 - Tone 0.wav", music / "02 - Tone 1.wav", music / "aside"
    ingest.run([music])
    before = {t.content_hash: t.track_id for t in ingest.storage.list_tracks()}
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    os.utime(one, ns=(1, 1))
    ingest.run([music])
    assert {t.content_hash: t.track_id for t in ingest.storage.list_tracks()} == before
    assert all(len(track.paths) == 1 for track in ingest.storage.list_tracks())


def test_old_bytes_come_back_after_their_file_changed(ingest: Ingest, music: Path) -> None:
    path = music / "01 - Tone 0.wav"
    old = path.read_bytes()
    ingest.run([music])
    tone(path, hz=3_000, seconds=3)
    ingest.run([music])
    (music / "restored.wav").write_bytes(old)
    ingest.run([music])
    hashes = [track.content_hash for track in ingest.storage.list_tracks()]
    assert len(hashes) == len(set(hashes)) == 5
    assert set(ingest.storage.embedded_hashes(ingest.encoder.space).values()) == set(hashes)


def test_a_file_that_is_gone_leaves_its_track_and_comes_back(
    ingest: Ingest, music: Path, spectrum: SpectrumEncoder
) -> None:
    path = music / "01 - Tone 0.wav"
    ingest.run([music])
    aside = path.rename(music.parent / "aside.wav")
    summary = ingest.run([music])
    assert summary.missing == 1
    assert [t.paths for t in ingest.storage.list_tracks() if not t.paths] == [()]
    encoded = spectrum.encoded
    aside.rename(path)
    ingest.run([music])
    assert spectrum.encoded == encoded
    assert all(track.paths for track in ingest.storage.list_tracks())


def test_another_encoder_reads_the_files_again_and_keeps_the_tracks(
    ingest: Ingest, music: Path, home: Path
) -> None:
    ingest.run([music])
    before = {track.track_id for track in ingest.storage.list_tracks()}
    other = Ingest(ingest.storage, SpectrumEncoder("2"), home=home)
    summary = other.run([music])
    assert (summary.added, summary.updated) == (0, 4)
    assert {track.track_id for track in ingest.storage.list_tracks()} == before
    assert [count for _, count in ingest.storage.spaces()] == [4, 4]


def test_cancelling_keeps_what_is_done_and_the_next_run_does_the_rest(
    ingest: Ingest, music: Path
) -> None:
    summary = ingest.run([music], cancelled=lambda: True)
    assert summary.cancelled
    assert ingest.storage.count_tracks() == 1
    assert "stopped" in summary.sentence()
    assert ingest.run([music]).added == 3


def test_the_library_folder_itself_is_not_music(ingest: Ingest, tmp_path: Path, home: Path) -> None:
    tone(tmp_path / "a.wav")
    tone(home / "audio" / "ab" / "stored.wav", hz=900)
    assert ingest.run([tmp_path]).found == 1


def test_two_writers_at_once_are_refused(ingest: Ingest, music: Path, home: Path) -> None:
    with library_lock(home), pytest.raises(LibraryBusy, match="Another process"):
        # The lock is the file's, so a second handle in this process is refused as well.
        ingest.run([music])


def test_a_folder_that_does_not_exist(ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no file or folder"):
        ingest.run([tmp_path / "nowhere"])


@pytest.mark.slow
def test_every_odd_file_ends_as_a_track_or_in_quarantine(ingest: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    expected = make_odd_files(folder)
    tone(folder / "good.wav", hz=987)
    assert len(expected) >= 25
    summary = ingest.run([folder])
    tracks = {path for track in ingest.storage.list_tracks() for path in track.paths}
    refused = {item.path: item for item in ingest.storage.list_quarantine()}
    wrong = {}
    for name, outcome in expected.items():
        path = str(folder / name)
        got = "track" if path in tracks else refused[path].code if path in refused else "nothing"
        if got != outcome:
            wrong[name] = (outcome, got)
    assert not wrong
    assert str(folder / "good.wav") in tracks
    assert all(len(item.reason) > 10 for item in refused.values())
    assert not any(item.code == "unexpected" for item in refused.values())
    again = ingest.run([folder])
    assert (again.added, again.updated, again.quarantined) == (0, 0, summary.quarantined)
    retried = ingest.run([folder], retry=True)
    assert retried.quarantined == summary.quarantined


def test_a_mended_file_leaves_quarantine(ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "m" / "a.wav"
    path.parent.mkdir()
    path.write_bytes(b"")
    ingest.run([path.parent])
    assert [item.code for item in ingest.storage.list_quarantine()] == ["empty"]
    tone(path)
    assert ingest.run([path.parent]).added == 1
    assert ingest.storage.list_quarantine() == []
    path.unlink()
    (path.parent / "b.wav").write_bytes(b"")
    ingest.run([path.parent])
    (path.parent / "b.wav").unlink()
    ingest.run([path.parent])
    assert ingest.storage.list_quarantine() == []


def test_a_link_out_of_the_folder_is_refused(ingest: Ingest, music: Path, tmp_path: Path) -> None:
    tone(tmp_path / "outside" / "x.wav", hz=111)
    (music / "link.wav").symlink_to(tmp_path / "outside" / "x.wav")
    (music / "folder").symlink_to(tmp_path / "outside")
    ingest.run([music])
    assert {item.code for item in ingest.storage.list_quarantine()} == {"link-out"}
    ingest.run([tmp_path / "outside"])
    ingest.run([music])
    assert ingest.storage.list_quarantine() == []


def test_files_still_being_written_are_left_alone(ingest: Ingest, music: Path) -> None:
    whole = tone(music / "x.wav", hz=777).read_bytes()
    for name in (".x.wav.part", "y.wav.part", "z.mp3.crdownload", ".hidden"):
        (music / name).write_bytes(whole[: len(whole) // 2])
    (music / "x.wav").unlink()
    summary = ingest.run([music])
    assert (summary.added, summary.quarantined, summary.ignored) == (4, 0, 4)


def test_a_name_that_is_not_utf8(ingest: Ingest, music: Path) -> None:
    odd = os.fsencode(music) + b"/na\xefve.wav"
    tone(music / "x.wav", hz=777).rename(os.fsdecode(odd))
    ingest.run([music])
    track = next(t for t in ingest.storage.list_tracks() if t.title.startswith("na"))
    assert os.path.exists(track.path)
    track.title.encode("utf-8")


def test_memory_stays_small_on_a_long_file(ingest: Ingest, tmp_path: Path) -> None:
    import tracemalloc

    import soundfile

    path = tmp_path / "long" / "hour.wav"
    path.parent.mkdir()
    with soundfile.SoundFile(path, "w", 8_000, 1) as out:
        block = 0.1 * np.random.default_rng(0).normal(size=8_000 * 60)
        for _ in range(60):
            out.write(block)
    tracemalloc.start()
    summary = ingest.run([path.parent])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert summary.audio_seconds == 3_600
    assert peak < 60e6  # the whole file as float32 would be 115 MB


def test_ids_avoid_those_taken() -> None:
    first = track_id_of("abc")
    assert first == str(uuid.uuid5(NAMESPACE, "abc"))
    assert track_id_of("abc", taken=lambda item: item == first) != first


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("03 - Gigue", ("Gigue", 3)),
        ("7. Air", ("Air", 7)),
        ("02 Etude", ("Etude", 2)),
        ("30 minutes", ("30 minutes", None)),
        ("1999", ("1999", None)),
        ("Op. 3", ("Op. 3", None)),
        ("", ("Untitled", None)),
        ("a\nb", ("a b", None)),
    ],
)
def test_track_numbers_in_file_names(stem: str, expected: tuple[str, int | None]) -> None:
    assert split_number(stem) == expected


@pytest.mark.slow
def test_killed_ten_times_nothing_is_lost_or_doubled(tmp_path: Path, home: Path) -> None:
    music = tmp_path / "music"
    for number in range(150):
        tone(music / f"{number:03d}.wav", hz=200 + 7 * number, seconds=6)
    (music / "broken.mp3").write_bytes(b"")
    command = [sys.executable, "-m", "kindred", "ingest", str(music)]
    environment = os.environ | {"KINDRED_HOME": str(home)}
    space = load_encoder("descriptors", load_settings()).space
    rng = random.Random(4)
    kills, counts = 0, []
    while kills < 10:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # The later kills come sooner, so that there is something left to interrupt.
        timer = threading.Timer(0.3 + rng.random() * 1.5, process.send_signal, [signal.SIGKILL])
        timer.start()
        status = process.wait(120)
        timer.cancel()
        kills += status == -signal.SIGKILL
        storage = LocalBackend(home)
        tracks = storage.list_tracks()
        counts.append(len(tracks))
        paths = [path for track in tracks for path in track.paths]
        assert len(paths) == len(set(paths)) == len(tracks)
        hashes = storage.embedded_hashes(space)
        assert hashes == {track.track_id: track.content_hash for track in tracks}
        storage.close()
        if status == 0:  # finished before it was killed: take half away and go on
            for path in sorted(music.glob("0*.wav"))[::2]:
                tone(path, hz=rng.uniform(200, 5_000), seconds=6)
    assert counts == sorted(counts)
    finished = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr
    storage = LocalBackend(home)
    assert storage.count_tracks() == 150
    assert len(storage.list_quarantine()) == 1
    assert all(len(track.paths) == 1 for track in storage.list_tracks())
    storage.close()
