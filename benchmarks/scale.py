"""Exact search, HNSW and IVF on disk from ten thousand to a million tracks of 512 dimensions.

The vectors are made: 400 overlapping clusters of very unequal size in a space of 64 dimensions,
turned into 512 and blurred (seeded); queries are drawn in the same way and are not among the
tracks. Truth is exact search. Each index is built and asked in a process of its own. Memory is what
that process holds itself, above what it held before; pages of mapped files are shared and given
back when others need them, and stand in a column of their own.

"Far filter" lets only those 20% of the tracks answer that are least like the queries; "far
queries" lie far from all tracks (cosine .4), as words do. "Cold" is the first answer, with opening,
when no page of the files is in memory. "Next search" is the time from one track put into the
database to the answer that counts it: with everything written anew, and with the change alone.

The ratio is exact search's 95th percentile against IVF's, at the largest size.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from report import finish, options, say

from kindred.storage import hnsw, ivf, vectors
from kindred.storage.vector_search import VectorSearch

DIMS, K, QUERIES, FEW = 512, 10, 200, 50
MB = 1 << 20


# -- the library ---------------------------------------------------------------------------
class Maker:
    """Draws vectors, block after block."""

    def __init__(self, seed: int) -> None:
        fixed = np.random.default_rng(0)
        self.spread = np.arange(1, 65) ** -0.35
        self.spread /= np.linalg.norm(self.spread)
        self.centres = fixed.normal(size=(400, 64)) * self.spread
        self.shares = fixed.dirichlet(np.full(400, 0.7))
        self.basis = np.linalg.qr(fixed.normal(size=(DIMS, 64)))[0].T
        self.middle = 0.7 * fixed.normal(size=DIMS) / DIMS**0.5
        self.rng = np.random.default_rng(seed)

    def draw(self, count: int) -> np.ndarray:
        cluster = self.rng.choice(400, count, p=self.shares)
        within = self.centres[cluster] + 0.7 * self.rng.normal(size=(count, 64)) * self.spread
        points = within @ self.basis + self.middle
        points += 0.25 * self.rng.normal(size=(count, DIMS)) / DIMS**0.5
        return unit(points)


def unit(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def questions() -> dict[str, np.ndarray]:
    near = Maker(1).draw(QUERIES)
    away = unit(np.random.default_rng(2).normal(size=near.shape))
    return {"near": near, "far": unit(0.45 * near + 0.9 * away)}


@dataclass
class Rows:
    """A space's vectors in SQLite, with the version at which each was put."""

    db: sqlite3.Connection
    version: int = 1

    def count(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def all(self) -> Iterable[tuple[str, bytes]]:
        return self.db.execute("SELECT track_id, vector FROM vectors ORDER BY track_id")

    def since(self, version: int) -> Iterable[tuple[str, bytes | None]]:
        return self.db.execute("SELECT track_id, vector FROM vectors WHERE at > ?", (version,))

    def put(self, rows: Iterable[tuple[str, bytes]]) -> None:
        self.version += 1
        with self.db:
            self.db.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?)", ((*row, self.version) for row in rows)
            )


def fill(file: Path, count: int) -> Rows:
    rows = Rows(sqlite3.connect(file))
    rows.db.execute("PRAGMA journal_mode = WAL")
    rows.db.execute("CREATE TABLE vectors (track_id TEXT PRIMARY KEY, vector BLOB, at INTEGER)")
    rows.db.execute("CREATE INDEX vectors_at ON vectors (at)")
    maker = Maker(0)
    for start in range(0, count, 50_000):
        block = maker.draw(min(50_000, count - start))
        rows.put((f"track-{start + at:029d}", row.tobytes()) for at, row in enumerate(block))
    return rows


# -- in a process of its own ---------------------------------------------------------------
def held(*names: str) -> float:
    """Memory of this process, in MB: RssAnon is its own, RssFile is mapped."""
    status = Path("/proc/self/status").read_text()
    found = dict(line.split(":") for line in status.splitlines() if ":" in line)
    return sum(int(found[name].split()[0]) for name in names) * 1024 / MB


