"""Making the constants of the descriptors from a folder of music.

Run ``python -m kindred.embeddings.calibrate FOLDER`` over the library the descriptors shall tell
apart: mean and deviation of every dimension and the weight of every family are measured there and
written to ``descriptors.json``. The new constants name a new space, so a library must be embedded
again afterwards. Some hundred tracks of varied music are enough; up to twelve windows, evenly
spread, are taken from each, so that no long track decides.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.audio.windows import iter_windows
from kindred.embeddings.descriptors import (
    CLIP,
    CONSTANTS_PATH,
    DIMENSIONS,
    FAMILIES,
    raw_descriptors,
)
from kindred.embeddings.encoder import Vector
from kindred.embeddings.features.spectrum import SAMPLE_RATE
from kindred.errors import EncoderError

#: Files the command reads.
SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff"})
#: Most windows taken from one track.
WINDOWS_A_TRACK = 12
#: Fewest tracks that say anything about how a dimension spreads.
FEWEST_TRACKS = 10
#: Pairs of windows from which the families' weights are measured.
PAIRS = 20_000
WINDOW = 10 * SAMPLE_RATE


def window_descriptors(audio: Vector) -> Vector:
    """Raw descriptors of up to :data:`WINDOWS_A_TRACK` windows of a track.

    Parameters
    ----------
    audio : float32 [samples]
        Mono at 22,050 Hz.

    Returns
    -------
    float32 [n, dims]
        Windows 50 dB under the loudest are left out.
    """
    windows = np.concatenate(list(iter_windows([audio], window=WINDOW, hop=WINDOW, batch=64)))
    # Silence before or after a piece has no timbre; it would only stretch the deviations.
    power = np.mean(np.square(windows), axis=1)
    windows = windows[power > max(1e-12, 1e-5 * float(power.max()))]
    if not len(windows):
        return np.empty((0, len(DIMENSIONS)), np.float32)
    count = min(len(windows), WINDOWS_A_TRACK)
    picks = np.linspace(0, len(windows) - 1, count).round().astype(int)
    return raw_descriptors(windows[picks])


def fit(tracks: Iterable[Vector], *, material: str) -> dict[str, Any]:
    """Constants from the raw descriptors of each track.

    A family's weight is the inverse root of the deviation of its dot products over pairs of windows
    of different tracks: were all weights 1, the family whose dimensions agree most with each other
    would order the neighbours alone.

    Parameters
    ----------
    tracks : iterable of float32 [n, dims]
        One array a track, from :func:`window_descriptors`.
    material : str
        What the tracks are; kept in the file.

    Returns
    -------
    dict
        The content of ``descriptors.json``.

    Raises
    ------
    EncoderError
        When there are too few tracks.
    """
    arrays = [array for array in tracks if len(array)]
    if len(arrays) < FEWEST_TRACKS:
        raise EncoderError(f"Calibration needs at least {FEWEST_TRACKS} tracks, got {len(arrays)}.")
    raw = np.concatenate(arrays).astype(np.float64)
    owner = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    # A few odd windows must not stretch a dimension: its outermost hundredths are drawn in.
    inner = np.clip(raw, *np.quantile(raw, (0.01, 0.99), axis=0))
    mean, std = inner.mean(axis=0), inner.std(axis=0)
    # A dimension that hardly moves would be blown up to noise.
    std = np.maximum(std, 1e-3 * (np.abs(mean) + 1e-3))
    values = np.clip((raw - mean) / std, -CLIP, CLIP)
    weights = _family_weights(values, owner)
    return {
        "material": material,
        "tracks": len(arrays),
        "windows": len(raw),
        "weights": {family: round(weight, 5) for family, weight in weights.items()},
        "dimensions": [
            {"name": name, "mean": float(f"{m:.6g}"), "std": float(f"{s:.6g}")}
            for name, m, s in zip(DIMENSIONS, mean, std, strict=True)
        ],
    }


def _family_weights(values: NDArray[np.float64], owner: NDArray[np.intp]) -> dict[str, float]:
    """Weights under which the dot products of all families deviate equally."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(values), size=(2, PAIRS))
    different = owner[first] != owner[second]
    first, second = first[different], second[different]
    spread = {
        family: float(np.std(np.mean(values[first, part] * values[second, part], axis=1)))
        for family, part in FAMILIES.items()
    }
    square = {family: 1 / max(deviation, 1e-9) for family, deviation in spread.items()}
    total = sum(square.values()) / len(square)
    return {family: float(np.sqrt(value / total)) for family, value in square.items()}


def write_constants(table: dict[str, Any], path: Path) -> None:
    """Write the constants under a temporary name and rename them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(table, indent=1, ensure_ascii=False)
    # One dimension a line: a file people can read and compare.
    for key in ("name", "mean", "std"):
        text = text.replace(f'\n   "{key}"', f'{"" if key == "name" else " "}"{key}"')
    temporary.write_text(text.replace("\n  }", "}") + "\n", encoding="utf-8")
    temporary.replace(path)


def read_mono(path: Path) -> Vector:
    """Decode a file to mono float32 at 22,050 Hz."""
    import soundfile
    import soxr

    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1, dtype=np.float32)
    return np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate over a folder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kindred.embeddings.calibrate")
    parser.add_argument("folder", type=Path, help="folder of music, searched with subfolders")
    parser.add_argument("--output", type=Path, default=CONSTANTS_PATH, help="file to write")
    parser.add_argument("--material", help="what the music is, kept in the file")
    options = parser.parse_args(arguments)
    paths = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    arrays = []
    for number, path in enumerate(paths, start=1):
        arrays.append(window_descriptors(read_mono(path)))
        if number % 50 == 0:
            print(f"{number} of {len(paths)}", file=sys.stderr, flush=True)
    try:
        table = fit(arrays, material=options.material or options.folder.name)
    except EncoderError as error:
        print(f"{error} Looked for {', '.join(sorted(SUFFIXES))} in {options.folder}.")
        return 1
    write_constants(table, options.output)
    print(f"{options.output}: {table['tracks']} tracks, {table['windows']} windows.")
    print("Weights: " + ", ".join(f"{f} {w:.2f}" for f, w in table["weights"].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
