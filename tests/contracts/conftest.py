"""One opener for each kind of backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend


@pytest.fixture
def open_local() -> Callable[[Path], StorageBackend]:
    return LocalBackend
