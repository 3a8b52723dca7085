from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindred.artifacts.export import export_artifact
from kindred.storage.local import LocalBackend
from tests.artifacts.library import SPACE, fill


@pytest.fixture
def store(home: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(home)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of 40 tracks; not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    backend = LocalBackend(folder / "library")
    fill(backend)
    export_artifact(backend, SPACE, folder / "artifact", evaluation={"p@5": 0.5})
    backend.close()
    return folder / "artifact"


@pytest.fixture
def artifact(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "artifact"))
