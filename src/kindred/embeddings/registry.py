"""The encoders there are: one line each, imported only when one is asked for.

This module and everything it imports stay free of torch and scipy, so that a page can list the
encoders and say what they need without waiting for either.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from kindred.config import Settings
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, UnknownEncoder


@dataclass(frozen=True)
class EncoderInfo:
    """What users are told of an encoder before it is loaded."""

    name: str
    title: str
    description: str
    licence: str
    dims: int
    needs_weights: bool


class TextEncoder(Protocol):
    """Turns words into vectors of an audio encoder's space."""

    space: EmbeddingSpace

    def check_files(self) -> None:
        """Raise :class:`WeightsMissing` unless its files are there; reads none."""

    def encode_text(self, texts: Sequence[str]) -> Vector:
        """Encode n texts: float32 [n, dims] of unit length."""


@dataclass(frozen=True)
class EncoderStatus:
    """Whether an encoder can be used now.

    Attributes
    ----------
    name : str
    ready : bool
    notice : str
        One line that says so, or what is missing.
    command : str
        What makes it ready; empty when it is, or when no command can help.
    """

    name: str
    ready: bool
    notice: str
    command: str


@dataclass(frozen=True)
class _Entry:
    """An encoder: what is told of it, and where the two functions lie that make and judge it."""

    info: EncoderInfo
    make: str
    status: str
    fetch: str = ""
    weights: str = ""
    text: str = ""


_ENTRIES = (
    _Entry(
        EncoderInfo(
            name="descriptors",
            title="Descriptors",
            description="Timbre, harmony, rhythm and dynamics, measured; says why tracks are near.",
            licence="part of Kindred",
            dims=189,
            needs_weights=False,
        ),
        make="kindred.embeddings.descriptors:from_settings",
        status="kindred.embeddings.descriptors:readiness",
    ),
    _Entry(
        EncoderInfo(
            name="clap",
            title="CLAP",
            description="LAION's learned audio vectors, trained on music and what is said of it.",
            licence="Apache-2.0",
            dims=512,
            needs_weights=True,
        ),
        make="kindred.embeddings.clap:from_settings",
        status="kindred.embeddings.clap_weights:readiness",
        fetch="kindred.embeddings.clap_weights:fetch",
        weights="kindred.embeddings.clap_weights:weights_status",
        text="kindred.embeddings.clap_text:from_settings",
    ),
    _Entry(
        EncoderInfo(
            name="mert",
            title="MERT",
            description=(
                "Learned from music alone: mean and deviation of chosen hidden layers; keeps all"
                " layers of every window for expressive similarity."
            ),
            licence="CC-BY-NC-4.0 (not for commercial use)",
            dims=1536,
            needs_weights=True,
        ),
        make="kindred.embeddings.mert:from_settings",
        status="kindred.embeddings.mert_weights:readiness",
        fetch="kindred.embeddings.mert_weights:fetch",
        weights="kindred.embeddings.mert_weights:weights_status",
    ),
    _Entry(
        EncoderInfo(
            name="expressive",
            title="Expressive",
            description=(
                "Learned here from rendered performances: tempo, phrasing, dynamics, articulation"
                " and timbre; only once it has passed its gates."
            ),
            licence="part of Kindred (not for commercial use where it was trained on MERT)",
            dims=80,
            needs_weights=False,
        ),
        make="kindred.expressive.encoder:from_settings",
        status="kindred.expressive.encoder:readiness",
    ),
)


def available() -> list[EncoderInfo]:
    """All registered encoders, whether ready or not."""
    return [entry.info for entry in _ENTRIES]


def load_encoder(name: str, settings: Settings) -> Encoder:
    """Make an encoder; a learned model itself is read at its first window.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    WeightsMissing
        When its weights are not on this machine.
    EncoderError
        When a file it needs is damaged.
    """
    make = cast(Callable[[Settings], Encoder], _resolve(_entry(name).make))
    return make(settings)


def understands_words(name: str) -> bool:
    """Whether an encoder has a text tower.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    """
    return bool(_entry(name).text)


