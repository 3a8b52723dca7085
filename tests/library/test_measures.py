"""Measures: tempo, key and loudness of sounds made to measure, and how an ingest keeps them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from kindred.config import load_settings
from kindred.embeddings.descriptors import DescriptorEncoder
from kindred.embeddings.registry import load_encoder
from kindred.library.catalogue import Catalogue
from kindred.library.ingest import Ingest
from kindred.library.measures import (
    FIELDS,
    KEYS,
    Measures,
    TrackMeter,
    key_of,
    loudness_of,
    measured,
    measured_extra,
    parse_key,
    tempo_of,
)
from kindred.storage import rows
from kindred.storage.local import LocalBackend
from kindred.storage.records import Track
from tests.conftest import SpectrumEncoder, tone
from tests.embeddings.sounds import clicks, noise, notes, sine

RATE = 22_050
#: Degrees of a cadence, I IV V I, and the thirds on them in major and minor.
CADENCE = {"major": ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7))}
CADENCE["minor"] = ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7))


@pytest.fixture(scope="module")
def encoder() -> DescriptorEncoder:
    found = load_encoder("descriptors", load_settings())
    assert isinstance(found, DescriptorEncoder)
    return found


def measure(encoder: DescriptorEncoder, audio: NDArray[np.float32]) -> Measures:
    """What an ingest does, for one sound."""
    meter = TrackMeter()

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(audio), 30_000):
            meter.hear(audio[start : start + 30_000])
            yield audio[start : start + 30_000]

    for windows in encoder.windows(blocks()):
        meter.add(encoder.encode_more(windows)[1])
    return meter.measures()


# -- by construction -----------------------------------------------------------------------------
@pytest.mark.parametrize("bpm", [60, 66.6, 72, 83, 95, 108, 120, 133, 147, 160, 175, 188, 200])
def test_the_tempo_of_clicks_is_right_up_to_octaves(encoder: DescriptorEncoder, bpm: float) -> None:
    tempo = measure(encoder, clicks(RATE, bpm=bpm, seconds=20)).tempo
    assert tempo is not None
    octaves = np.log2(tempo / bpm)
    assert abs(2 ** (octaves - round(octaves)) - 1) < 0.02


@pytest.mark.parametrize("key", KEYS)
def test_a_cadence_has_its_key(encoder: DescriptorEncoder, key: str) -> None:
    mode = key.split()[1]
    tonic = 48 + KEYS.index(key) % 12
    chords = [tuple(tonic + degree for degree in chord) for chord in CADENCE[mode]]
    found = measure(encoder, notes(RATE, chords))
    assert found.key == key
    assert 0.7 <= found.key_clarity <= 1


def test_loudness_is_that_of_the_whole_track(encoder: DescriptorEncoder) -> None:
    found = measure(encoder, 2 * sine(RATE, frequency=997, seconds=12))
    assert found.loudness == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize(
    "audio",
    [
        noise(RATE, seconds=20),
        np.zeros(20 * RATE, np.float32),
        notes(RATE, [(60, 64, 67)], step=20, decay=0, seconds=20),
    ],
    ids=["noise", "silence", "one chord that never ends"],
)
def test_without_onsets_there_is_no_tempo(
    encoder: DescriptorEncoder, audio: NDArray[np.float32]
) -> None:
    assert measure(encoder, audio).tempo is None


@pytest.mark.parametrize(
    "audio",
    [noise(RATE), np.zeros(10 * RATE, np.float32), sine(RATE), clicks(RATE, bpm=100)],
    ids=["noise", "silence", "one tone", "clicks"],
)
def test_without_chords_or_a_scale_there_is_no_key(
    encoder: DescriptorEncoder, audio: NDArray[np.float32]
) -> None:
    found = measure(encoder, audio)
    assert (found.key, found.key_clarity) == ("", 0.0)


def test_three_seconds_have_a_loudness_only(encoder: DescriptorEncoder) -> None:
    found = measure(encoder, notes(RATE, [(60, 64, 67), (65, 69, 72)], seconds=3))
    assert (found.tempo, found.key) == (None, "")
    assert found.loudness is not None


def test_an_end_that_does_not_fill_a_window_makes_up_no_beat(encoder: DescriptorEncoder) -> None:
    """Repeated until it fills a window, 1.5 s of anything would beat at 40 to the minute."""
    whole = notes(RATE, [(60, 64, 67), (65, 69, 72)], seconds=10)
    end = clicks(RATE, bpm=170, seconds=1.5)
    longer = measure(encoder, np.concatenate((whole, end)))
    assert longer.tempo == pytest.approx(measure(encoder, whole).tempo, abs=0.01)


# -- what a track carries ------------------------------------------------------------------------
def test_measures_return_from_text() -> None:
    full = Measures(tempo=120.3, key="E-flat major", key_clarity=0.87, loudness=-18.2)
    for measures in (full, Measures(), Measures(loudness=-70.0)):
        extra = measures.to_extra()
        assert tuple(extra) == FIELDS
        assert measured(Track("t", extra=extra)) == measures
        row = rows.make(Track("t", extra=extra))
        assert rows.unpack(rows.pack(row)).record == row.record


def test_nobody_measured_is_not_nothing_to_measure() -> None:
    assert measured(Track("t")) == Measures()
    assert measured_extra({"bpm": "120"}) == {}
    assert measured_extra(Measures().to_extra()) == dict.fromkeys(FIELDS, "")
    assert loudness_of(Track("t")) is None


def test_damaged_texts_are_no_measures() -> None:
    damaged = dict(zip(FIELDS, ("nan", "H-Moll", "much", "-1e9"), strict=True))
    assert measured(Track("t", extra=damaged)) == Measures()


@pytest.mark.parametrize(
    ("tag", "tempo"),
    [
        ("120", 120.0),
        ("120.00", 120.0),
        ("98,5", 98.5),
        (" 140 BPM ", 140.0),
        ("0", 77.0),
        ("999", 77.0),
        ("-120", 77.0),
        ("fast", 77.0),
        ("120; 60", 77.0),
        ("nan", 77.0),
        ("", 77.0),
    ],
)
def test_a_tempo_of_the_file_wins_where_it_can_be_read(tag: str, tempo: float) -> None:
    extra = {**Measures(tempo=77.0).to_extra(), "bpm": tag}
    assert tempo_of(Track("t", extra=extra)) == tempo


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("D minor", "D minor"),
        ("Dm", "D minor"),
        ("dm", "D minor"),
        ("D MINOR", ""),
        ("Dmin", "D minor"),
        ("D", "D major"),
        ("DM", "D major"),
        ("D maj", "D major"),
        ("d major", "D major"),
        ("Bb", "B-flat major"),
        ("Bbm", "B-flat minor"),
        ("bbm", "B-flat minor"),
        ("B♭ Major", "B-flat major"),
        ("F#", "F-sharp major"),
        ("F♯m", "F-sharp minor"),
        ("F-sharp minor", "F-sharp minor"),
        ("F sharp minor", "F-sharp minor"),
        ("E-flat major", "E-flat major"),
        ("Gb", "F-sharp major"),
        ("Cb", "B major"),
        ("B#m", "C minor"),
        ("Abm", "G-sharp minor"),
        ("8A", "A minor"),
        ("8B", "C major"),
        ("08b", "C major"),
        ("1A", "G-sharp minor"),
        ("12B", "E major"),
        ("1d", "C major"),
        ("1m", "A minor"),
        ("6m", "G-sharp minor"),
        ("  D   minor ", "D minor"),
        ("", ""),
        ("d", ""),
        ("bb", ""),
        ("o", ""),
        ("H-Moll", ""),
        ("B-Dur", ""),
        ("13A", ""),
        ("0A", ""),
        ("C#b", ""),
        ("Dm/F", ""),
        ("D dorian", ""),
        ("minor", ""),
    ],
)
def test_spellings_of_keys(text: str, key: str) -> None:
    assert parse_key(text) == key


def test_every_key_reads_its_own_name() -> None:
    assert len(set(KEYS)) == 24
    assert [parse_key(key) for key in KEYS] == list(KEYS)


def test_a_key_of_the_file_wins_where_it_can_be_read() -> None:
    extra = Measures(key="C major", key_clarity=0.9).to_extra()
    assert key_of(Track("t", extra={**extra, "key": "8A"})) == "A minor"
    assert key_of(Track("t", extra={**extra, "key": "H-Moll"})) == "C major"
    assert key_of(Track("t")) == ""


# -- in an ingest --------------------------------------------------------------------------------
@pytest.fixture
def ingest(home: Path, encoder: DescriptorEncoder) -> Iterator[Ingest]:
    storage = LocalBackend(home)
    yield Ingest(storage, encoder, home=home, workers=2)
    storage.close()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    beat = notes(RATE, [(60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)], seconds=12)
    soundfile.write(folder / "beat.wav", beat, RATE)
    tone(folder / "tone.flac", seconds=3)
    return folder


def of(ingest: Ingest, title: str) -> Track:
    return next(track for track in ingest.storage.list_tracks() if track.title == title)


def forget(ingest: Ingest) -> None:
    """Make the library one from before there were measures."""
    ingest.storage.put_tracks(
        replace(t, extra={k: v for k, v in t.extra.items() if k not in FIELDS} | {"mood": "good"})
        for t in ingest.storage.list_tracks()
    )


def test_an_ingest_measures_what_it_reads(ingest: Ingest, music: Path) -> None:
    ingest.run([music])
    beat = measured(of(ingest, "beat"))
    assert beat.tempo == pytest.approx(120, rel=0.02)
    assert beat.key == "C major"
    tones = of(ingest, "tone")
    assert set(FIELDS) <= set(tones.extra)
    assert (tempo_of(tones), key_of(tones)) == (None, "")
    assert loudness_of(tones) is not None


def test_older_tracks_are_measured_once_and_keep_all_else(ingest: Ingest, music: Path) -> None:
    shutil.copy(music / "beat.wav", music / "copy.wav")
    ingest.run([music], names={str(music / "tone.flac"): "A name given.flac"})
    once = ingest.storage.list_tracks()
    forget(ingest)
    before = {track.track_id: track for track in ingest.storage.list_tracks()}
    ids = list(before)
    _, vectors = ingest.storage.get_embeddings(ingest.encoder.space, ids)

    summary = ingest.run([music])
    # Both files of the track of two files are on the list; one of them is read.
    assert (summary.found, summary.measured, summary.unchanged) == (3, 2, 1)
    assert (summary.added, summary.updated, summary.linked) == (0, 0, 0)
    assert "2 measured" in summary.sentence()
    after = ingest.storage.list_tracks()
    measures = {track.track_id: measured_extra(track.extra) for track in once}
    assert after == [
        replace(before[t], extra={**before[t].extra, **measures[t]}) for t in sorted(ids)
    ]
    assert of(ingest, "A name given").extra["mood"] == "good"
    _, again = ingest.storage.get_embeddings(ingest.encoder.space, ids)
    np.testing.assert_array_equal(again, vectors)

    summary = ingest.run([music])
    assert (summary.measured, summary.unchanged) == (0, 3)
    assert "decode" not in summary.stages


def test_an_older_track_whose_file_is_broken_or_gone_is_not_tried_for_ever(
    ingest: Ingest, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.run([music])
    forget(ingest)
    (music / "beat.wav").unlink()
    stamp = (music / "tone.flac").stat()
    damaged = (music / "tone.flac").read_bytes()[:9_000].ljust(stamp.st_size, b"\xff")
    (music / "tone.flac").write_bytes(damaged)
    os.utime(music / "tone.flac", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    summary = ingest.run([music])
    assert (summary.quarantined, summary.missing, summary.measured) == (1, 1, 0)
    summary = ingest.run([music])
    assert (summary.quarantined, summary.measured, summary.stages) == (1, 0, {})
    assert len(ingest.storage.list_tracks()) == 2


def test_an_older_track_that_moved_is_linked_and_measured_next(ingest: Ingest, music: Path) -> None:
    ingest.run([music])
    forget(ingest)
    (music / "beat.wav").rename(music / "moved.wav")
    (music / "tone.flac").unlink()
    for _ in range(2):
        ingest.run([music])
    moved = of(ingest, "beat")
    assert moved.paths == (str(music / "moved.wav"),)
    assert measured(moved).key == "C major"


def test_another_encoder_keeps_the_measures_of_the_same_bytes_only(
    ingest: Ingest, music: Path, home: Path
) -> None:
    ingest.run([music])
    before = of(ingest, "beat")
    assert measured(before).key == "C major"
    other = Ingest(ingest.storage, SpectrumEncoder(), home=home)
    other.run([music])
    assert of(ingest, "beat").extra == before.extra

    louder = notes(RATE, [(62, 66, 69), (67, 71, 74), (69, 73, 76), (62, 66, 69)], seconds=14)
    soundfile.write(music / "beat.wav", louder, RATE)
    other.run([music])
    assert measured_extra(of(ingest, "beat").extra) == {}
    ingest.run([music])
    after = of(ingest, "beat")
    assert (after.track_id, measured(after).key) == (before.track_id, "D major")


@pytest.mark.parametrize("read_first", [True, False])
def test_a_table_of_metadata_and_measures_live_together(
    ingest: Ingest, music: Path, tmp_path: Path, read_first: bool
) -> None:
    table = tmp_path / "tracks_metadata.csv"
    table.write_text(
        "track_id,album_id,track_no,title,composer,audio_path,duration_sec\n"
        "mine,a1,1,My Title,Anna Bon,music/beat.wav,12\n"
    )
    if read_first:
        ingest.run([music])
    Catalogue(ingest.storage).import_csv(table, audio_root=tmp_path)
    ingest.run([music])
    ingest.run([music])
    track = of(ingest, "My Title")
    assert (track.track_id, track.composer) == ("mine", "Anna Bon")
    assert "title" in track.extra["imported"]
    assert measured(track).key == "C major"
