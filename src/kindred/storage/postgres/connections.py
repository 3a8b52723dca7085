"""Connections to one Postgres database: the address without its secrets, a pool, transactions.

A thread has at most one transaction; whatever the thread does meanwhile joins it. Nothing connects
before the first use. psycopg's errors leave this module as :class:`~kindred.errors.StorageError`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from kindred.errors import StorageError
from kindred.storage.postgres.failures import translate
from kindred.storage.postgres.vector import adapt

#: The pool would repeat what the caller is told.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

Connection = psycopg.Connection[tuple[Any, ...]]

#: Connections of one process; a page, the API and a job seldom need more at once.
_POOL_SIZE = 8
#: Seconds to wait for the pool before asking the server itself what is the matter.
_PATIENCE = 0.5


def read_url(url: str) -> tuple[str, str]:
    """Return an address as libpq takes it, and in words without user and password.

    Raises
    ------
    StorageError
        When it is no address, or a sign of the password would be read as part of the host.
    """
    url = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url.strip())
    try:
        conninfo, parts = make_conninfo(url), conninfo_to_dict(url)
    except psycopg.Error:
        parts = {}
    host, port, database = (str(parts.get(name, "")) for name in ("host", "port", "dbname"))
    # Raised here, not above: psycopg's own error repeats the address.
    if not parts or "@" in host + database or not re.fullmatch(r"[\d,]*", port):
        raise StorageError(
            "DATABASE_URL cannot be read. Write postgresql://user:password@host:port/database, with"
            " signs such as @ : / ? # % in the password as %40 %3A %2F %3F %23 %25."
        )
    return conninfo, f"{host or 'localhost'}:{port or 5432}/{database}"


class Connections:
    """A small pool of connections, and the transaction of each thread.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database`` or libpq's ``key=value`` form.
    timeout : float
        Seconds that connecting, waiting for a lock and a reading statement may take.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._conninfo, self.place = read_url(url)
        self.timeout = timeout
        self._local = threading.local()
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            self._conninfo,
            kwargs=self._options(),
            configure=self._configure,
            check=ConnectionPool.check_connection,
            min_size=0,
            max_size=_POOL_SIZE,
            timeout=timeout,
            reconnect_timeout=0,  # the next caller tries again
            num_workers=1,
            name="kindred",
            open=False,
        )

    def _options(self) -> dict[str, Any]:
        seconds = max(2, round(self.timeout))
        return {
            "autocommit": True,
            "prepare_threshold": None,  # poolers such as PgBouncer may hand out another session
            "connect_timeout": seconds,
            "keepalives_idle": seconds,
            "keepalives_interval": seconds,
            "keepalives_count": 2,
            "tcp_user_timeout": 3_000 * seconds,
            "application_name": "kindred",
        }

    def _configure(self, connection: Connection) -> None:
        adapt(connection)
        milliseconds = round(self.timeout * 1_000)
        connection.execute(
            f"SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds};"
            " SET jit = off;"  # compiling a query takes longer than running it
            " SET work_mem = '64MB'"  # for the ids that a filter leaves
        )

    def dedicated(self) -> Connection:
        """Open a connection outside the pool, without limits of time; the caller closes it."""
        with self.translated():
            return psycopg.connect(self._conninfo, **self._options())

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """This thread's transaction, or a connection that commits every statement."""
        with self.translated():
            joined: Connection | None = getattr(self._local, "connection", None)
            if joined is not None:
                yield joined
                return
            connection = self._take()
            try:
                yield connection
            finally:
                self._pool.putconn(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """This thread's transaction, begun here unless there is one."""
        with self.connection() as connection:
            if getattr(self._local, "connection", None) is not None:
                yield connection
                return
            with connection.transaction():
                self._local.connection = connection
                try:
                    yield connection
                finally:
                    self._local.connection = None
                if connection.info.transaction_status == TransactionStatus.INERROR:
                    raise StorageError(  # Postgres would answer COMMIT by rolling back in silence
                        f"Postgres at {self.place} refused a part of this batch; nothing of it was"
                        " kept."
                    )

    def _take(self) -> Connection:
        self._pool.open()
        try:
            return self._pool.getconn(timeout=min(_PATIENCE, self.timeout))
        except PoolTimeout:
            self.dedicated().close()  # says at once why there is none
            return self._pool.getconn()  # all are in use

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What psycopg raises inside leaves as :class:`~kindred.errors.StorageError`."""
        try:
            yield
        except psycopg.Error as error:
            raise translate(error, self.place) from error

    def close(self) -> None:
        """Close every connection of the pool."""
        self._pool.close()
