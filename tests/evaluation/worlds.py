"""Small libraries with known truth."""

from __future__ import annotations

import numpy as np

from kindred.evaluation.labels import Labels


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def labels(
    values: list[str],
    *,
    works: list[str] | None = None,
    albums: list[str] | None = None,
    recordings: list[str] | None = None,
    ids: list[str] | None = None,
    name: str = "composer",
    min_works: int = 1,
) -> Labels:
    """Labels of tracks named 000, 001 ... unless told; what is not given is unknown."""
    none = [""] * len(values)
    return Labels(
        name,
        tuple(ids or [f"{number:03d}" for number in range(len(values))]),
        tuple(values),
        tuple(works or none),
        tuple(albums or none),
        tuple(recordings or none),
        min_works,
    )


def untidy(seed: int = 0, n: int = 150) -> tuple[np.ndarray, Labels]:
    """A library with all there is: lone tracks, gaps, equal vectors, works over two albums.

    Vectors know a little of the composer, more of the work, most of the album.
    """
    rng = np.random.default_rng(seed)
    composer = rng.integers(14, size=n)
    composer[:4] = [90, 91, 92, -1]
    work = composer * 10 + rng.integers(4, size=n)
    album = np.where(rng.random(n) < 0.5, work // 2, rng.integers(30, size=n))
    parts = [rng.standard_normal((2000, 12)) for _ in range(3)]
    vectors = unit(
        rng.standard_normal((n, 12))
        + 0.4 * parts[0][composer]
        + 0.5 * parts[1][work]
        + 0.7 * parts[2][album]
    )
    vectors[40:60] = vectors[60:80]
    vectors[100:104] = vectors[99]
    gap = rng.random((3, n))
    ids = [f"t{number:04d}" for number in rng.permutation(9_999)[:n]]

    def names(kind: str, numbers: np.ndarray, share: float, gaps: np.ndarray) -> tuple[str, ...]:
        known = (numbers >= 0) & (gaps >= share)
        return tuple(np.where(known, [f"{kind} {item}" for item in numbers], "").tolist())

    pair = np.arange(n) % 20
    return vectors, Labels(
        "composer",
        tuple(ids),
        names("Composer", composer, 0.08, gap[0]),
        names("work", work, 0.1, gap[1]),
        names("album", album, 0.1, gap[2]),
        tuple(f"copy {pair[row]}" if 40 <= row < 80 else "" for row in range(n)),
        3,
    )
