"""Writing to and searching in every store: local, Postgres, and a double of Astra's Data API.

The tracks are of 20 composers, their vectors (512 dims) clustered, 40 centres a thousand tracks.
A question is a vector near a stored one, for the ten nearest of one composer or of any. recall@10
is the share of the exact answer that was given. The double answers 20 ms late, as a database some
hundred kilometres away would; it runs in a process of its own and searches exactly, so its recall
speaks of our side alone, and its speed of our side, the wire and numpy, not of Astra DB.

ratio: the promise of 100 ms over the slowest store's 95th percentile, filtered, at 100,000 tracks.
Also printed: against the full similarity matrix, which is what a first version would compute, from
which size the search is faster; and how much memory a process takes that searches 100,000 tracks.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import finish, options, say

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track, TrackFilter

ROOT = Path(__file__).resolve().parents[1]
DIMS, COMPOSERS, BATCH, K = 512, 20, 1_000, 10
SPACE = EmbeddingSpace("clustered", "1", 48_000, 10.0, 10.0, "mean", DIMS)
PROMISE_MS = 100


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def world(n: int) -> np.ndarray:
    """Clustered unit vectors, float32 [n, DIMS]."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(1, 40 * n // 1_000), DIMS)).astype(np.float32)
    return unit(centres[rng.integers(len(centres), size=n)] + rng.normal(size=(n, DIMS)) * 0.7)


def questions(vectors: np.ndarray, count: int) -> list[tuple[np.ndarray, str]]:
    """Vectors near stored ones, each with a composer to keep to."""
    rng = np.random.default_rng(1)
    rows = rng.integers(len(vectors), size=count)
    near = unit(vectors[rows] + 0.02 * rng.normal(size=(count, DIMS)))
    return [(vector, f"Composer {number % COMPOSERS}") for number, vector in enumerate(near)]


def track_id(number: int) -> str:
    """Sorts as the numbers do."""
    return f"track-{number:07d}"


def fill(store: LibraryStore, vectors: np.ndarray) -> float:
    """Write tracks and vectors; return rows a second."""
    start = time.perf_counter()
    for first in range(0, len(vectors), BATCH):
        numbers = range(first, min(first + BATCH, len(vectors)))
        with store.batch():
            store.put_tracks(
                Track(
                    track_id(number),
                    content_hash=f"{number:064x}",
                    title=f"Title {number}",
                    composer=f"Composer {number % COMPOSERS}",
                    album=f"Album {number // 12}",
                    duration=200.0,
                )
                for number in numbers
            )
            store.put_embeddings(
                SPACE,
                [
                    Embedding(track_id(n), f"{n:064x}", vectors[n], vectors[n : n + 1])
                    for n in numbers
                ],
            )
    return 2 * len(vectors) / (time.perf_counter() - start)


def settled(store: LibraryStore, query: np.ndarray, patience: float = 900) -> tuple[str, float]:
    """Ask until no index is being built; its name, and the seconds waited."""
    start = time.perf_counter()
    while time.perf_counter() - start < patience:
        _, index = store.search_embeddings(SPACE, query, k=K)
        if "being built" not in index:
            return index, time.perf_counter() - start
        time.sleep(1)
    raise RuntimeError(f"The index was not built in {patience:.0f} s.")


def asked(
    store: LibraryStore, vectors: np.ndarray, pairs: list[tuple[np.ndarray, str]], *, filtered: bool
) -> dict[str, float]:
    """p50 and p95 in ms, and recall@10."""
    times, recalls = [], []
    for number, (query, composer) in enumerate(pairs):
        where = TrackFilter(composers=(composer,)) if filtered else TrackFilter()
        start = time.perf_counter()
        hits, _ = store.search_embeddings(SPACE, query, k=K, where=where)
        times.append(1_000 * (time.perf_counter() - start))
        scores = vectors @ query
        if filtered:
            scores[np.arange(len(scores)) % COMPOSERS != number % COMPOSERS] = -2
        exact = {track_id(row) for row in np.argsort(-scores)[:K]}
        recalls.append(len(exact & {hit.track_id for hit in hits}) / min(K, len(vectors)))
    return {
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "recall": float(np.mean(recalls)),
    }


@contextlib.contextmanager
def local(folder: Path) -> Iterator[LibraryStore]:
    """A library in a folder."""
    with LocalBackend(folder) as store:
        yield store


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[LibraryStore]:
    """A fresh database of a server of its own."""
    sys.path.insert(0, str(ROOT))
    from tests.doubles.postgres import PostgresServer

    from kindred.storage.postgres.backend import PostgresStore

    server = PostgresServer()
    server.start()
    try:
        with PostgresStore(server.new_database(), timeout=600) as store:
            store.init()
            yield store
    finally:
        server.stop()
        server.remove()


