"""What psycopg's errors mean for people, and which of them may pass by themselves.

A message never repeats the address a user gave, since that holds the password. SQLSTATEs:
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re

import psycopg

from kindred.errors import StorageError, StorageUnavailable

#: Connection lost, serialization failure, deadlock, out of memory or of connections, a lock or a
#: statement that took too long, shutdown.
_PASSING = (
    *("08", "40", "53000", "53200", "53300", "55P03"),
    *("57014", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"),
)
#: Tables, columns, functions or types that are not there.
_NO_SCHEMA = ("42P01", "42703", "42704", "42883", "3F000")

#: libpq gives no SQLSTATE for a connection that was refused, only the server's words.
_REFUSED = (
    (
        r"authentication failed|no password supplied|pg_hba\.conf|role .* (does not exist|is not)",
        "the server refused the log-in. Check user and password in DATABASE_URL",
    ),
    (
        r"database .* does not exist",
        "the server has no such database. Create it, or correct DATABASE_URL",
    ),
    (
        r"permission denied for database",
        "the user may not connect to this database. Grant it, or correct DATABASE_URL",
    ),
    (
        r"SSL|certificate",
        "the encrypted connection was refused. Check sslmode and sslrootcert in DATABASE_URL",
    ),
    (
        r"invalid (port|integer|connection option|sslmode)|unsupported startup parameter",
        "DATABASE_URL has an option that cannot be used",
    ),
)
_NO_ANSWER = (
    (r"couldn't get a connection", "all connections of this process are in use"),
    (r"refused|No such file", "nothing listens there; start it, or correct DATABASE_URL"),
    (
        r"translate host name|resolve",
        "its name is not known here; correct DATABASE_URL, or go online",
    ),
    (r"too many (clients|connections)|connection slots", "it has no connection left"),
    (r"starting up|shutting down|recovery", "it is starting or stopping"),
    (r"timeout|timed out", "it did not answer in time"),
)


def is_retryable(error: psycopg.Error) -> bool:
    """Whether the same call may work later without anybody changing anything."""
    if error.sqlstate:
        return error.sqlstate.startswith(_PASSING)
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    return _first(_REFUSED, str(error)) is None


def translate(error: psycopg.Error, place: str) -> StorageError:
    """The error to raise in place of one of psycopg's.

    Returns
    -------
    StorageError
        :class:`~kindred.errors.StorageUnavailable` where :func:`is_retryable`.
    """
    code, where = error.sqlstate or "", f"Postgres at {place}"
    if is_retryable(error):
        return StorageUnavailable(f"{where} cannot be used now: {_reason(error)}. Try again.")
    if not code and (refused := _first(_REFUSED, str(error))):
        return StorageError(f"{where}: {refused}.")
    if code.startswith(_NO_SCHEMA):
        return no_schema(place)
    said = error.diag.message_primary or str(error)
    if code == "42501":
        advice = "Grant it to the user in DATABASE_URL"
    elif code == "53100":
        advice = "Free some space on the server"
    elif code == "25006":
        advice = "This server only reads; let DATABASE_URL name the primary"
    else:
        advice = "Nothing was changed"
    return StorageError(f"{where} refused: {said.rstrip('.')}. {advice}.")


def no_schema(place: str, found: str = "no Kindred library") -> StorageError:
    """The error for a database whose schema is missing or old."""
    return StorageError(f"Postgres at {place} has {found}. Run `kindred storage init`.")


def _reason(error: psycopg.Error) -> str:
    code = error.sqlstate or ""
    if code == "57014":
        return "the statement took too long (storage_timeout)"
    if code == "55P03":
        return "another process was writing for too long (storage_timeout)"
    if code.startswith("40"):
        return "two writers were in each other's way"
    if code.startswith("57P"):
        return "it is shutting down"
    return _first(_NO_ANSWER, str(error)) or "the connection was lost"


def _first(table: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((words for pattern, words in table if re.search(pattern, text)), None)
