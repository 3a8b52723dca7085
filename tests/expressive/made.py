"""A library home with a tiny run that was really made, once for all workers of a test session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from kindred.config import Settings


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty library with a whole run of size "tiny". Copy it; never write in it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "expressive-home"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            _make(shared / "expressive-home-building", home)
    return home


def _make(work: Path, home: Path) -> None:
    from kindred.expressive.run import RunOptions
    from kindred.services import build

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        patch.setitem(Settings.model_config, "toml_file", None)
        services = build(home=str(work))
        options = RunOptions(size="tiny", source="layers", seeds=1, epochs=6)
        assert services.expressive.go_on(services.expressive.begin(options))
        services.close()
    work.rename(home)
