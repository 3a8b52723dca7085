"""One opener for each kind of backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.shared.backend import SharedBackend
from kindred.storage.shared.cache import Cache
from tests.doubles.data_api import DataApiDouble
from tests.doubles.postgres import shared_server


@pytest.fixture
def open_local() -> Callable[[Path], StorageBackend]:
    return LocalBackend


@pytest.fixture
def open_astra(tmp_path: Path) -> Iterator[Callable[[Path], StorageBackend]]:
    from kindred.storage.astra.backend import AstraStore

    with DataApiDouble() as double:

        def open_shared(home: Path) -> StorageBackend:
            remote = AstraStore(double.url, "default_keyspace", token=double.token)
            remote.init()
            local = LocalBackend(home, library="astra-double")
            return SharedBackend(remote, local, cache=Cache(tmp_path / "cache", size_mb=64))

        yield open_shared


@pytest.fixture
def open_postgres(tmp_path: Path) -> Iterator[Callable[[Path], StorageBackend]]:
    from kindred.storage.postgres.backend import PostgresStore

    server = shared_server()
    url = server.new_database()

    def open_shared(home: Path) -> StorageBackend:
        remote = PostgresStore(url)
        remote.init()
        local = LocalBackend(home, library="postgres-double")
        return SharedBackend(remote, local, cache=Cache(tmp_path / "cache", size_mb=64))

    yield open_shared
    server.give_back(url)
