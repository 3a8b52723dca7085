"""Opens the backend that the settings name."""

from __future__ import annotations

from kindred.config import Settings
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend


def open_storage(settings: Settings) -> StorageBackend:
    """Open the library's storage.

    Raises
    ------
    StorageError
        When it cannot be opened; the message says what to do.
    """
    return LocalBackend(settings.library, ann_threshold=settings.ann_threshold)
