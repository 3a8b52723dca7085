"""What was read from a remote library, kept on this machine's disk: values and whole files.

Values are bytes under a text key, in diskcache: bounded, the least recently used go first, safe
between threads and processes, there after a restart. Its pickles are switched off, so that a
foreign file in the folder can never run code. Files (audio that the library keeps) lie beside it
under their own names, as players want a path.

A cache is never a reason to fail: a damaged one is thrown away and begun anew, and on a disk that
is full or cannot be written Kindred works without; :attr:`Cache.fault` then says why.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import diskcache

T = TypeVar("T")
_MIB = 1 << 20
#: Share of the bound that values have; the rest is for files.
_VALUES = 0.25
#: Seconds: a busy database is waited for, and after a fault the folder is left alone.
_BUSY, _REST = 2.0, 30.0
_CHECKSUM = 16
_VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")


class _Damaged(Exception):
    """The folder holds what this cache did not write."""


class PlainDisk(diskcache.Disk):  # type: ignore[misc]
    """Keeps text keys and bytes only; see CVE-2025-69872 for what pickles would allow."""

    def put(self, key: Any) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise TypeError(f"A key of the cache is text, got {type(key).__name__}.")
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        if not raw or not isinstance(key, str):
            raise _Damaged("a key that is not text")
        return key

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
        if read or not isinstance(value, bytes):
            raise TypeError(f"A value of the cache is bytes, got {type(value).__name__}.")
        return super().store(value, False, key=key)

    def _write(self, full_path: str, iterator: Any, mode: str, encoding: Any = None) -> Any:
        try:
            return super()._write(full_path, iterator, mode, encoding)
        except OSError:  # the disk is full: what was written of it is in nobody's list
            with suppress(OSError):
                os.remove(full_path)
            raise

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY) or (
            filename is not None and not _VALUE_FILE.fullmatch(filename)
        ):
            raise _Damaged("a value that is not bytes")
        found = super().fetch(mode, filename, value, read)
        if not isinstance(found, bytes):
            raise _Damaged("a value that is not bytes")
        return found


@dataclass(frozen=True)
class CacheStats:
    """How the cache stands; ``limit`` and ``bytes`` in bytes, ``fault`` empty while it works."""

    bytes: int
    limit: int
    entries: int
    hits: int
    misses: int
    fault: str


class Cache:
    """A bounded cache in a folder, opened when first used.

    Parameters
    ----------
    folder : Path
        Made for its owner alone.
    size_mb : int
        Most that it may take, in MiB.
    """

    def __init__(self, folder: Path, *, size_mb: int) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.limit = size_mb * _MIB
        self.fault = ""
        self._lock = threading.Lock()
        self._values: Any = None
        self._closed_until = 0.0

    # -- values ----------------------------------------------------------------------------
    def get(self, key: str) -> bytes | None:
        """Return a value, or ``None``."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values that are there."""

        def read(values: Any) -> dict[str, bytes]:
            found = {}
            with values.transact():
                for key in wanted:
                    value = values.get(key)
                    if value is not None and _checksum(value[_CHECKSUM:]) != value[:_CHECKSUM]:
                        raise _Damaged("a value that was changed")
                    if value is not None:
                        found[key] = value[_CHECKSUM:]
            return found

        wanted = list(keys)
        return self._try(read, {}) if wanted else {}

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""
        self.put_many({key: value})

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Keep some values."""

        def write(values: Any) -> None:
            with values.transact():
                for key, value in items.items():
                    values.set(key, _checksum(value) + value)
            values.cull()  # here, as inside a transaction the database does not shrink

        if items:
            self._try(write, None)

    def _try(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Do something with the values; what goes wrong is noted, and mended where it can be."""
        for _ in range(2):
            try:
                values = self._opened()
                if values is None:
                    return otherwise
                result = action(values)
                self.fault = ""
                return result
            except diskcache.Timeout:
                if not os.access(self.folder / "values" / "cache.db", os.W_OK):
                    self._rest("it cannot be written")
                return otherwise
            except OSError as error:
                self._rest(error.strerror or str(error))
                return otherwise
            except (sqlite3.Error, _Damaged, ValueError, KeyError, AttributeError) as error:
                if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                    self._rest(str(error))
                    return otherwise
                self._begin_anew()
        return otherwise

    def _opened(self) -> Any:
        with self._lock:
            if self._values is None and time.monotonic() >= self._closed_until:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._values = diskcache.Cache(
                    str(self.folder / "values"),
                    timeout=_BUSY,
                    disk=PlainDisk,
                    size_limit=int(self.limit * _VALUES),
                    eviction_policy="least-recently-used",
                    cull_limit=0,
                    statistics=1,
                )
            return self._values

    def _rest(self, fault: str) -> None:
        """Do without for a while."""
        self.fault = f"The cache in {self.folder} is off: {fault}"
        with self._lock:
            self._values, self._closed_until = None, time.monotonic() + _REST

    def _begin_anew(self) -> None:
        with self._lock:
            self._values = None
            shutil.rmtree(self.folder / "values", ignore_errors=True)

    # -- files -----------------------------------------------------------------------------
    def path(self, name: str) -> Path:
        """Where a file is kept, or would be; a name that leads elsewhere is a ``ValueError``."""
        if not name or name != os.path.basename(name) or name.startswith("."):
            raise ValueError(f"{name!r} is no name of a file in the cache.")
        return self.folder / "files" / name[:2] / name

    def file(self, name: str) -> Path | None:
        """Return a file that is kept, or ``None``."""
        path = self.path(name)
        if not path.is_file():
            return None
        with suppress(OSError):
            os.utime(path)
        return path

    def put_file(self, name: str, data: bytes) -> Path | None:
        """Keep a file, and return where; ``None`` when the disk does not take it."""
        path = self.path(name)
        temporary = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)
        except OSError as error:
            self.fault = f"The cache in {self.folder} is off: {error.strerror or error}"
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return None
        self._trim(keep=path)
        return path

    def _trim(self, keep: Path) -> None:
        """Remove the files that were not used for longest, until the rest is within the bound."""
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit * (1 - _VALUES):
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use in seconds, size in bytes and path of every file."""
        found = []
        for path in (self.folder / "files").glob("??/*"):
            with suppress(OSError):  # another process has just removed it
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        return found

    # -- the whole -------------------------------------------------------------------------
    def stats(self) -> CacheStats:
        """How full it is and how often it had the answer, since it was made."""

        def read(values: Any) -> tuple[int, int, int, int]:
            hits, misses = values.stats()
            return values.volume(), len(values), hits, misses

        size, entries, hits, misses = self._try(read, (0, 0, 0, 0))
        files = self._files()
        return CacheStats(
            size + sum(size for _, size, _ in files),
            self.limit,
            entries + len(files),
            hits,
            misses,
            self.fault,
        )

    def clear(self) -> None:
        """Throw everything away."""

        def empty(values: Any) -> None:
            values.clear()
            values.stats(reset=True)

        self._try(empty, None)
        for _, _, path in self._files():
            with suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Release this thread's connection."""
        with self._lock:
            if self._values is not None:
                self._values.close()
                self._values = None


def _checksum(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECKSUM).digest()
