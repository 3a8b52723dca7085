"""How much faster CLAP hears music here than in laion_clap's own way, and what fewer windows cost.

Both hear the same windows of 10 s with the same weights, HTSAT-tiny in its full size. The peer is
what `laion_clap` does with a file: its front end and its model, one clip at a time, in float32.
`ratio` is ours in float32 over the peer; `ours` is what this machine gets by itself, in bfloat16
where the processor multiplies it natively and the weights agree. `transformers` is
ClapFeatureExtractor and ClapAudioModelWithProjection as their documentation joins them, one clip at
a time. Before anything is timed the three are shown to give the same vectors.

Figures are seconds of audio a second. The sound is synthetic and the WEIGHTS ARE RANDOM: they say
nothing of quality. Quality is measured on the tracks of the library (KINDRED_HOME), for the
descriptors, and for CLAP when the settings name weights that are here:
  P@5    share of the five nearest tracks by the same composer, the track itself left out
  halves share of tracks whose first half finds its own second half nearest among all
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ingest import music, write
from report import finish, options, say

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.embeddings import laion

from kindred.config import Settings, load_settings
from kindred.embeddings import clap
from kindred.embeddings.clap_weights import locate, weights_status
from kindred.embeddings.descriptors import DescriptorEncoder
from kindred.embeddings.encoder import Encoder, TrackEmbedding, pool
from kindred.library.pipeline import Pipeline
from kindred.library.scan import Candidate
from kindred.storage.local import LocalBackend

RATE = clap.SAMPLE_RATE
WINDOW = 10 * RATE
COUNTS = (1, 3, 6, 12, None)
Table = list[list[object]]


def best(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of a few runs, after one to warm up."""
    work()
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Smallest cosine between rows of unit length."""
    return float((first * second).sum(axis=1).min())


def matmul_peak() -> float:
    """GFLOP/s of a float32 product of two square matrices on all cores."""
    import torch

    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best(lambda: left @ right, 8) / 1e9


def theirs(model: object, extractor: object, windows: np.ndarray) -> np.ndarray:
    """Vectors by transformers' own feature extractor, one clip at a time."""
    import torch

    rows = []
    with torch.inference_mode():
        for window in windows:
            inputs = extractor(window, sampling_rate=RATE, return_tensors="pt")  # type: ignore[operator]
            rows.append(model(**inputs).audio_embeds.numpy()[0])  # type: ignore[operator]
    vectors = np.stack(rows)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def flops(model: object) -> float:
    """Floating-point operations of one window, in 1e9; counted by torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_features=torch.zeros(1, 1, 1001, 64), is_longer=None)  # type: ignore[operator]
    return counter.get_total_flops() / 1e9


def embed_all(
    encoder: Encoder, files: list[Path]
) -> tuple[list[TrackEmbedding | None], Pipeline, float]:
    """Embeddings in the files' order, the pipeline that made them, and the seconds it took."""
    todo = []
    for path in files:
        state = path.stat()
        todo.append(Candidate(path=str(path), size=state.st_size, mtime_ns=state.st_mtime_ns))
    pipeline = Pipeline(encoder, workers=1)
    started = time.perf_counter()
    found = {reading.candidate.path: reading.embedding for reading in pipeline.run(todo)}
    return [found[str(path)] for path in files], pipeline, time.perf_counter() - started


def library(settings: Settings) -> list[tuple[Path, str]]:
    """Files of the library's tracks that have a composer, and the composers."""
    if not (settings.library / "library.db").is_file():
        return []
    storage = LocalBackend(settings.library)
    rows = [(storage.audio_path(track.track_id), track.composer) for track in storage.list_tracks()]
    storage.close()
    return [(path, composer) for path, composer in rows if composer and path.is_file()]


def precision_at_5(vectors: np.ndarray, composers: np.ndarray) -> float:
    """Mean over tracks whose composer has another one."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -2)
    first = np.argsort(-near, axis=1, kind="stable")[:, :5]
    asked = [i for i, name in enumerate(composers) if (composers == name).sum() > 1]
    return float(np.mean([(composers[first[i]] == composers[i]).mean() for i in asked]))


def halves(embeddings: list[TrackEmbedding]) -> float | None:
    """Share of tracks whose first half finds its second; ``None`` without two windows a track."""
    parts = [each.segments for each in embeddings if len(each.segments) > 1]
    if not parts:
        return None
    one = np.stack([pool(part[: len(part) // 2]) for part in parts])
    two = np.stack([pool(part[len(part) // 2 :]) for part in parts])
    return float(np.mean(np.argmax(one @ two.T, axis=1) == np.arange(len(parts))))


def quality(args: Namespace, name: str, encoder: Encoder, rows: list[tuple[Path, str]]) -> Table:
    """Print and return what fewer windows cost on the library's tracks."""
    say(args, f"quality of {name}, {len(rows)} tracks of the library:")
    say(args, "  windows  seconds  cosine to all    P@5  halves")
    table: Table = []
    every = np.empty(0)
    for count in reversed(COUNTS):
        encoder.count = count
        found, _, seconds = embed_all(encoder, [path for path, _ in rows])
        kept = [(each, row[1]) for each, row in zip(found, rows, strict=True) if each is not None]
        vectors = np.stack([each.vector for each, _ in kept])
        every = every if every.size else vectors
        cosine = float((vectors * every).sum(axis=1).mean())
        precision = precision_at_5(vectors, np.array([composer for _, composer in kept]))
        same = halves([each for each, _ in kept])
        label = count or "all"
        line = f"  {label!s:>7}  {seconds:7.2f}  {cosine:13.4f}  {precision:5.3f}"
        say(args, line + ("       -" if same is None else f"  {same:6.3f}"))
        table.append(
            [label, round(seconds, 2), *(round(value, 4) for value in (cosine, precision))]
        )
        table[-1].append(None if same is None else round(same, 4))
    return table


