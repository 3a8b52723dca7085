"""What the HTTP API costs: /nearest against the same search called in process.

Libraries of 10,000 and 100,000 tracks are made up (random unit vectors of the default encoder's
189 dimensions: this says nothing of quality). `kindred api` serves each in a process of its own, as
it is started by hand, its request log going to a file. The same random tracks are asked

  in process     `Services.similar`
  library        `GET /api/tracks/{id}/nearest?k=10`
  artifact       the same of an artifact exported from the library (exact search, no index)

first one after the other, in turns of 25 so that whatever else the machine does falls on all three:
p50 and p95 in milliseconds, over one kept connection. Then by 32 at once: answers per second, of
threads in process and of connections. All three multiply on one core a search, as `kindred api`
sets it; client and servers share the machine. `ratio` is the p50 in process over the library's p50
at the largest size: 1 would be an API that costs nothing. The API's answers to the first tracks are
shown to be those in process. A filtered page of tracks and composer-eval are timed as well: the
first question, which reads the library, and the p50 of those after it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported

import httpx
import numpy as np
from report import finish, options, say

from kindred.search.query import SimilarQuery
from kindred.services import Services, build
from kindred.storage.records import Embedding, Track
from pages import free_port, wait_for

K, CLIENTS, TURN = 10, 32, 25


def fill(services: Services, count: int) -> list[str]:
    """Make up tracks and return their ids."""
    rng, space = np.random.default_rng(0), services.space()
    ids = [f"track-{number:06d}" for number in range(count)]
    for start in range(0, count, 10_000):
        part = ids[start : start + 10_000]
        vectors = rng.standard_normal((len(part), space.dims), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with services.storage.batch():
            services.storage.put_tracks(
                Track(
                    track_id,
                    content_hash=track_id,
                    title=f"Prelude No. {number}",
                    composer=f"Composer {number % 250}",
                    work=f"Work {number // 3}",
                    album=f"Album {number // 12}",
                )
                for number, track_id in enumerate(part, start)
            )
            services.storage.put_embeddings(
                space,
                [
                    Embedding(i, i, vector, vector[None])
                    for i, vector in zip(part, vectors, strict=True)
                ],
            )
    return ids


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[str]:
    """`kindred api`, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "kindred", "api", "--port", str(port), *arguments]
    with (home.parent / "api.log").open("wb") as log:
        environment = os.environ | {"KINDRED_HOME": str(home)}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            base = f"http://127.0.0.1:{port}/api"
            wait_for(f"{base}/health", server)
            yield base
        finally:
            server.terminate()
            server.wait(10)


Ask = Callable[[str], Any]


def in_turns(ways: dict[str, Ask], asked: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds of one question after the other, each way."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for start in range(0, len(asked), TURN):
        for name, ask in ways.items():
            for track_id in asked[start : start + TURN]:
                begun = time.perf_counter()
                ask(track_id)
                taken[name].append(1_000 * (time.perf_counter() - begun))
    found = {name: np.percentile(values, (50, 95)) for name, values in taken.items()}
    return {
        n: {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
        for n, (p50, p95) in found.items()
    }


def by_threads(ask: Ask, asked: Sequence[str]) -> float:
    """Answers per second to many threads."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, asked[: 4 * CLIENTS]))  # every thread opens the library
        begun = time.perf_counter()
        list(pool.map(ask, asked))
        return round(len(asked) / (time.perf_counter() - begun), 1)


def by_clients(base: str, asked: Sequence[str]) -> float:
    """Answers per second to many connections."""

    async def crowd(questions: Sequence[str]) -> float:
        queue = iter(questions)
        async with httpx.AsyncClient(timeout=60) as client:

            async def one() -> None:
                for track_id in queue:
                    answer = await client.get(address(base, track_id))
                    answer.raise_for_status()

            begun = time.perf_counter()
            await asyncio.gather(*(one() for _ in range(CLIENTS)))
            return len(questions) / (time.perf_counter() - begun)

    asyncio.run(crowd(asked[: 4 * CLIENTS]))  # every thread of the server opens the library
    return round(asyncio.run(crowd(asked)), 1)


def timed(client: httpx.Client, url: str) -> float:
    """Milliseconds of one question."""
    begun = time.perf_counter()
    client.get(url).raise_for_status()
    return 1_000 * (time.perf_counter() - begun)


def address(base: str, track_id: str) -> str:
    """Where the nearest tracks are."""
    return f"{base}/tracks/{track_id}/nearest?k={K}"


def measure(count: int, times: int) -> dict[str, dict[str, float]]:
    """Ask a library of some size in all three ways."""
    with tempfile.TemporaryDirectory() as folder, httpx.Client(timeout=60) as client:
        home = Path(folder, "library")
        services = build(home=home)
        ids = fill(services, count)
        artifact = services.export_artifact(Path(folder), "descriptors", index=False).path

        def local(track_id: str) -> dict[str, Any]:
            return services.similar(SimilarQuery(plus=(track_id,), k=K)).to_dict()

        def remote(base: str) -> Ask:
            return lambda track_id: client.get(address(base, track_id)).raise_for_status().json()

        while "being built" in local(ids[0])["index"]:
            time.sleep(1)
        asked = [ids[row] for row in np.random.default_rng(1).integers(count, size=4 * times)]
        with serving(home) as live, serving(home, "--artifacts", artifact) as alone:
            ways = {"in process": local, "library": remote(live), "artifact": remote(alone)}
            for track_id in asked[:20]:
                if ways["library"](track_id) != local(track_id):
                    raise SystemExit(f"{track_id}: the API does not answer as the services do")
                ways["artifact"](track_id)
            found = in_turns(ways, asked[:times])
            for name, path in (
                ("a page of tracks", "tracks?limit=100&q=no.&composer=composer%207"),
                ("composer-eval", "tracks/{0}/composer-eval"),
            ):
                first, *rest = (
                    timed(client, f"{live}/{path.format(track_id)}") for track_id in asked[:50]
                )
                p50 = round(float(np.median(rest)), 2)
                found[name] = {"p50": p50, "first": round(first, 2)}
            found["in process"]["per_second"] = by_threads(local, asked)
            found["library"]["per_second"] = by_clients(live, asked)
            found["artifact"]["per_second"] = by_clients(alone, asked)
        services.close()
        return found


def main() -> None:
    args = options(__doc__)
    sizes, times = ((2_000, 10_000), 100) if args.quick else ((10_000, 100_000), 400)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for count in sizes:
        found[str(count)] = measure(count, times)
        for name, figures in found[str(count)].items():
            text = "  ".join(f"{what} {value:8.2f}" for what, value in figures.items())
            say(args, f"{count:7,} tracks  {name:16} {text}")
    last = found[str(sizes[-1])]
    ours, peer = last["library"]["p50"], last["in process"]["p50"]
    finish("api", ours=ours, peer=peer, ratio=peer / ours, clients=CLIENTS, sizes=found)


if __name__ == "__main__":
    main()
