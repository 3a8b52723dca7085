"""The table of encoders."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kindred.config import Settings
from kindred.embeddings import registry
from kindred.errors import UnknownEncoder


def test_an_unknown_name_lists_the_known_ones(settings: Settings) -> None:
    with pytest.raises(UnknownEncoder, match=r"'nothing'.*descriptors, clap, mert"):
        registry.load_encoder("nothing", settings)
    with pytest.raises(UnknownEncoder):
        registry.encoder_status("nothing", settings)


def test_every_encoder_tells_its_status(settings: Settings) -> None:
    for info in registry.available():
        status = registry.encoder_status(info.name, settings)
        assert status.ready
        assert status.notice
        assert not status.command


def test_nothing_heavy_is_imported_to_ask(settings: Settings) -> None:
    code = f"""
import sys
from kindred.config import Settings
from kindred.embeddings import registry
for info in registry.available():
    registry.encoder_status(info.name, Settings(_env_file=None, model_dir="nowhere"))
released = Settings(_env_file=None, home={str(settings.home)!r})
assert registry.encoder_status("expressive", released).ready
registry.load_encoder("descriptors", Settings(_env_file=None))
print([name for name in ("torch", "scipy", "transformers", "librosa") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
