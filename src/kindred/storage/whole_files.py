"""Files that are whole or not there, whatever happens to who writes them.

A file is written under a temporary name, brought to the disk and renamed. A FAISS index ends with a
mark and its length: one that was cut short by others is noticed before it is mapped, as reading a
mapped file beyond its end kills the process.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MARK = b"kindred\0"
_TAIL = len(_MARK) + 8


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes ``path`` at the end, or goes when there is an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(temporary, "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_index(index: Any, path: Path) -> None:
    """Write a FAISS index."""
    import faiss

    with replacing(path) as out:
        faiss.write_index(index, out.name)
        size = out.seek(0, os.SEEK_END)
        out.write(_MARK + struct.pack("<Q", size))


def read_index(path: Path, flags: int, rows: int) -> Any | None:
    """Open a FAISS index of so many rows, or return ``None`` when it is not there.

    One that is damaged is removed, so that it is built again.

    Parameters
    ----------
    flags : int
        How FAISS opens it, such as ``faiss.IO_FLAG_MMAP``.
    """
    import faiss

    try:
        with open(path, "rb") as file:
            size = max(0, file.seek(0, os.SEEK_END) - _TAIL)
            file.seek(size)
            whole = file.read() == _MARK + struct.pack("<Q", size)
        index = faiss.read_index(str(path), flags) if whole else None
    except FileNotFoundError:
        return None
    except RuntimeError:  # not an index
        index = None
    if index is not None and index.ntotal == rows:
        return index
    path.unlink(missing_ok=True)
    return None


def selector(allowed: NDArray[np.bool_]) -> Any:
    """FAISS's selector of the rows where a bool [n] array is true."""
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))  # type: ignore
