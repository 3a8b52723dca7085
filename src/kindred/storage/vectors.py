"""The base of a snapshot on disk: written whole, opened mapped.

A space has one base: all its vectors at one version, ``<version>.f32``::

    float32 [n, dims] | uint64 [n] where each id ends | the ids as UTF-8, one after the other

and ``<version>.json``, which comes last and marks it as whole. An approximate index lies beside it.
What changed since is read from the database, so that adding a track does not write a million
others; a new base is written from the old one and the changes once these are many.

Several processes may read while others write: files are renamed into place and removed, never
changed, and who has one mapped keeps it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kindred.storage.snapshot import Base, Snapshot, checked, rescore, top_rows
from kindred.storage.track_ids import TrackIds
from kindred.storage.whole_files import replacing

__all__ = [
    "Base", "Snapshot", "alone", "open_snapshot", "read_snapshot", "rescore", "top_rows",
    "write_snapshot",
]  # fmt: skip

_FORMAT = 2
_LOCK = "build.lock"
#: Unfinished files of processes that were killed are removed after this many seconds.
_LEFT_OVER = 3_600


def write_snapshot(
    folder: Path,
    version: int,
    dims: int,
    rows: Iterable[tuple[str, bytes]],
    *,
    prepare: Callable[[Snapshot], object] | None = None,
) -> Snapshot:
    """Write vectors as a base and return it as a snapshot.

    Memory holds the ids alone. Bases of other versions are removed; readers that have them mapped
    keep them.

    Parameters
    ----------
    rows : iterable of (track_id, bytes)
        Every track of the space, ordered by ``track_id``, and its unit vector as float32.
    prepare : callable, optional
        Called before others can see the base: builds the index that shall lie beside it.

    Raises
    ------
    StorageError
        When a vector has the wrong length.
    OSError
        When the disk is full or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, marker = folder / f"{version}.f32", folder / f"{version}.json"
    ends, text = array("Q"), bytearray()
    with replacing(path) as out:
        for track_id, blob in rows:
            out.write(checked(track_id, blob, dims))
            text += track_id.encode()
            ends.append(len(text))
        out.write(ends.tobytes())
        out.write(text)
        size = out.tell()
        out.flush()
        snapshot = _map(out, path, version, dims, len(ends))
    if prepare is not None:
        prepare(snapshot)
    content = {"format": _FORMAT, "dims": dims, "rows": len(ends), "size": size}
    with replacing(marker) as out:
        out.write(json.dumps(content).encode())
    _sweep(folder, version)
    return snapshot


def _sweep(folder: Path, version: int) -> None:
    """Remove what belongs to other versions, and what killed processes left unfinished."""
    for old in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process sweeps as well
            if old.name.endswith(".tmp"):
                if time.time() - old.stat().st_mtime > _LEFT_OVER:
                    old.unlink()
            elif old.name.split(".")[0] not in (str(version), _LOCK.split(".", maxsplit=1)[0]):
                old.unlink()


def read_snapshot(folder: Path, version: int, dims: int) -> Snapshot | None:
    """Open the base of one version, or return ``None`` when it is missing or not whole."""
    path = folder / f"{version}.f32"
    try:
        content = json.loads((folder / f"{version}.json").read_text("utf-8"))
        if content["format"] != _FORMAT or content["dims"] != dims:
            return None
        with open(path, "rb") as file:
            if content["size"] != file.seek(0, os.SEEK_END):
                return None
            return _map(file, path, version, dims, content["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def open_snapshot(folder: Path, version: int, dims: int) -> Snapshot | None:
    """Open the newest whole base that is not newer than ``version``, or return ``None``.

    What changed after ``snapshot.version`` is then given to :meth:`Snapshot.updated`.
    """
    for _ in range(2):  # a base may be replaced by the next one between listing and opening
        found = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]
        for number in sorted((item for item in found if item <= version), reverse=True):
            snapshot = read_snapshot(folder, number, dims)
            if snapshot is not None:
                return snapshot
    return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether no other thread or process is building in this folder; holds the place if so."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _map(file: IO[bytes], path: Path, version: int, dims: int, rows: int) -> Snapshot:
    """Map an open file: whoever removes it now takes nothing away."""
    empty = not file.seek(0, os.SEEK_END)  # which cannot be mapped
    mapped = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole, text = memoryview(mapped), (4 * dims + 8) * rows
    matrix = np.frombuffer(whole, np.float32, rows * dims).reshape(rows, dims)
    ids = TrackIds(whole[4 * dims * rows : text].cast("Q"), whole[text:])
    return Snapshot(version, Base(version, ids, matrix, path))
