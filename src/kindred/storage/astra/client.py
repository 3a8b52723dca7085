"""The connection to a Data API: tables kept, pages read, rows sent in requests it takes.

Every request goes through :meth:`DataApi.call`, which knows errors and retries. Requests that do
not depend on each other go out together, a few at a time.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from kindred.config import Settings
from kindred.errors import ConfigError, StorageError
from kindred.storage.astra.batching import (
    FEW_ROWS,
    KEYS_AT_ONCE,
    MOST_ROWS,
    Document,
    batches,
    chunks,
)
from kindred.storage.astra.errors import TooMuch, classify
from kindred.storage.retry import retrying

if TYPE_CHECKING:
    from astrapy import Database, Table
    from astrapy.data.cursors.pagination import FindPage

T = TypeVar("T")
R = TypeVar("R")
#: Requests under way at once.
_AT_ONCE = 8
#: Seconds: making a table or an index takes longer than the rest.
_SCHEMA_TIMEOUT = 90.0


def endpoint_of(settings: Settings) -> str:
    """URL of the Data API that the settings name.

    Raises
    ------
    ConfigError
        When it cannot be made of them; the message names the variables that are missing.
    """
    if settings.astra_db_api_endpoint:
        return settings.astra_db_api_endpoint
    parts = {"ASTRA_DB_ID": settings.astra_db_id, "ASTRA_DB_REGION": settings.astra_db_region}
    if missing := [name for name, value in parts.items() if not value]:
        raise ConfigError(
            f"Astra DB needs {' and '.join(missing)} (or ASTRA_DB_API_ENDPOINT): the database's"
            " page at astra.datastax.com shows them."
        )
    return f"https://{settings.astra_db_id}-{settings.astra_db_region}.apps.astra.datastax.com"


def _parts(endpoint: str) -> tuple[str, str, str]:
    """Scheme, host with its port, and path of a URL; a user in it is left out."""
    try:
        where = urlsplit(endpoint.strip())
        good = where.scheme in ("http", "https") and bool(where.hostname) and where.port != 0
    except ValueError:  # the port is no number
        good = False
    if not good:
        raise ConfigError(
            "ASTRA_DB_API_ENDPOINT is no URL such as https://<id>-<region>.apps.astra.datastax.com."
        )
    return where.scheme, where.netloc.rpartition("@")[2], where.path


class DataApi:
    """One keyspace of a Data API; nothing is sent before the first call.

    Parameters
    ----------
    endpoint, keyspace : str
        Where it is.
    token : str
        Of Astra DB.
    username, password : str
        Of a Data API of one's own, in place of a token.
    timeout : float
        Seconds after which a request counts as not answered and no retry begins.
    sleep : callable
        Waits between attempts.

    Raises
    ------
    ConfigError
        When the endpoint is no URL, or there is neither token nor user.
    """

    def __init__(
        self,
        endpoint: str,
        keyspace: str,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        timeout: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        scheme, host, path = _parts(endpoint)
        if not (token or username):
            raise ConfigError(
                "Astra DB needs ASTRA_DB_APPLICATION_TOKEN (AstraCS:...); a Data API of your own"
                " ASTRA_DB_USERNAME and ASTRA_DB_PASSWORD."
            )
        self.place = f"{host}/{keyspace}"
        self._endpoint = f"{scheme}://{host}{path}".rstrip("/")
        self._keyspace, self._timeout, self._sleep = keyspace, timeout, sleep
        self._token, self._username, self._password = token.strip(), username, password
        coded = base64.b64encode(password.encode()).decode()
        self._secrets = tuple(filter(None, (self._token, password, coded)))
        self._most_rows = MOST_ROWS
        self._tables: dict[str, Table[Document]] = {}
        self._lock = threading.Lock()

    @cached_property
    def database(self) -> Database:
        """astrapy's object for the keyspace."""
        from astrapy import DataAPIClient
        from astrapy.api_options import APIOptions, TimeoutOptions
        from astrapy.authentication import StaticTokenProvider, UsernamePasswordTokenProvider
        from astrapy.constants import Environment

        # astrapy logs each error before it raises it; without a handler that goes to the terminal.
        logging.getLogger("astrapy").addHandler(logging.NullHandler())
        milliseconds = round(1000 * self._timeout)
        limits = TimeoutOptions(
            request_timeout_ms=milliseconds,
            general_method_timeout_ms=milliseconds,
            table_admin_timeout_ms=round(1000 * max(self._timeout, _SCHEMA_TIMEOUT)),
        )
        own = self._username or not self._token.startswith("AstraCS:")
        client = DataAPIClient(
            environment=Environment.HCD if own else Environment.PROD,
            api_options=APIOptions(timeout_options=limits),
        )
        token = (
            UsernamePasswordTokenProvider(self._username, self._password)
            if self._username
            else StaticTokenProvider(self._token)
        )
        return client.get_database(self._endpoint, token=token, keyspace=self._keyspace)

    def table(self, name: str) -> Table[Document]:
        """A table object; making one costs more than a request, so they are kept."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = self.database.get_table(name)
            return self._tables[name]

    def close(self) -> None:
        """Let what is under way end, then close the connections; astrapy has no public way."""
        if (threads := self.__dict__.pop("_threads", None)) is not None:
            threads.shutdown(cancel_futures=True)
        with self._lock:
            tables, self._tables = list(self._tables.values()), {}
        commanders = [table._api_commander for table in tables]
        if (database := self.__dict__.pop("database", None)) is not None:
            commanders.append(database._api_commander)
        for commander in commanders:
            commander.client.close()

    # -- requests --------------------------------------------------------------------------
    def call(self, request: Callable[[], T]) -> T:
        """Make one request, again where it may be retried.

        Raises
        ------
        StorageUnavailable
            When it cannot be reached now.
        StorageError
            When it refused.
        """
        import httpx
        from astrapy.exceptions import DataAPIException

        def attempt() -> T:
            try:
                return request()
            except (DataAPIException, httpx.RequestError) as error:
                problem = classify(
                    error,
                    place=f"The Data API at {self.place}",
                    timeout=self._timeout,
                    secrets=self._secrets,
                )
                told = any(secret in str(error) for secret in self._secrets)
                raise problem from (None if told else error)

        return retrying(attempt, deadline=self._timeout, sleep=self._sleep)

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do work that sends requests, several at once; ``work`` must not call this again."""
        items = list(items)
        if len(items) < 2:
            return [work(item) for item in items]
        return list(self._threads.map(work, items))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="astra")

    # -- reading ---------------------------------------------------------------------------
    def find(self, name: str, where: Document, columns: Iterable[str]) -> Iterator[Document]:
        """Every row that meets a filter, page by page, whatever the size of a page."""
        state: str | None = None
        while True:
            page = self.call(partial(self._page, name, where, columns, state))
            yield from page.results
            state = page.next_page_state
            if state is None:
                return

    def _page(
        self, name: str, where: Document, columns: Iterable[str], state: str | None
    ) -> FindPage[Document]:
        cursor = self.table(name).find(where, projection=dict.fromkeys(columns, True))
        if state is not None:
            cursor = cursor.initial_page_state(state)
        return cursor.fetch_next_page()

    def find_all(
        self, name: str, wheres: Iterable[Document], columns: Iterable[str]
    ) -> list[Document]:
        """Rows that meet any of some filters, which are asked at once."""
        columns = list(columns)
        found = self.each(lambda where: list(self.find(name, where, columns)), wheres)
        return [document for part in found for document in part]

    def find_in(
        self,
        name: str,
        column: str,
        values: Iterable[str],
        columns: Iterable[str],
        where: Mapping[str, Any] = {},
    ) -> list[Document]:
        """Rows whose column has one of any number of values."""
        parts = chunks(list(dict.fromkeys(values)), KEYS_AT_ONCE)
        wheres = ({column: {"$in": part}, **where} for part in parts)
        return self.find_all(name, wheres, columns)

    def nearest(
        self, name: str, where: Document, query: bytes, *, limit: int, columns: Iterable[str]
    ) -> list[Document]:
        """Rows by similarity to a query vector, with ``$similarity``, (1 + cosine) / 2."""
        from astrapy.data_types import DataAPIVector

        sort = {"vector": DataAPIVector.from_bytes(query)}
        projection = dict.fromkeys(columns, True)

        def request() -> list[Document]:
            cursor = self.table(name).find(
                where, projection=projection, sort=sort, limit=limit, include_similarity=True
            )
            return cursor.fetch_next_page().results

        return self.call(request)

    # -- writing ---------------------------------------------------------------------------
    def insert(self, name: str, documents: Iterable[Document]) -> None:
        """Insert rows or replace the columns they name, in requests bounded in rows and bytes."""
        self.each(partial(self._send, name), batches(documents, self._most_rows))

    def _send(self, name: str, batch: list[Document]) -> None:
        def request() -> None:
            self.table(name).insert_many(batch, chunk_size=len(batch), concurrency=1)

        try:
            self.call(request)
        except TooMuch as error:
            if len(batch) == 1:
                raise StorageError(str(error)) from error
            size = FEW_ROWS if len(batch) > FEW_ROWS else len(batch) // 2
            if size == FEW_ROWS:
                self._most_rows = FEW_ROWS
            for part in chunks(batch, size):
                self._send(name, part)

    def delete(self, name: str, wheres: Iterable[Document]) -> None:
        """Delete the rows of some partitions, or of stretches inside; never a whole table."""

        def remove(where: Document) -> None:
            if not where:
                raise ValueError("an empty filter would empty the table")
            self.call(lambda: self.table(name).delete_many(where))

        self.each(remove, wheres)
