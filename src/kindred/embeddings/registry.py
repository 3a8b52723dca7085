"""The encoders there are: one line each, imported only when one is asked for.

This module and everything it imports stay free of torch and scipy, so that a page can list the
encoders and say what they need without waiting for either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from kindred.config import Settings
from kindred.embeddings.encoder import Encoder
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
