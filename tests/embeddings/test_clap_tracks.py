"""CLAP over whole tracks: which windows, in what company, in which format, in how much memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kindred.config import Settings, load_settings
from kindred.embeddings.clap import ClapEncoder, from_settings
from kindred.embeddings.clap_weights import locate
from kindred.errors import ConfigError
from kindred.library.pipeline import Pipeline
from kindred.library.scan import Candidate
from tests.embeddings import laion, sounds

RATE = 48_000


def music(seconds: float, *, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Chords that change, over a pulse and a little noise."""
    rng = np.random.default_rng(seed)
    chords = [tuple(rng.integers(45, 80, size=3)) for _ in range(40)]
    audio = sounds.notes(rate, chords, step=0.4, seconds=seconds)
    audio += 0.3 * sounds.clicks(rate, bpm=100, seconds=seconds, seed=seed)
    return audio + 0.05 * sounds.noise(rate, seconds=seconds, seed=seed)


def at(place: Path, **more: object) -> Settings:
    return Settings(_env_file=None, clap_model=str(place), model_dir=place.parent, **more)


def candidate(path: Path) -> Candidate:
    state = path.stat()
    return Candidate(path=str(path), size=state.st_size, mtime_ns=state.st_mtime_ns)


def test_the_number_of_windows_is_part_of_the_space(clap_folder: Path) -> None:
    every, six = from_settings(at(clap_folder)), from_settings(at(clap_folder, clap_windows=6))
    assert (every.space.pooling, six.space.pooling) == ("mean", "mean of 6")
    assert every.space.space_id != six.space.space_id


def test_the_settings_read_all_or_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().clap_windows == "all"
    monkeypatch.setenv("KINDRED_CLAP_WINDOWS", "6")
    assert load_settings().clap_windows == 6
    for wrong in ("0", "some", "1000"):
        monkeypatch.setenv("KINDRED_CLAP_WINDOWS", wrong)
        with pytest.raises(ConfigError, match="CLAP_WINDOWS"):
            load_settings()


@pytest.mark.parametrize("count", [None, 3])
def test_ingest_and_a_clip_give_the_same_bits(
    clap_folder: Path, tmp_path: Path, count: int | None
) -> None:
    encoder = ClapEncoder(locate(at(clap_folder)), windows=count)
    tracks = {tmp_path / f"{i}.wav": music(25 + 30 * i, seed=i) for i in range(3)}
    for path, audio in tracks.items():
        soundfile.write(path, audio, RATE, subtype="FLOAT")
    for workers in (1, 3):
        files = [candidate(path) for path in tracks]
        for reading in Pipeline(encoder, workers=workers).run(files):
            assert reading.embedding is not None
            audio = tracks[Path(reading.candidate.path)]
            assert reading.seconds == pytest.approx(len(audio) / RATE)
            alone = encoder.embed(audio)
            assert len(alone.segments) == (count or -(-len(audio) // (10 * RATE)))
            np.testing.assert_array_equal(reading.embedding.segments, alone.segments)
            np.testing.assert_array_equal(reading.embedding.vector, alone.vector)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_company_of_a_window_changes_no_bit(clap_folder: Path, batch: int) -> None:
    encoder = from_settings(at(clap_folder))
    if encoder.device != "cpu":
        pytest.skip("a GPU takes the batch at once")
    audio = music(45)
    expected = encoder.embed(audio).segments
    encoder.batch = batch
    np.testing.assert_array_equal(encoder.embed(audio).segments, expected)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ClapEncoder:
    """HTSAT-tiny in full size, with weights that make its layers listen."""
    file = tmp_path_factory.mktemp("laion") / "tiny.pt"
    return from_settings(at(laion.save(laion.htsat("tiny"), file)))


@pytest.mark.slow
def test_leading_silence_and_the_format_hardly_move_a_track(
    tiny: ClapEncoder, tmp_path: Path
) -> None:
    """Cosine of at least 0.999 after 1.2 s of silence in front, and between formats.

    The weights are random, and with them the promise is nearly kept by itself: another piece of
    this music is at .9988, where silence leaves .9999. So this guards the windows, the front end
    and the pooling of the real architecture against gross faults; how far trained weights move is
    for trained weights to say.
    """
    audio = music(75)
    plain = tiny.embed(audio).vector
    late = tiny.embed(np.concatenate([np.zeros(round(1.2 * RATE), np.float32), audio])).vector
    assert float(plain @ late) >= 0.999
    other = tiny.embed(sounds.noise(RATE, seconds=20)).vector
    assert float(plain @ other) < 0.99
    files = []
    for name, subtype in (("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")):
        files.append(tmp_path / f"track.{name}")
        with soundfile.SoundFile(files[-1], "w", RATE, 1, subtype=subtype) as out:
            for start in range(0, len(audio), RATE):
                out.write(audio[start : start + RATE])
    for reading in Pipeline(tiny, workers=2).run([candidate(path) for path in files]):
        assert reading.embedding is not None
        assert float(plain @ reading.embedding.vector) >= 0.999, reading.candidate.path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("count", ["all", "6"])
def test_memory_does_not_grow_with_the_length_of_a_track(
    clap_folder: Path, tmp_path: Path, count: str
) -> None:
    """Three hours need at most 100 MB more than ten minutes, and under 1 GB in all."""
    code = """
import sys
from pathlib import Path
from kindred.config import Settings
from kindred.embeddings.clap import from_settings
from kindred.library.pipeline import Pipeline
from kindred.library.scan import Candidate
folder, count, *files = sys.argv[1:]
encoder = from_settings(Settings(_env_file=None, clap_model=folder, clap_windows=count))
encoder.load()
encode = encoder.encode
encoder.encode = lambda batch: encode(batch[:1]).repeat(len(batch), axis=0)  # time, not memory
for file in files:
    state = Path(file).stat()
    one = Candidate(path=file, size=state.st_size, mtime_ns=state.st_mtime_ns)
    (reading,) = Pipeline(encoder, workers=1).run([one])
    assert reading.embedding is not None, reading.error
    # Of this program alone; getrusage would count the memory of the one that started it.
    (peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(round(reading.seconds), int(peak.split()[1]) // 1024)
"""
    files = []
    piece = (music(60, rate=8_000) * 32_000).astype(np.int16)
    for minutes in (10, 180):
        files.append(tmp_path / f"{minutes}.wav")
        with soundfile.SoundFile(files[-1], "w", 8_000, 1, subtype="PCM_16") as out:
            for _ in range(minutes):
                out.write(piece)
    done = subprocess.run(
        [sys.executable, "-c", code, str(clap_folder), count, *map(str, files)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (short, before), (long, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    print(f"peak {before} MB after ten minutes, {after} MB after three hours")
    assert (short, long) == (600, 10_800)
    assert after - before < 100
    assert after < 1000
