"""A shared library keeps every promise of a storage backend, while it answers and while not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tests.contracts.test_storage_backend as contract
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.shared.backend import SharedBackend
from kindred.storage.shared.cache import Cache
from tests.doubles.faulty import FaultyStore

store = contract.store
globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})


@pytest.fixture(params=["threads", "away"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], StorageBackend]:
    """Opens a library kept in another folder; away, its copy and its outbox must do."""

    def open_shared(home: Path) -> StorageBackend:
        remote = FaultyStore(LocalBackend(tmp_path / "far"))
        shared = SharedBackend(
            remote,
            LocalBackend(home, library="faulty"),
            cache=Cache(tmp_path / "cache", size_mb=64),
            background=request.param == "threads",
        )
        shared.library_id()
        if request.param == "away":
            shared.refresh()
            remote.go_away()
        return shared

    return open_shared