def load_text_encoder(name: str, settings: Settings) -> TextEncoder:
    """Make the text tower of an encoder; it is read at its first text.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    EncoderError
        When the encoder does not understand words.
    WeightsMissing
        When its weights are not on this machine.
    """
    entry = _entry(name)
    if not entry.text:
        able = " or ".join(each.info.name for each in _ENTRIES if each.text)
        raise EncoderError(f"{entry.info.title} does not understand words; {able} does.")
    return cast(Callable[[Settings], TextEncoder], _resolve(entry.text))(settings)


def encoder_status(name: str, settings: Settings) -> EncoderStatus:
    """Whether an encoder can be used now; reads file headers at most, no network.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    """
    readiness = cast(Callable[[Settings], tuple[bool, str, str]], _resolve(_entry(name).status))
    ready, notice, command = readiness(settings)
    return EncoderStatus(name=name, ready=ready, notice=notice, command=command)


def fetch(
    name: str, settings: Settings, *, progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Download an encoder's weights; goes on where an earlier download stopped.

    Parameters
    ----------
    progress : callable, optional
        Called with MB fetched, MB in all, and what is fetched.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    EncoderError
        When it needs no weights, or when what was fetched is damaged.
    WeightsMissing
        When the hub cannot be reached or does not have them.
    """
    entry = _entry(name)
    if not entry.fetch:
        raise EncoderError(f"{entry.info.title} needs no weights: there is nothing to fetch.")
    download = cast(Callable[..., object], _resolve(entry.fetch))

    def megabytes(done: int, total: int) -> None:
        if progress is not None:
            progress(done // 1_000_000, total // 1_000_000, f"{entry.info.title}, MB")

    download(settings, progress=megabytes)


@dataclass(frozen=True)
class WeightsInfo:
    """An encoder's weights: bytes on disk, revision, and whether Kindred may remove them."""

    size: int = 0
    revision: str = ""
    removable: bool = False


def weights(name: str, settings: Settings) -> WeightsInfo:
    """What an encoder's weights take on this machine.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    """
    entry = _entry(name)
    if not entry.weights:
        return WeightsInfo()
    status: Any = cast(Callable[[Settings], object], _resolve(entry.weights))(settings)
    folder = _fetched(status.location, settings)
    size = _bytes(folder) if folder else status.size
    revision = load_encoder(name, settings).space.revision if status.available else ""
    return WeightsInfo(size, revision, removable=folder is not None and size > 0)


def remove(name: str, settings: Settings) -> int:
    """Remove an encoder's weights and return how many bytes that freed.

    Raises
    ------
    UnknownEncoder
        When no encoder has this name.
    EncoderError
        When there is nothing that Kindred has fetched; what a user put elsewhere stays.
    """
    entry = _entry(name)
    info = weights(name, settings)
    if not info.removable:
        raise EncoderError(f"There are no weights of {entry.info.title} that Kindred has fetched.")
    status: Any = cast(Callable[[Settings], object], _resolve(entry.weights))(settings)
    folder = _fetched(status.location, settings)
    assert folder is not None  # or they would not be removable
    shutil.rmtree(folder)
    return info.size


def _fetched(location: Path, settings: Settings) -> Path | None:
    """The model's own folder below ``settings.models``, where the location lies in one."""
    if not location.is_relative_to(settings.models) or location == settings.models:
        return None
    return settings.models / location.relative_to(settings.models).parts[0]


def _bytes(folder: Path) -> int:
    """Bytes of the files below a folder, each counted once although links name it again."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def _entry(name: str) -> _Entry:
    for entry in _ENTRIES:
        if entry.info.name == name:
            return entry
    allowed = ", ".join(entry.info.name for entry in _ENTRIES)
    raise UnknownEncoder(
        f"There is no encoder {name!r}; there are {allowed}. Set KINDRED_ENCODER to one of them."
    )


def _resolve(path: str) -> object:
    module, _, function = path.partition(":")
    return getattr(import_module(module), function)