def main() -> None:
    args = options(__doc__)
    times, number, tracks, length = (2, 4, 2, 60) if args.quick else (4, 8, 4, 180)
    with tempfile.TemporaryDirectory() as folder:
        module = laion.htsat("tiny")
        file = laion.save(module, Path(folder) / "random.pt")
        weights = locate(Settings(_env_file=None, clap_model=str(file)))
        exact, auto = clap.ClapEncoder(weights, precision="float32"), clap.ClapEncoder(weights)
        model, front_end = exact.load()
        auto.load()
        _, extractor = clap._load(weights)
        sound = music(10 * number, RATE, 1).mean(axis=1).astype(np.float32)
        windows = sound.reshape(number, WINDOW)

        peer = laion.embed(module, windows)
        say(args, f"{number} windows of 10 s; least cosine to laion_clap's vectors:")
        agreement = {
            "transformers": least_cosine(theirs(model, extractor, windows), peer),
            "float32": least_cosine(exact.encode(windows), peer),
            auto.precision: least_cosine(auto.encode(windows), peer),
        }
        for name, value in agreement.items():
            say(args, f"  {name:13} {value:.6f}")
        if min(agreement.values()) < clap.AGREEMENT:
            raise SystemExit("the vectors differ: there is nothing to compare")

        # Taken in turn, so that other work on the machine falls on all of them.
        ways: dict[str, Callable[[], object]] = {
            "laion_clap": lambda: laion.embed(module, windows),
            "transformers": lambda: theirs(model, extractor, windows),
            "ours, float32": lambda: exact.encode(windows),
            f"ours, {auto.precision}": lambda: auto.encode(windows),
        }
        spent = dict.fromkeys(ways, float("inf"))
        peak = 0.0
        for _ in range(3):
            peak = max(peak, matmul_peak())
            for name, work in ways.items():
                spent[name] = min(spent[name], best(work, times))
        speed = {name: 10 * number / seconds for name, seconds in spent.items()}
        for name, value in speed.items():
            say(args, f"{name:15} {value:7.1f} x real time")
        each = flops(model)
        share = each * speed["ours, float32"] / 10 / peak
        say(args, f"{each:.1f} GFLOP a window; float32 gets {share:.0%} of {peak:.0f} GFLOP/s")

        files = []
        for track in range(tracks):
            files.append(Path(folder) / f"{track}.flac")
            write(files[-1], music(length, 44_100, track), 44_100)
        say(args, f"{tracks} tracks of {length} s from FLAC files, {auto.precision}:")
        say(args, "  windows  seconds  x real time")
        table: Table = []
        for count in reversed(COUNTS):
            auto.count = count
            _, pipeline, seconds = embed_all(auto, files)
            if count is None:
                stages = pipeline.times
            label = count or "all"
            say(args, f"  {label!s:>7}  {seconds:7.2f}  {tracks * length / seconds:11.0f}")
            table.append([label, round(seconds, 2)])
        auto.count = None

        import torch

        one = torch.from_numpy(windows[:1].copy())
        cores = auto._threads._max_workers if auto._threads else 1
        front = best(lambda: front_end(one), 8) * tracks * length / 10 / cores
        parts = {"decode": stages["decode"], "front end": front, "model": stages["encode"] - front}
        shares = {name: round(value / sum(parts.values()), 3) for name, value in parts.items()}
        say(args, f"share of the work with all windows: {shares}")

    settings = load_settings()
    rows = library(settings)
    found: dict[str, Table] = {}
    if len(rows) < 20:
        say(args, "quality: needs a library of at least 20 tracks with composers (KINDRED_HOME)")
    else:
        found["descriptors"] = quality(args, "descriptors", DescriptorEncoder(), rows)
        if weights_status(settings).available:
            found["clap"] = quality(args, "CLAP", clap.from_settings(settings), rows)
        else:
            say(args, "quality of CLAP: needs real weights (`kindred models pull clap`)")
    finish(
        "clap",
        ours=speed[f"ours, {auto.precision}"],
        peer=speed["laion_clap"],
        ratio=speed["ours, float32"] / speed["laion_clap"],
        float32=round(speed["ours, float32"], 1),
        precision=auto.precision,
        transformers=round(speed["transformers"], 1),
        over_transformers=round(speed["ours, float32"] / speed["transformers"], 2),
        cosine={name: round(value, 6) for name, value in agreement.items()},
        of_matmul_peak=round(share, 3),
        shares=shares,
        windows=table,
        weights="random",
        quality=found,
    )


if __name__ == "__main__":
    main()
