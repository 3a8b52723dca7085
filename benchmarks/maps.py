"""Maps of 1,000 to 50,000 tracks of 512 dimensions, beside umap-learn's and scikit-learn's own.

The vectors are made (seeded): 120 clusters of unequal size in a space of 64 dimensions, turned into
512 and blurred. Seconds are of a whole map, neighbours included, once everything is compiled; ours
is seeded, theirs as it comes: ``umap.UMAP().fit_transform(x)``, ``TSNE().fit_transform(x)``, in a
process of its own that is given up after a quarter of an hour. Trustworthiness and neighbours kept
are for k = 10: of all tracks up to 10,000, beyond for the same 1,000 tracks on both sides, among
all. The first call is measured in fresh processes with an empty and a filled compiler cache.
Ratio: umap-learn's seconds over ours at 10,000 tracks (``--quick``: at 3,000).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from report import finish, options, say

from kindred.maps.layout import lay_out, warm_up
from kindred.maps.neighbours import find_neighbours
from kindred.maps.options import MapOptions
from kindred.maps.place import place

DIMS, CLUSTERS, K, SAMPLE = 512, 120, 10, 1_000
PATIENCE = 900
METHODS = ("umap", "tsne")
FIRST = (
    "import time; start = time.perf_counter(); from kindred.maps.layout import warm_up; warm_up();"
    " print(time.perf_counter() - start)"
)


def draw(count: int, seed: int) -> np.ndarray:
    """Unit vectors, float32 [count, DIMS]."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    basis = np.linalg.qr(fixed.standard_normal((DIMS, 64)))[0].T
    centres = fixed.standard_normal((CLUSTERS, 64))
    labels = rng.choice(CLUSTERS, count, p=fixed.dirichlet(np.ones(CLUSTERS)))
    points = (centres[labels] + 0.8 * rng.standard_normal((count, 64))) @ basis / 8
    points += 0.02 * rng.standard_normal((count, DIMS))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def faithful(vectors: np.ndarray, positions: np.ndarray) -> tuple[float, float]:
    """Trustworthiness (Venna and Kaski 2001), and the share of true neighbours that are kept."""
    n = len(vectors)
    rows = np.arange(n)
    if n > 10_000:
        rows = np.sort(np.random.default_rng(0).choice(n, SAMPLE, replace=False))
    penalty, kept = 0, 0
    for row in rows:
        near, far = vectors @ vectors[row], np.square(positions - positions[row]).sum(axis=1)
        near[row], far[row] = -np.inf, np.inf
        shown = np.argpartition(far, K)[:K]
        ranks = 1 + (near[:, None] > near[shown]).sum(axis=0)
        penalty += np.maximum(ranks - K, 0).sum()
        kept += (ranks <= K).sum()
    return 1 - 2 * penalty / (len(rows) * K * (2 * n - 3 * K - 1)), kept / (len(rows) * K)


def theirs(method: str, count: int) -> tuple[float, np.ndarray]:
    """Seconds and positions of the usual library with its own defaults."""
    warnings.simplefilter("ignore")
    from sklearn.manifold import TSNE
    from umap import UMAP

    make: Any = UMAP if method == "umap" else TSNE
    make().fit_transform(draw(300, 1))  # compiled before the clock starts
    if count > 4_096:
        make().fit_transform(draw(4_200, 1)) if method == "umap" else None
    vectors = draw(count, 0)
    start = time.perf_counter()
    positions = make().fit_transform(vectors)
    return time.perf_counter() - start, positions


def patiently(method: str, count: int) -> tuple[float, np.ndarray] | None:
    """:func:`theirs` in a process of its own; ``None`` when it takes too long."""
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    running = pool.submit(theirs, method, count)
    try:
        return running.result(timeout=PATIENCE)
    except TimeoutError:
        for process in pool._processes.values():  # there is no public way to stop one
            process.kill()
        return None
    finally:
        pool.shutdown(wait=False)


def first_call() -> dict[str, float]:
    """Seconds of the first map in a fresh process: all to compile, and nothing."""
    taken = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold_s", "warm_s"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST],
                env=os.environ | {"NUMBA_CACHE_DIR": cache},
                capture_output=True,
                text=True,
                check=True,
            )
            taken[name] = round(float(done.stdout), 2)
    return taken


COLUMNS = ("tracks", "method", "ours_s", "theirs_s", "trust", "their_trust", "kept", "their_kept")


def main() -> None:
    args = options(__doc__)
    sizes = (1_000, 3_000) if args.quick else (1_000, 10_000, 50_000)
    first = first_call()
    say(args, f"first call: {first['cold_s']} s to compile, {first['warm_s']} s from the cache")
    warm_up()
    table: list[dict[str, Any]] = []
    say(args, "  ".join(COLUMNS))
    placed_s = 0.0
    for count in sizes:
        vectors = draw(count, 0)
        for method in METHODS:
            made = MapOptions(method=method)
            start = time.perf_counter()
            near = find_neighbours(vectors, 90 if method == "tsne" else 15)
            positions = None if near is None else lay_out(vectors, near, made)
            taken = time.perf_counter() - start
            if positions is None:
                raise SystemExit("nobody cancelled, and there is no map")
            line: dict[str, Any] = {"tracks": count, "method": method, "ours_s": round(taken, 2)}
            line["trust"], line["kept"] = (round(v, 4) for v in faithful(vectors, positions))
            other = patiently(method, count)
            line |= dict.fromkeys(("theirs_s", "their_trust", "their_kept"), f"> {PATIENCE} s")
            if other is not None:
                measured = (other[0], *faithful(vectors, other[1]))
                line["theirs_s"], line["their_trust"], line["their_kept"] = (
                    round(value, 4) for value in measured
                )
                if line["their_trust"] > line["trust"] + 0.01 or other[0] < taken:
                    line["worse"] = True
            table.append(line)
            say(args, "  ".join(str(line[name]).rjust(len(name)) for name in COLUMNS))
        new = draw(100, 2)
        start = time.perf_counter()
        place(new, vectors, positions)
        placed_s = time.perf_counter() - start
    say(args, f"100 new tracks placed among {sizes[-1]:,}: {placed_s:.2f} s")
    line = table[len(METHODS)]
    finish(
        "maps", ours=line["ours_s"], peer=line["theirs_s"],
        ratio=line["theirs_s"] / line["ours_s"], table=table, first_call=first,
        placed_s=round(placed_s, 2),
    )  # fmt: skip


if __name__ == "__main__":
    main()