@contextlib.contextmanager
def astra_double(folder: Path) -> Iterator[LibraryStore]:
    """The double of the Data API, 20 ms late, in its own process."""
    from kindred.storage.astra.backend import AstraStore

    command = [sys.executable, "-m", "tests.doubles.data_api", "--port", "0", "--latency", "0.02"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"http://\S+", said)
        token = re.search(r"AstraCS:\S+", said)
        assert url is not None, said
        keyspace = "default_keyspace"
        with AstraStore(
            url[0], keyspace, token=token[0] if token else "AstraCS:double", timeout=60
        ) as store:
            store.init()
            yield store
    finally:
        process.terminate()
        process.wait()


def against_matrix(args: Any, folder: Path) -> int | None:
    """From which size a search beats the full similarity matrix; the crossing, if there is one."""
    crossing = None
    say(args, "\n tracks   full matrix   our search (ms)")
    for n in (30, 100, 300, 1_000, 3_000, 10_000):
        vectors = world(n)
        with local(folder / f"matrix-{n}") as store:
            fill(store, vectors)
            asked(store, vectors, questions(vectors, 3), filtered=False)
            ours = asked(store, vectors, questions(vectors, 30), filtered=False)["p50_ms"]
        start = time.perf_counter()
        rounds = 3 if n >= 3_000 else 20
        for _ in range(rounds):
            matrix = vectors @ vectors.T
            np.argsort(-matrix[0])[:K]
        theirs = 1_000 * (time.perf_counter() - start) / rounds
        say(args, f"{n:7,} {theirs:13.2f} {ours:17.2f}")
        if ours < theirs and crossing is None:
            crossing = n
        elif ours >= theirs:
            crossing = None
    return crossing


_MEMORY = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "benchmarks")
import storage
def now():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: int(value.split()[0]) / 1024 for name, value in
            (line.split(":") for line in lines if line.startswith(("RssAnon", "RssFile", "VmHWM")))}
with storage.LocalBackend(Path(sys.argv[1])) as store:
    query = storage.unit(np.random.default_rng(2).normal(size=(1, storage.DIMS)))[0]
    before = now()
    for _ in range(20):
        store.search_embeddings(storage.SPACE, query, k=10)
    after = now()
    print({name: round(after[name] - before[name]) for name in after})
"""


def memory(folder: Path) -> str:
    """MiB that twenty searches add to a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def main() -> None:
    """Measure, print a table, and the last line."""
    args = options(__doc__)
    sizes, count = ([1_000, 5_000], 30) if args.quick else ([10_000, 100_000], 100)
    stores: dict[str, Callable[[Path], Any]] = {
        "local": local,
        "postgres": postgres,
        "astra double, 20 ms": astra_double,
    }
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        for n in sizes:
            vectors = world(n)
            pairs = questions(vectors, count)
            for name, opened in stores.items():
                folder = Path(work) / f"{name.split()[0]}-{n}"
                with opened(folder) as store:
                    rate = fill(store, vectors)
                    index, waited = settled(store, pairs[0][0])
                    asked(store, vectors, pairs[:3], filtered=True)
                    plain = asked(store, vectors, pairs, filtered=False)
                    kept = asked(store, vectors, pairs, filtered=True)
                table[f"{name} {n}"] = kept | {"rows_per_second": rate}
                say(
                    args,
                    f"{name:20} {n:7,} tracks: {rate:8,.0f} rows/s; index in {waited:5.1f} s;"
                    f" top-10 p50 {plain['p50_ms']:6.1f} p95 {plain['p95_ms']:6.1f} ms, recall"
                    f" {plain['recall']:.3f}; one composer p50 {kept['p50_ms']:6.1f} p95"
                    f" {kept['p95_ms']:6.1f} ms, recall {kept['recall']:.3f}; {index}",
                )
            say(
                args,
                f"local, {n:,} tracks: MiB added by searching: "
                f"{memory(Path(work) / f'local-{n}')}, the vectors have {n * DIMS * 4 / 2**20:.0f}",
            )
        crossing = against_matrix(args, Path(work))
        say(args, f"faster than the full matrix from {crossing} tracks on")
    slowest = max(table[f"{name} {sizes[-1]}"]["p95_ms"] for name in stores)
    say(args, json.dumps(table, indent=1))
    finish(
        "storage",
        ours=slowest,
        peer=PROMISE_MS,
        ratio=PROMISE_MS / slowest,
        unit="ms, p95 of a filtered top-10",
        tracks=sizes[-1],
        crossing=crossing,
        recall=min(table[f"{name} {sizes[-1]}"]["recall"] for name in stores),
    )


if __name__ == "__main__":
    main()
