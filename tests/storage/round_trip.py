"""A library on its way through every kind of store, with faults and killed processes.

Each leg runs in processes of its own. Some are killed with SIGKILL wherever they are at that
moment; the next goes on. Meanwhile the Data API drops connections, loses answers, is busy or
asleep, and connections to Postgres are cut or lose their answers.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import replicate, rows
from kindred.storage.astra.backend import AstraStore
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.postgres.backend import PostgresStore
from kindred.storage.records import KINDS, Audio, Cover, Document, Embedding, Track
from kindred.storage.replicate import Patience
from tests.doubles.data_api import DataApiDouble, astrapy_clients_closed
from tests.doubles.faulty import FaultyStore
from tests.doubles.postgres import PostgresServer

SPACE = EmbeddingSpace("synthetic", "1", 8000, 1.0, 1.0, "mean", 64)
#: Share of the requests to the Data API that meet each fault.
FAULTS = {
    "dropped": 0.01,
    "commit-then-drop": 0.01,
    "commit-then-timeout": 0.001,
    "429": 0.01,
    "503-resuming": 0.002,
    "TIMEOUT_WRITING_DATA": 0.005,
    "FAILED_READ_REQUEST": 0.005,
}
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Where:
    """A store that another process can open."""

    kind: str
    address: str
    flaky: float = 0.0
    """Share of the calls of Postgres whose answer is lost, or that never arrive."""

    def open(self, *, timeout: float = 30.0) -> LibraryStore:
        """Open it; its own retries wait next to nothing."""
        if self.kind == "local":
            return LocalBackend(Path(self.address))
        if self.kind == "postgres":
            store = PostgresStore(self.address, timeout=timeout)
            if not self.flaky:
                return store
            faulty = FaultyStore(store, seed=os.getpid())
            faulty.chance = self.flaky
            return faulty
        return AstraStore(
            self.address,
            "default_keyspace",
            username="cassandra",
            password="cassandra",
            timeout=timeout,
            sleep=_briefly,
        )


@dataclass
class Leg:
    """What happened between two stores."""

    name: str
    killed: int = 0
    seconds: float = 0.0
    faults: int = 0
    report: dict[str, Any] = field(default_factory=dict)


def fill(store: LibraryStore, count: int, *, windows: int = 4) -> None:
    """Made-up tracks with vectors; every tenth with a cover and kept audio. Not a model's work."""
    rng = np.random.default_rng(0)
    with store.batch():
        for start in range(0, count, 500):
            numbers = range(start, min(start + 500, count))
            store.put_tracks(
                Track(
                    _id(n), content_hash=f"{n:064x}", title=f"Piece {n} – №", year=1600 + n % 400,
                    composer=f"Composer {n % 97}", album=f"Album {n % 500}", duration=n / 7,
                    peaks=rng.integers(0, 255, 60, dtype=np.uint8).tobytes(), extra={"key": "C"},
                )
                for n in numbers
            )  # fmt: skip
            found = rng.normal(size=(len(numbers), windows + 1, SPACE.dims))
            found /= np.linalg.norm(found, axis=-1, keepdims=True)
            store.put_embeddings(
                SPACE,
                [
                    Embedding(_id(n), f"{n:064x}", part[0], part[1:])
                    for n, part in zip(numbers, found.astype(np.float32), strict=True)
                ],
            )
            store.write_rows(
                [
                    rows.make(record)
                    for n in numbers
                    if n % 10 == 0
                    for record in (
                        Cover(_id(n), f"picture {n % 500}".encode() * 20, b"small"),
                        Audio(f"{n:064x}", ".mp3", n.to_bytes(4, "big") * 500),
                        Document("runs", f"run/{n}", {"n": n, "score": n / 3, "text": "ё"}),
                    )
                ]
            )