@contextlib.contextmanager
def peak(of: dict[str, Any], name: str) -> Iterator[None]:
    """The most memory of its own that the process gains meanwhile, in MB."""
    before, done = held("RssAnon"), threading.Event()
    seen = [before]

    def watch() -> None:
        while not done.wait(0.02):
            seen.append(held("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    done.set()
    thread.join()
    of[name] = round(max(seen) - before)


def measure(kind: str, folder: str, truth: dict[str, np.ndarray]) -> dict[str, Any]:
    """Build an index of the base in a folder and ask it."""
    import faiss  # noqa: F401  imported by all, so that its own size counts for none

    snapshot = vectors.open_snapshot(Path(folder), 1 << 40, DIMS)
    if snapshot is None:
        raise SystemExit(f"there is no base in {folder}")
    out: dict[str, Any] = {"index": kind, "tracks": len(snapshot), "build_s": 0.0, "peak_mb": 0}
    out["file_mb"] = round(snapshot.path.stat().st_size / MB)
    module = {"hnsw": hnsw, "ivf": ivf}.get(kind)
    ask: Callable[..., tuple[np.ndarray, np.ndarray]] = snapshot.search
    before = held("RssAnon"), held("RssFile")
    if module is not None:
        with peak(out, "peak_mb"):
            started = time.perf_counter()
            out["file_mb"] = round(module.build(snapshot).stat().st_size / MB)
            out["build_s"] = round(time.perf_counter() - started, 1)
        before = held("RssAnon"), held("RssFile")
        opened = module.load(snapshot)

        def ask(query: np.ndarray, k: int, **more: Any) -> tuple[np.ndarray, np.ndarray]:
            return module.top_rows(opened, snapshot, query, k, **more)

    def recall(name: str, queries: np.ndarray, **more: Any) -> tuple[float, list[float]]:
        good, taken = 0, []
        for query, wanted in zip(queries, truth[name], strict=False):
            started = time.perf_counter()
            rows, _ = ask(query, K, **more)
            taken.append(1e3 * (time.perf_counter() - started))
            good += len(np.intersect1d(rows, wanted))
        return round(good / len(taken) / K, 4), taken

    asked = questions()
    recall("near", asked["near"][:20])
    out["recall"], taken = recall("near", asked["near"])
    out["p50_ms"], out["p95_ms"] = (round(float(np.percentile(taken, at)), 2) for at in (50, 95))
    out["rss_mb"] = round(held("RssAnon") - before[0])
    out["mapped_mb"] = round(max(0, held("RssFile") - before[1]))
    out["far_queries"], _ = recall("far", asked["far"][:FEW])
    out["far_filter"], taken = recall("filter", asked["near"][:FEW], allowed=truth["allowed"])
    out["far_filter_p95_ms"] = round(float(np.percentile(taken, 95)), 2)
    return out


def cold(kind: str, folder: str) -> float:
    """Seconds to open everything and answer once when no page of it is in memory."""
    import faiss  # noqa: F401

    for path in Path(folder).iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    query = questions()["near"][0]
    started = time.perf_counter()
    snapshot = vectors.open_snapshot(Path(folder), 1 << 40, DIMS)
    if snapshot is None:
        raise SystemExit(f"there is no base in {folder}")
    if kind == "exact":
        snapshot.search(query, K)
    else:
        module = {"hnsw": hnsw, "ivf": ivf}[kind]
        module.top_rows(module.load(snapshot), snapshot, query, K)
    return round(time.perf_counter() - started, 3)


def right(folder: Path) -> dict[str, np.ndarray]:
    """The true answers, by exact search in blocks of queries."""
    snapshot = vectors.open_snapshot(folder, 1 << 40, DIMS)
    if snapshot is None:
        raise SystemExit(f"there is no base in {folder}")
    asked = questions()
    likeness = np.concatenate(
        [
            (snapshot.matrix[start : start + 50_000] @ asked["near"][:FEW].T).max(axis=1)
            for start in range(0, len(snapshot), 50_000)
        ]
    )
    allowed = likeness < np.quantile(likeness, 0.2)
    out = {"allowed": allowed}
    for name, queries, among in (
        ("near", asked["near"], None),
        ("far", asked["far"][:FEW], None),
        ("filter", asked["near"][:FEW], allowed),
    ):
        answers = [snapshot.search(query, K, allowed=among)[0] for query in queries]
        out[name] = np.array(answers)
    return out


# -- one track more ------------------------------------------------------------------------
def next_search(rows: Rows, folder: Path) -> tuple[float, float]:
    """Seconds until a track that was put is found: all written anew, and the change alone."""
    maker, taken = Maker(3), []
    search = VectorSearch(folder, ann_threshold=50_000)
    search.snapshot("space", DIMS, rows).search(maker.draw(1)[0], K)  # all pages are in memory
    for number in range(6):
        new = maker.draw(1)[0]
        rows.put([(f"new-{number}", new.tobytes())])
        started = time.perf_counter()
        snapshot = search.snapshot("space", DIMS, rows)
        found, _, _ = search.search(snapshot, new, K)
        taken.append(time.perf_counter() - started)
        if snapshot.ids_of(found[:1]) != [f"new-{number}"]:
            raise SystemExit("the new track was not found")
    started = time.perf_counter()
    anew = vectors.write_snapshot(folder / "anew", rows.version, DIMS, rows.all())
    anew.search(new, K)
    return time.perf_counter() - started, float(np.median(taken[1:]))


COLUMNS = (
    "tracks", "index", "build_s", "peak_mb", "file_mb", "rss_mb", "mapped_mb", "p50_ms", "p95_ms",
    "cold_s", "recall", "far_queries", "far_filter", "far_filter_p95_ms",
)  # fmt: skip


def main() -> None:
    args = options(__doc__)
    sizes = (5_000, 20_000) if args.quick else (10_000, 100_000, 1_000_000)
    table, updates = [], []
    say(args, "  ".join(COLUMNS))
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = fill(folder / "vectors.db", count)
            vectors.write_snapshot(folder / "space", rows.version, DIMS, rows.all())
            truth = right(folder / "space")
            for kind in ("exact", "hnsw", "ivf"):
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    line = pool.submit(measure, kind, str(folder / "space"), truth).result()
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    line["cold_s"] = pool.submit(cold, kind, str(folder / "space")).result()
                table.append(line)
                say(args, "  ".join(str(line[column]).rjust(len(column)) for column in COLUMNS))
            anew, change = next_search(rows, folder)
            updates.append(
                {"tracks": count, "anew_s": round(anew, 3), "change_s": round(change, 4)}
            )
            say(args, f"next search at {count:,}: {anew:.2f} s all anew, {change:.4f} s the change")
            rows.db.close()
    exact, _, ours = table[-3:]
    finish(
        "scale", ours=ours["p95_ms"], peer=exact["p95_ms"],
        ratio=exact["p95_ms"] / ours["p95_ms"], table=table, next_search=updates,
    )  # fmt: skip


if __name__ == "__main__":
    main()
