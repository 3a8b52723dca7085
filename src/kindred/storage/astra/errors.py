"""What went wrong with a request to the Data API, in Kindred's errors and in words.

::

    StorageUnavailable   sent again, or later: no connection, no answer in time, 429, 5xx, answers
                         that are not the Data API's, and the codes of _PASSING
      .asleep            a hibernated database that is waking up: not sent again now
      .retry_after       seconds, where the server says so
    TooMuch              the server takes fewer rows or bytes in a request
    StorageError         everything else: sent again, it would be refused again

Most errors come as HTTP 200 with a list of errors; codes are those of the open-source Data API
(github.com/stargate/data-api, errors.yaml).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kindred.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from astrapy.exceptions import DataAPIHttpException

#: Codes of trouble that passes, beside all that begin with TIMEOUT_.
_PASSING = frozenset(
    {
        "UNAVAILABLE_DATABASE",
        "FAILED_READ_REQUEST",
        "FAILED_WRITE_REQUEST",
        "FAILED_TO_CONNECT_TO_DATABASE",
        "FAILED_TO_READ_METADATA",
    }
)
_NO_ACCESS = frozenset({"UNAUTHENTICATED_REQUEST", "UNAUTHORIZED_ACCESS"})
_NO_TABLE = frozenset({"COLLECTION_NOT_EXIST", "TABLE_NOT_EXIST", "UNKNOWN_TABLE"})
_NO_KEYSPACE = frozenset({"UNKNOWN_KEYSPACE", "KEYSPACE_DOES_NOT_EXIST"})
_TOO_MANY_ROWS = frozenset({"COMMAND_FIELD_VALUE_INVALID", "COMMAND_FIELD_INVALID"})
#: A server's own words are cut to so many characters.
_LONGEST_QUOTE = 300


class TooMuch(StorageError):
    """The server takes fewer rows or bytes in one request; an insert is then sent in parts."""


def classify(
    error: Exception, *, place: str, timeout: float, secrets: tuple[str, ...]
) -> StorageError:
    """Turn an error of astrapy or httpx into one of Kindred's.

    Parameters
    ----------
    place : str
        The store in words, as a sentence begins.
    timeout : float
        Seconds of ``KINDRED_STORAGE_TIMEOUT``.
    secrets : tuple of str
        Texts that no message may hold, whatever the server says.
    """
    from astrapy.exceptions import (
        DataAPIHttpException,
        DataAPIResponseException,
        DataAPITimeoutException,
        TableInsertManyException,
        UnexpectedDataAPIResponseException,
    )

    if isinstance(error, TableInsertManyException):
        # What may pass may be sent again whole; the first that cannot pass decides.
        found = [
            classify(inner, place=place, timeout=timeout, secrets=secrets)
            for inner in error.exceptions
            if isinstance(inner, Exception)
        ]
        lasting = [item for item in found if not isinstance(item, StorageUnavailable)]
        return (lasting or found or [StorageError(f"{place} refused rows and did not say why.")])[0]
    if isinstance(error, DataAPITimeoutException):
        return StorageUnavailable(
            f"{place} did not answer within {timeout:g} s (KINDRED_STORAGE_TIMEOUT)."
        )
    if isinstance(error, DataAPIResponseException):
        codes = [item.error_code or "" for item in error.error_descriptors]
        return _of_codes(codes, place, _quote(str(error), secrets))
    if isinstance(error, DataAPIHttpException):
        return _of_status(error, place, secrets)
    if isinstance(error, UnexpectedDataAPIResponseException):
        return StorageUnavailable(
            f"{place} answers, but not as a Data API does. Something stands between it and this"
            " machine, or ASTRA_DB_API_ENDPOINT is another service's."
        )
    why = _quote(str(error) or type(error).__name__, secrets)
    return StorageUnavailable(
        f"{place} cannot be reached: {why}. Is this machine online, and ASTRA_DB_API_ENDPOINT (or"
        " ASTRA_DB_ID and ASTRA_DB_REGION) right?"
    )


def _of_codes(codes: list[str], place: str, said: str) -> StorageError:
    """An error for the codes of an answer."""
    lasting = [code for code in codes if code not in _PASSING and not code.startswith("TIMEOUT_")]
    if codes and not lasting:
        return StorageUnavailable(f"{place} is in trouble: {said}")
    found = set(lasting)
    if found & _NO_ACCESS:
        return _no_access(place)
    if found & _NO_KEYSPACE:
        return StorageError(
            f"{place}: there is no such keyspace. Make it, or set ASTRA_DB_KEYSPACE to one that"
            " exists; a new database has default_keyspace."
        )
    if found & _NO_TABLE:
        return StorageError(f"{place} has no tables of Kindred. Run `kindred storage init`.")
    if found & _TOO_MANY_ROWS:
        return TooMuch(f"{place} refused a request: {said}")
    return StorageError(f"{place} refused a request: {said}")


def _of_status(error: DataAPIHttpException, place: str, secrets: tuple[str, ...]) -> StorageError:
    """An error for an answer with a status of 400 or more."""
    status = error.response.status_code
    said = _quote(error.response.text.strip() or error.response.reason_phrase, secrets)
    problem: StorageError
    if status == 503 and "resum" in said.lower():
        problem = StorageUnavailable(
            f"{place} is waking up after days without use, which takes some minutes. It can also be"
            " resumed at astra.datastax.com."
        )
        _tell(problem, "asleep", True)
    elif status == 429 or status >= 500:
        what = "takes no more requests for now" if status == 429 else "is in trouble"
        problem = StorageUnavailable(f"{place} {what} (HTTP {status}): {said}")
        wait = error.response.headers.get("Retry-After", "")
        if wait.isdecimal():
            _tell(problem, "retry_after", float(wait))
    elif status == 401:
        problem = _no_access(place)
    elif status == 403:
        problem = StorageError(
            f"{place} does not allow this (HTTP 403). Give the token or user a role that may read,"
            " write and create tables here, and this machine's address access to the database."
        )
    elif status == 404:
        problem = StorageError(
            f"{place} is not there (HTTP 404). Set ASTRA_DB_API_ENDPOINT to the URL that the"
            " database's page shows, without a path."
        )
    elif status == 413:
        problem = TooMuch(f"{place} takes no request of that size (HTTP 413).")
    else:
        problem = _of_codes(
            [item.error_code or "" for item in error.error_descriptors], place, said
        )
    return problem


def _no_access(place: str) -> StorageError:
    return StorageError(
        f"{place} refused the token or password. Make a token with the role Database Administrator"
        " at astra.datastax.com and set ASTRA_DB_APPLICATION_TOKEN; for a Data API of your own set"
        " ASTRA_DB_USERNAME and ASTRA_DB_PASSWORD."
    )


def _tell(error: StorageError, name: str, value: Any) -> None:
    """Set an attribute that :mod:`kindred.storage.retry` reads."""
    setattr(error, name, value)


def _quote(text: str, secrets: tuple[str, ...]) -> str:
    """A server's words: short, and without what must not be shown."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
