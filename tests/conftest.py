"""Shared fixtures. No test reaches a hub, and none reads the user's own settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from kindred.config import Settings
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.space import EmbeddingSpace
from tests.browsing import launch
from tests.expressive.made import made_home

__all__ = ["made_home"]

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--run-astra``: tests that need a real Data API are deselected without it."""
    parser.addoption(
        "--run-astra", action="store_true", help="run the tests that need a real Data API"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-astra", default=False):
        return
    out = [item for item in items if item.get_closest_marker("astra")]
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


@pytest.fixture(autouse=True)
def _own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's AppTest puts its script in the place of __main__, which new processes import."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        ours = name.startswith(("KINDRED_", "ASTRA_DB_", "AWS_"))
        if (ours and name != "KINDRED_CHROMIUM") or name in ("STORAGE_BACKEND", "DATABASE_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setitem(Settings.model_config, "toml_file", None)
    monkeypatch.setenv("KINDRED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KINDRED_HOME", str(tmp_path / "library"))
    monkeypatch.setenv("KINDRED_MODEL_DIR", str(tmp_path / "models"))


class SpectrumEncoder(Encoder):
    """A true, tiny encoder for tests: the energy in 8 bands of the spectrum of each window."""

    title = "Spectrum"
    batch = 4

    def __init__(self, revision: str = "1") -> None:
        self.space = EmbeddingSpace("spectrum", revision, 8_000, 1.0, 1.0, "mean", 8)
        self.encoded = 0

    def encode(self, batch: Vector) -> Vector:
        self.encoded += len(batch)
        power = np.abs(np.fft.rfft(batch, axis=1))[:, 1:]
        bands = np.stack([part.sum(axis=1) for part in np.array_split(power, 8, axis=1)], axis=1)
        return np.log1p(bands).astype(np.float32)


@pytest.fixture
def spectrum() -> SpectrumEncoder:
    return SpectrumEncoder()


def tone(path: Path, *, hz: float = 440, seconds: float = 2, rate: int = 22_050) -> Path:
    """Write a tone, the plainest audio there is; the subtype follows the suffix."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), rate)
    return path


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "library"
