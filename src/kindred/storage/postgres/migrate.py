"""The schema of a library in Postgres: made and brought up to date by Alembic.

Revisions are numbered ``0001``, ``0002``, ...; the database keeps its own in ``kindred_schema``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from kindred.errors import StorageError
from kindred.storage.postgres.connections import Connection
from kindred.storage.postgres.failures import no_schema

#: The newest revision in ``migrations/versions``.
HEAD = "0001"
VERSION_TABLE = "kindred_schema"
_SCRIPTS = Path(__file__).with_name("migrations")
#: Any number, the same in every Kindred: only one process migrates at a time.
_LOCK = 5_463_353_301_744_961


def check(connection: Connection, place: str) -> str:
    """Return the version of pgvector in the database.

    Raises
    ------
    StorageError
        Unless the schema is the one this Kindred writes.
    """
    extension, revision = _found(connection)
    if revision is None or extension is None:
        raise no_schema(place)
    if revision < HEAD:
        raise no_schema(place, f"a library of an older Kindred (schema {revision}, not {HEAD})")
    if revision > HEAD:
        raise _newer(place, revision)
    return extension


def upgrade(connect: Callable[[], Connection], place: str) -> None:
    """Make the schema, or bring it up to date; does nothing where it is.

    Raises
    ------
    StorageError
        When the database cannot hold a library, or holds that of a newer Kindred.
    """
    # A lock of its own, as what happens meanwhile is several transactions.
    with connect() as guard, guard.transaction():
        guard.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        with connect() as connection:
            extension, revision = _found(connection)
            if revision is not None and revision > HEAD:
                raise _newer(place, revision)
            if revision == HEAD:
                return
            _check_encoding(connection, place)
            if extension is None:
                _add_pgvector(connection, place)
        _run_migrations(connect, place)


def _run_migrations(connect: Callable[[], Connection], place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))

    def in_transactions() -> Connection:
        connection = connect()
        connection.autocommit = False
        return connection

    # The address stays out of SQLAlchemy, whose errors and logs repeat it.
    engine = create_engine("postgresql+psycopg://", creator=in_transactions, poolclass=NullPool)
    try:
        with engine.begin() as migrating:
            config.attributes["connection"] = migrating
            command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.DuplicateTable):
            raise StorageError(
                f"Postgres at {place} has tables of another program"
                f" ({error.orig.diag.message_primary}). Create a database for Kindred alone and"
                " name it in DATABASE_URL."
            ) from error.orig
        raise error.orig or error from None


def _found(connection: Connection) -> tuple[str | None, str | None]:
    """Version of pgvector and revision of the schema, ``None`` where there is none."""
    row: Any = connection.execute(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
        f" to_regclass('{VERSION_TABLE}') IS NOT NULL"
    ).fetchone()
    if not row[1]:
        return row[0], None
    revision = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    return row[0], revision[0] if revision else None


def _newer(place: str, revision: str) -> StorageError:
    return StorageError(
        f"The library in Postgres at {place} was written by a newer Kindred (schema {revision},"
        f" this one writes {HEAD}). Update Kindred to open it."
    )


def _check_encoding(connection: Connection, place: str) -> None:
    row: Any = connection.execute("SHOW server_encoding").fetchone()
    if row[0] != "UTF8":
        raise StorageError(
            f"The database in Postgres at {place} has the encoding {row[0]}. Create one with"
            " ENCODING 'UTF8' and name it in DATABASE_URL."
        )


def _add_pgvector(connection: Connection, place: str) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.InsufficientPrivilege as error:
        raise StorageError(
            f"Postgres at {place} has pgvector, but this user may not add it to the database. Let"
            " an administrator run CREATE EXTENSION vector there."
        ) from error
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise StorageError(
            f"Postgres at {place} has no pgvector. Install it on the server"
            " (https://github.com/pgvector/pgvector), 0.5 or newer."
        ) from error
