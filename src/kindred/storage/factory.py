"""Opens the stores that the settings name.

A store is named ``local`` (the folder KINDRED_HOME), ``postgres`` or ``astra``; a path is the
folder of another local library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from kindred.config import Settings
from kindred.errors import ConfigError
from kindred.storage.backend import LibraryStore, StorageBackend
from kindred.storage.local import LocalBackend

REMOTE = ("postgres", "astra")


def open_storage(settings: Settings) -> StorageBackend:
    """Open the library in use.

    Raises
    ------
    ConfigError
        When a setting is missing that its store needs.
    StorageError
        When it cannot be opened; the message says what to do.
    """
    if settings.storage_backend == "local":
        return LocalBackend(settings.library, ann_threshold=settings.ann_threshold)
    from kindred.storage.shared.backend import SharedBackend
    from kindred.storage.shared.cache import Cache

    remote = open_store(settings, settings.storage_backend)
    local = local_side(settings, remote)
    cache = Cache(settings.cache_dir.expanduser(), size_mb=settings.cache_mb)
    return SharedBackend(remote, local, cache=cache, patience=settings.storage_timeout)


def local_side(settings: Settings, remote: LibraryStore) -> LocalBackend:
    """This machine's side of a shared library."""
    place = hashlib.sha256(remote.place.encode()).hexdigest()[:8]
    return LocalBackend(
        settings.library, ann_threshold=settings.ann_threshold, library=f"{remote.name}-{place}"
    )


def open_store(settings: Settings, name: str, *, make: bool = False) -> LibraryStore:
    """Open one store by its name, as it is, without a copy or an outbox.

    With ``make`` a folder that is no library yet becomes an empty one.

    Raises
    ------
    ConfigError
        When there is no such store or a setting is missing that it needs.
    StorageError
        When it cannot be opened.
    """
    if name == "local":
        return LocalBackend(settings.library, ann_threshold=settings.ann_threshold)
    if name == "postgres":
        from kindred.storage.postgres.backend import PostgresStore

        url = settings.database_url.get_secret_value()
        if not url:
            raise ConfigError(
                "Postgres needs DATABASE_URL: postgresql://user:password@host:5432/database."
            )
        return PostgresStore(
            url,
            timeout=settings.storage_timeout,
            ann_threshold=settings.ann_threshold,
            store_audio=settings.stored_audio == "blob",
        )
    if name == "astra":
        from kindred.storage.astra.backend import AstraStore
        from kindred.storage.astra.client import endpoint_of

        return AstraStore(
            endpoint_of(settings),
            settings.astra_db_keyspace,
            token=settings.astra_db_application_token.get_secret_value(),
            username=settings.astra_db_username,
            password=settings.astra_db_password.get_secret_value(),
            timeout=settings.storage_timeout,
            store_audio=settings.stored_audio == "blob",
        )
    folder = Path(name).expanduser()
    if (folder / "library.db").is_file() or (make and len(folder.parts) > 1):
        return LocalBackend(folder, ann_threshold=settings.ann_threshold)
    raise ConfigError(
        f"There is no store {name!r}: say local, postgres, astra, or the folder of a local library"
        " (`kindred storage init ./FOLDER` makes one)."
    )


def is_configured(settings: Settings, name: str) -> bool:
    """Whether the settings say where a store is."""
    if name == "postgres":
        return bool(settings.database_url.get_secret_value())
    if name == "astra":
        return bool(settings.astra_db_api_endpoint or settings.astra_db_id)
    return True