def migrate(
    source: Where,
    target: Where,
    home: Path,
    *,
    kills: int,
    seed: int = 0,
    disturb: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> Leg:
    """Migrate in processes of which the first few are killed, until one comes to the end.

    ``disturb`` is called now and then while a process is at work.
    """
    leg = Leg(f"{source.kind} to {target.kind}")
    luck = random.Random(seed)
    start = time.perf_counter()
    while True:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(target=_work, args=(theirs, source, target, home))
        process.start()
        theirs.close()
        left = luck.randint(2, 25) if leg.killed < kills else -1
        try:
            while True:
                told = ours.recv()
                if isinstance(told, dict):
                    leg.report = told
                    break
                say(f"  {leg.name}: {told[2]} {told[0]:,} of {told[1]:,}")
                if luck.random() < 0.1:
                    disturb()
                left -= told[0] > 0  # something was written
                if left == 0:
                    assert process.pid is not None
                    os.kill(process.pid, signal.SIGKILL)
                    leg.killed += 1
                    say(f"  {leg.name}: killed at {told[0]:,} of {told[1]:,}")
        except EOFError:
            pass  # it ended
        process.join()
        ours.close()
        if leg.report:
            leg.seconds = time.perf_counter() - start
            return leg
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the migration ended with status {process.exitcode}")


def check(source: LibraryStore, target: LibraryStore, count: int) -> None:
    """Raise unless both have the same rows, none twice, and answer alike."""
    found = replicate.verify(source, target)
    assert found.equal, found.lines()
    assert found.compared == dict(zip(KINDS, _counts(count), strict=True)), found.compared
    assert target.count_tracks() == len(target.list_tracks()) == count
    assert target.spaces() == [(SPACE, count)]
    answers = replicate.same_answers(source, target, SPACE)
    assert answers.overlap == 1.0, answers
    assert answers.difference < 1e-5, answers


def round_trip(
    folder: Path,
    server: PostgresServer,
    count: int,
    *,
    kills: int = 2,
    windows: int = 4,
    say: Callable[[str], None] = lambda text: None,
) -> list[Leg]:
    """Local to Astra DB's double, to Postgres, to another local folder; checked after each leg."""
    url = server.new_database()
    home = folder / "home"
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with DataApiDouble() as double, astrapy_clients_closed():
        first, last = Where("local", str(folder / "first")), Where("local", str(folder / "last"))
        astra, postgres = Where("astra", double.url), Where("postgres", url, flaky=0.02)
        with first.open() as store:
            fill(store, count, windows=windows)
        for remote in (astra, Where("postgres", url)):
            with remote.open() as store:
                store.init()
        legs = []
        route = [(first, astra), (astra, postgres), (postgres, last)]
        for number, (source, target) in enumerate(route):
            before = len(double.log)
            double.fail_randomly(FAULTS, seed=number)
            leg = migrate(
                source, target, home, kills=kills, seed=number, say=say,
                disturb=lambda: server.run(cut) and None,
            )  # fmt: skip
            double.fail_randomly({})
            leg.faults = sum(bool(call.fault) for call in double.log[before:])
            assert not leg.report["refused"], leg.report
            assert leg.report["conflicts"] == leg.report["later"] == 0, leg.report
            legs.append(leg)
            sides = (Where(side.kind, side.address) for side in (source, target))
            with next(sides).open() as a, next(sides).open() as b:
                check(a, b, count)
            say(
                f"{leg.name}: {leg.seconds:.1f} s, killed {leg.killed} times, {leg.faults} requests"
                " to the Data API met a fault; every row equal"
            )
        with first.open() as a, last.open() as b:
            check(a, b, count)
            for kind in KINDS:
                assert a.entries(kind) == b.entries(kind)
    return legs


def _work(pipe: Any, source: Where, target: Where, home: Path) -> None:
    """One process: go on with the migration and say how far it is."""
    patience = Patience(sleep=_briefly)
    with source.open(timeout=2.0) as a, target.open(timeout=2.0) as b:
        report = replicate.synchronise(
            a, b, home=home, direction="a->b", patience=patience,
            progress=lambda *told: pipe.send(told),
        )  # fmt: skip
    pipe.send(report.to_dict())
    pipe.close()


def _briefly(seconds: float) -> None:
    time.sleep(min(seconds, 0.02))


def _id(number: int) -> str:
    return f"track-{number:05d}"


def _counts(count: int) -> list[int]:
    """Rows of each kind that :func:`fill` makes."""
    tenth = (count + 9) // 10
    return [count, tenth, count, tenth, tenth]
