"""Kinds of folders with a manifest: all that building, sending and fetching must know of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kindred.artifacts.layout import Entry


class Listing(Protocol):
    """What every manifest tells: when it was made, its files by name, and their bytes in all."""

    @property
    def created_at(self) -> str:
        """UTC, ISO 8601."""

    @property
    def files(self) -> dict[str, Entry]:
        """Every file but the manifest itself, by its path with ``/``."""

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes
    ----------
    may_have : callable
        Whether such a folder may have a file of this name.
    parse : callable
        Reads a manifest (its bytes, and where it lies for messages) without trusting it.
    verify : callable
        Checks everything in a folder; with False all but the bytes' checksums.

    Both raise :class:`~kindred.errors.ArtifactError`.
    """

    may_have: Callable[[str], bool]
    parse: Callable[[bytes, Path | str], Listing]
    verify: Callable[[Path, bool], Listing]
