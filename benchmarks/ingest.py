"""How much faster music comes in than with a plain librosa loop over the same files.

Ours is the whole ingest (hash, tags, decode, descriptors, database) into an empty library. The
peer loads each file with librosa and takes mean and deviation of what our four families hold, by
librosa's own functions with their defaults: MFCC and their deltas, centroid, bandwidth, rolloff,
flatness, contrast (timbre); chroma, tonnetz (harmony); onset strength, tempogram, tempo (rhythm);
RMS (dynamics). librosa cannot read AAC without an ffmpeg program; there the peer is given PyAV's
samples, and the time it takes to get them counts.

Figures are seconds of audio per second. The sound is synthetic (chords, pulses and noise).
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from report import finish, options, say

from kindred.config import load_settings
from kindred.embeddings.encoder import Encoder
from kindred.embeddings.registry import load_encoder
from kindred.library.ingest import Ingest, IngestSummary
from kindred.storage.local import LocalBackend

FORMATS = ("wav", "flac", "ogg", "mp3", "m4a", "opus", "aiff")


def music(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Stereo chords that change, with a pulse and a little noise, float32 [samples, 2]."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(int(seconds * rate)) / rate
    sound = 0.01 * rng.normal(size=(len(time_), 2))
    for start in np.arange(0, seconds, 0.5):
        part = slice(int(start * rate), int((start + 0.5) * rate))
        decay = np.exp(-4 * (time_[part] - start))
        for note in rng.choice(np.arange(40, 80), 3, replace=False):
            wave = np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * time_[part])
            sound[part] += (0.1 * decay * wave)[:, None] * rng.uniform(0.5, 1, 2)
    return sound.astype(np.float32)


def write(path: Path, sound: np.ndarray, rate: int) -> None:
    """Write a file in the format of its suffix."""
    import av
    import soundfile

    if path.suffix != ".m4a":
        subtype = {"opus": "OPUS", "ogg": "VORBIS"}.get(path.suffix[1:])
        kind = "OGG" if subtype else None
        with soundfile.SoundFile(path, "w", rate, 2, subtype=subtype, format=kind) as out:
            for start in range(0, len(sound), rate):  # libsndfile's Vorbis fails on long blocks
                out.write(sound[start : start + rate])
        return
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=rate)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound.T), format="fltp", layout="stereo"
        )
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)


def librosa_features(path: Path) -> np.ndarray:
    """What the peer computes."""
    import av
    import librosa

    if path.suffix == ".m4a":
        with av.open(str(path)) as container:
            parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
            rate = container.streams.audio[0].rate
        sound = np.concatenate(parts, axis=1).mean(axis=0)
        sound = librosa.resample(sound, orig_sr=rate, target_sr=22_050)
    else:
        sound, _ = librosa.load(path, sr=22_050)
    mfcc = librosa.feature.mfcc(y=sound, n_mfcc=20)
    chroma = librosa.feature.chroma_stft(y=sound)
    features = (
        mfcc,
        librosa.feature.delta(mfcc),
        librosa.feature.spectral_centroid(y=sound),
        librosa.feature.spectral_bandwidth(y=sound),
        librosa.feature.spectral_rolloff(y=sound),
        librosa.feature.spectral_flatness(y=sound),
        librosa.feature.spectral_contrast(y=sound),
        chroma,
        librosa.feature.tonnetz(chroma=chroma),
        librosa.onset.onset_strength(y=sound)[None],
        librosa.feature.tempogram(y=sound),
        librosa.feature.tempo(y=sound)[None],
        librosa.feature.rms(y=sound),
    )
    return np.concatenate([f(part, axis=1) for part in features for f in (np.mean, np.std)])


def ingest_all(
    home: Path, encoder: Encoder, files: list[Path], seconds: float
) -> tuple[IngestSummary, float]:
    """Bring the files into an empty library; the summary and the seconds of audio per second."""
    started = time.perf_counter()
    storage = LocalBackend(home)
    summary = Ingest(storage, encoder, home=home).run([files[0].parent])
    spent = time.perf_counter() - started
    storage.close()
    if summary.added != len(files):
        raise SystemExit(f"only {summary.added} of {len(files)} files came in")
    return summary, seconds * len(files) / spent


def main() -> None:
    args = options(__doc__)
    seconds, copies = (20, 1) if args.quick else (60, 4)
    with tempfile.TemporaryDirectory() as folder:
        music_folder = Path(folder) / "music"
        music_folder.mkdir()
        files = []
        for copy in range(copies):
            for number, name in enumerate(FORMATS):
                rate = 48_000 if name == "opus" else 44_100
                path = music_folder / f"{copy}.{name}"
                write(path, music(seconds, rate, 100 * copy + number), rate)
                files.append(path)
        total = seconds * len(files)
        say(args, f"{len(files)} files of {seconds} s in {len(FORMATS)} formats")

        encoder = load_encoder("descriptors", load_settings())
        encoder.embed(music(10, 22_050, 1).mean(axis=1))  # tables and thread pools are made once
        librosa_features(files[0])  # numba compiles here

        # Taken in turns, so that what else the machine does falls on both.
        rounds = []
        for number in range(1 if args.quick else 3):
            summary, ours = ingest_all(Path(folder) / f"library{number}", encoder, files, seconds)
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for path in files:
                    librosa_features(path)
            rounds.append((ours, total / (time.perf_counter() - started), summary))
            say(args, f"round {number + 1}: {ours:.0f} against {rounds[-1][1]:.0f}")
    ours, peer, summary = sorted(rounds, key=lambda round_: round_[0] / round_[1])[len(rounds) // 2]

    say(args, f"ours    {ours:7.1f} x real time (reader threads beside one encoding thread)")
    say(args, f"librosa {peer:7.1f} x real time")
    say(args, f"that round's {summary.seconds:.1f} s hold, in seconds added up over the threads:")
    for stage, spent in summary.stages.items():
        say(args, f"  {stage:7} {spent:6.2f}")
    finish("ingest", ours=ours, peer=peer, ratio=ours / peer, stages=summary.stages)


if __name__ == "__main__":
    main()
