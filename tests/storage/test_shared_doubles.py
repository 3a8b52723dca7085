"""Shared libraries on what is nearest to the services: a Postgres server and a Data API."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from kindred.storage.astra.backend import AstraStore
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.postgres.backend import PostgresStore
from kindred.storage.records import FileRecord, TrackFilter
from kindred.storage.retry import Breaker
from kindred.storage.shared.backend import SharedBackend
from kindred.storage.shared.cache import Cache
from tests.contracts.test_storage_backend import SPACE, fill, unit
from tests.doubles.data_api import DataApiDouble
from tests.doubles.postgres import PostgresServer, shared_server
from tests.storage.sharing import note, values

SPAWN = multiprocessing.get_context("spawn")


def share(remote: LibraryStore, home: Path, **options: object) -> SharedBackend:
    """A machine that shares a library."""
    breaker = Breaker(cool_down=0.02, longest=0.1, sleep=lambda _: None)
    return SharedBackend(
        remote,
        LocalBackend(home, library="side"),
        cache=Cache(home / "cache", size_mb=64),
        breaker=breaker,
        **options,  # type: ignore[arg-type]
    )


def agree(one: LibraryStore, other: LibraryStore) -> bool:
    """Whether two stores hold the same rows."""
    return all(
        {key: entry.digest for key, entry in one.entries(kind).items() if not entry.deleted}
        == {key: entry.digest for key, entry in other.entries(kind).items() if not entry.deleted}
        for kind in ("tracks", "covers", "embeddings", "documents")
    )


def edit_at_random(shared: SharedBackend, seed: int, turns: int) -> dict[str, int]:
    """Change and delete notes and titles; return what the notes are then."""
    chooser = random.Random(seed)
    expected: dict[str, int] = {}
    for turn in range(turns):
        key = chooser.randrange(12)
        with shared.batch():
            if chooser.random() < 0.2:
                shared.delete_document("notes", f"{key:05d}")
                expected.pop(f"{key:05d}", None)
            else:
                shared.put_document(note(key, turn))
                expected[f"{key:05d}"] = turn
            if chooser.random() < 0.3:
                track = shared.get_track("t01")
                shared.put_tracks([replace(track, title=f"Turn {turn}")])
        assert values(shared) == expected
    return expected


# -- the Data API --------------------------------------------------------------------------------
@pytest.fixture
def double() -> Iterator[DataApiDouble]:
    with DataApiDouble() as double:
        yield double


def astra(double: DataApiDouble, timeout: float = 10.0) -> AstraStore:
    return AstraStore(
        double.url,
        "default_keyspace",
        token=double.token,
        timeout=timeout,
        sleep=lambda _: None,
    )


@pytest.fixture
def library(double: DataApiDouble, tmp_path: Path) -> Iterator[SharedBackend]:
    """A machine with a whole copy of a library of 12 tracks behind a Data API."""
    store = astra(double)
    store.init()
    with share(store, tmp_path / "here", background=False) as shared:
        fill(shared, 12)
        shared.refresh()
        yield shared


def test_edits_over_every_fault_of_a_data_api_arrive_once(
    double: DataApiDouble, library: SharedBackend
) -> None:
    faults = ("dropped", "commit-then-drop", "429", "503-resuming", "not-json")
    faults += ("UNAVAILABLE_DATABASE", "FAILED_WRITE_REQUEST")
    double.fail_randomly(dict.fromkeys(faults, 0.04), seed=3)
    expected = edit_at_random(library, 3, 60)
    double.fail_randomly({})
    library.deliver()
    library.refresh()
    with astra(double) as fresh:
        assert {i.key: i.body["value"] for i in fresh.list_documents("notes")} == expected
        assert fresh.list_documents("conflicts") == []
        assert agree(fresh, library.local)
    assert {call.fault for call in double.log} > set(faults)
    assert library.waiting() == library.refused() == []


def test_a_data_api_that_commits_and_then_is_silent_doubles_nothing(
    double: DataApiDouble, tmp_path: Path
) -> None:
    with astra(double) as store:
        store.init()
    with share(astra(double, 0.3), tmp_path / "here", background=False) as shared:
        fill(shared, 3)
        shared.refresh()
        double.fail("commit-then-timeout", times=2, command="insertMany")
        shared.put_document(note(1, 1))
        assert shared.status().waiting == 1
        shared.put_document(note(2, 2))
        shared.deliver()
        version = shared.remote.version()
        assert values(shared) == {"00001": 1, "00002": 2}
        shared.refresh()
        assert shared.remote.version() == version
        assert agree(shared.remote, shared.local)


def test_a_data_api_that_is_resuming_is_asked_now_and_then(
    double: DataApiDouble, tmp_path: Path
) -> None:
    store = astra(double)
    store.init()
    clock = [0.0]
    shared = share(store, tmp_path / "here", background=False)
    shared._breaker._clock = lambda: clock[0]
    with shared:
        fill(shared, 12)
        shared.refresh()
        double.fail_randomly({"503-resuming": 1.0})
        before = double.requests
        for number in range(20):
            shared.put_document(note(number, number))
            shared.list_tracks()
            hits, index = shared.search_embeddings(
                SPACE,
                unit(np.random.default_rng(number), 1)[0],
                k=3,
                where=TrackFilter(artists=("Artist 1",)),
            )
            assert len(hits) == 3
            assert "this machine's copy" in index
        assert double.requests - before == 1
        assert "is waking up" in shared.status().notice
        double.fail_randomly({})
        clock[0] += 60
        assert values(shared) == {f"{number:05d}": number for number in range(20)}
        assert shared.status().notice == ""
        assert agree(shared.remote, shared.local)


def test_a_data_api_that_wants_fewer_requests_is_sent_them_later(
    double: DataApiDouble, library: SharedBackend
) -> None:
    double.fail("429", times=3)
    library.put_document(note(1, 1))
    assert library.status().waiting == 0  # the store's own retries sufficed
    assert values(library) == {"00001": 1}


def test_a_data_api_that_is_switched_off_and_on(
    double: DataApiDouble, library: SharedBackend, tmp_path: Path
) -> None:
    double.stop()
    expected = edit_at_random(library, 5, 20)
    library.delete_tracks(["t03", "t04"])
    assert library.count_tracks() == 10
    assert not library.status().online
    assert "cannot be reached" in library.status().notice
    double.start()
    library.deliver()
    assert values(library) == expected
    assert library.count_tracks() == 10
    assert agree(library.remote, library.local)
    with share(astra(double), tmp_path / "there", background=False) as other:
        other.refresh()
        assert agree(other.local, library.local)


# -- Postgres ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    server = PostgresServer()
    yield server
    server.remove()


def test_a_server_that_is_stopped_and_started(server: PostgresServer, tmp_path: Path) -> None:
    store = PostgresStore(server.new_database(), timeout=5)
    store.init()
    with share(store, tmp_path / "here", background=False) as shared:
        fill(shared, 12)
        shared.refresh()
        query = unit(np.random.default_rng(1), 1)[0]
        online, index = shared.search_embeddings(SPACE, query, k=5)
        assert index.startswith("pgvector")
        server.stop()
        shared._reading.forget()
        offline, index = shared.search_embeddings(SPACE, query, k=5)
        assert "this machine's copy" in index
        assert [hit.track_id for hit in offline] == [hit.track_id for hit in online]
        np.testing.assert_allclose(
            [hit.similarity for hit in offline], [hit.similarity for hit in online], atol=1e-6
        )
        expected = edit_at_random(shared, 7, 20)
        shared.delete_tracks(["t03"])
        assert shared.status().waiting >= 20
        server.start()
        shared.deliver()
        assert values(shared) == expected
        assert shared.count_tracks() == 11
        assert agree(store, shared.local)


def test_connections_that_are_cut_again_and_again(tmp_path: Path) -> None:
    server = shared_server()
    url = server.new_database()
    store = PostgresStore(url, timeout=5)
    store.init()
    database = url.split("?")[0].rsplit("/", 1)[1]
    done = threading.Event()

    def cut() -> None:
        while not done.wait(0.1):
            server.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{database}' AND pid <> pg_backend_pid()"
            )

    with share(store, tmp_path / "here", background=False) as shared:
        fill(shared, 12)
        shared.refresh()
        thread = threading.Thread(target=cut)
        thread.start()
        try:
            expected = edit_at_random(shared, 9, 12)
        finally:
            done.set()
            thread.join(30)
        shared.deliver()
        assert values(shared) == expected
        assert store.list_documents("conflicts") == []
        shared.refresh()
        assert agree(store, shared.local)
    server.give_back(url)


def _count_up(url: str, home: str, pipe: Connection) -> None:
    """Write for ever, and tell what was written once the call has returned."""
    with share(PostgresStore(url, timeout=5), Path(home)) as shared:
        start = max([int(key) for key in values(shared)], default=0)
        for number in range(start + 1, start + 100_000):
            with shared.batch():
                shared.put_document(note(0, number))
                shared.put_document(note(number, number))
                shared.put_files([FileRecord(f"/{number}", 1, number, "h", "t")])
            pipe.send(number)


@pytest.mark.slow
def test_writers_to_postgres_that_are_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    server = shared_server()
    url = server.new_database()
    store = PostgresStore(url, timeout=5)
    store.init()
    acknowledged = 0
    for seed in range(3):
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=_count_up, args=(url, str(tmp_path / "here"), there))
        process.start()
        wanted = acknowledged + random.Random(seed).randint(3, 30)
        while acknowledged < wanted:
            assert here.poll(60)
            acknowledged = here.recv()
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with contextlib.suppress(EOFError):
            while here.poll():
                acknowledged = here.recv()
    with share(store, tmp_path / "here", background=False) as shared:
        shared.deliver()
        found = values(shared)
        last = found.pop("00000")
        assert last >= acknowledged
        assert found == {f"{number:05d}": number for number in range(1, last + 1)}
        assert sorted(item.mtime_ns for item in shared.list_files()) == [*range(1, last + 1)]
        assert store.list_documents("conflicts") == []
        assert agree(store, shared.local)
    server.give_back(url)
