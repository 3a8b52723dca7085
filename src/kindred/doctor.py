"""A look at this installation: packages, library, encoders, tools, and what to do about gaps."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from importlib import metadata

from kindred.config import Settings, load_settings
from kindred.embeddings import registry
from kindred.errors import KindredError
from kindred.storage.check import Check, check_store
from kindred.storage.factory import open_storage

_NEEDED = (
    "streamlit", "numpy", "scipy", "soundfile", "soxr", "av", "mutagen", "pillow", "faiss-cpu",
    "fastapi", "uvicorn",
)  # fmt: skip
_OPTIONAL = {
    "torch": "CLAP and other models need it: pip install -r requirements.txt",
    "transformers": "CLAP and other models need it: pip install -r requirements.txt",
    "music21": "The demo library needs it: pip install -r requirements.txt",
    "pretty_midi": "The demo library needs it: pip install -r requirements.txt",
    "tinysoundfont": "The demo library needs it: pip install --no-deps -r requirements-nodeps.txt",
    "watchfiles": "`kindred ingest --watch` needs it: pip install -r requirements.txt",
}


def examine() -> list[Check]:
    """Look at everything; never raises for what it finds."""
    checks = [Check("Python", sys.version_info[:2] == (3, 11), platform.python_version())]
    checks += [_package(name, "pip install -r requirements.txt") for name in _NEEDED]
    checks += [_package(name, remedy) for name, remedy in _OPTIONAL.items()]
    try:
        settings = load_settings()
    except KindredError as error:
        return [*checks, Check("Settings", False, "cannot be used", str(error))]
    checks += _library(settings)
    for info in registry.available():
        status = registry.encoder_status(info.name, settings)
        found = "ready" if status.ready else status.notice
        checks.append(Check(f"Encoder {info.name}", status.ready, found, status.command))
    checks.append(Check("Cores", True, str(os.cpu_count())))
    return checks


def _package(name: str, remedy: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", remedy)


def _library(settings: Settings) -> list[Check]:
    name = f"Library ({settings.storage_backend})"
    try:
        with open_storage(settings) as storage:
            count, place = storage.count_tracks(), storage.place
    except KindredError as error:
        return [Check(name, False, str(settings.library), str(error))]
    remedy = "" if count else "`kindred demo` or `kindred ingest FOLDER` fills it."
    checks = [Check(name, True, f"{place}, {count} tracks", remedy)]
    if settings.storage_backend != "local":
        found = check_store(settings, settings.storage_backend)
        checks += [replace(check, name=f"{name}: {check.name.lower()}") for check in found]
    return checks
