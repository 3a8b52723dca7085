"""The nearest neighbours of every track, found once for whatever method lays the map out.

Vectors are unit length, float32 [n, dims]; similarity is the cosine, higher is nearer. Below
:data:`EXACT_BELOW` tracks each is compared with each; above, a FAISS inverted file of the whole
vectors reads the :data:`PROBES` nearest of ``2 sqrt(n)`` cells. (The index on disk,
:mod:`kindred.storage.ivf`, answers one query at a time and keeps codes, which are coarser.)

Found rows are scored again one by one, so that equal vectors tie to the last bit, and ties order by
row. Blocks of
queries go through a pool in which each call of FAISS has one thread, so that the answer does not
depend on their number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError

Floats = NDArray[np.float32]
Progress = Callable[[int, int, str], None]
Cancelled = Callable[[], bool]

#: From so many tracks on, cells are read instead of all (docs/decisions/0018-map-layouts.md).
EXACT_BELOW = 15_000
PROBES = 24
#: Found beyond what was asked for, since scoring again may change the order.
_SPARE = 8
_BLOCK, _GATHERED = 512, 64
_TRAIN_PER_CELL = 32


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of every row, itself left out, nearest first, ties by row.

    Attributes
    ----------
    indices : int32 [n, k]
    similarities : float32 [n, k]
    index : {"exact", "ivf"}
    """

    indices: NDArray[np.int32]
    similarities: Floats
    index: Literal["exact", "ivf"]


def find_neighbours(
    vectors: Floats,
    k: int,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled = lambda: False,
) -> Neighbours | None:
    """Find the ``k`` nearest neighbours of every vector, or ``None`` when it was cancelled.

    Memory holds the vectors once more, and k neighbours each. k is at most n - 1.

    Raises
    ------
    QueryError
        When the vectors are not a table of finite numbers of unit length, or k is below 1.
    """
    vectors = checked(vectors)
    if k < 1:
        raise QueryError(f"A map needs at least one neighbour of each track, not {k}.")
    n = len(vectors)
    k = min(k, max(n - 1, 0))
    name: Literal["exact", "ivf"] = "exact" if n < EXACT_BELOW else "ivf"
    indices, similarities = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    if not k:
        return Neighbours(indices, similarities, name)

    import faiss

    wanted = min(k + 1 + _SPARE, n)
    with _pool() as pool:
        index = pool.submit(_index, vectors, name == "exact").result()

        def search(start: int) -> int:
            if cancelled():
                return start
            stop = min(start + _BLOCK, n)
            rows = np.arange(start, stop)
            found = index.search(vectors[start:stop], wanted)[1]
            short = (found < 0).any(axis=1)  # the cells that were read hold too few
            if short.any():
                every = faiss.SearchParametersIVF()
                every.nprobe = index.nlist
                found[short] = index.search(vectors[start:stop][short], wanted, params=every)[1]
            indices[start:stop], similarities[start:stop] = _settled(
                vectors, vectors[start:stop], found, k, left_out=rows
            )
            return stop

        done = 0
        for stop in pool.map(search, range(0, n, _BLOCK)):
            done = stop
            if cancelled():
                pool.shutdown(cancel_futures=True)
                return None
            if progress:
                progress(done, n, "finding neighbours")
    return Neighbours(indices, similarities, name)


def nearest(queries: Floats, base: Floats, k: int) -> tuple[NDArray[np.int32], Floats]:
    """Rows of ``base`` nearest to each query and their similarities, [m, min(k, n)], exactly."""
    k = min(k, len(base))
    with _pool() as pool:
        index = pool.submit(_index, base, True).result()

        def search(start: int) -> tuple[NDArray[np.int32], Floats]:
            some = queries[start : start + _BLOCK]
            found = index.search(some, min(k + _SPARE, len(base)))[1]
            return _settled(base, some, found, k)

        parts = list(pool.map(search, range(0, len(queries), _BLOCK)))
    rows, similarities = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(similarities)


def checked(vectors: Floats, what: str = "vectors") -> Floats:
    """Vectors as a whole float32 array; :class:`QueryError` when a map cannot be made of them."""
    table = np.ascontiguousarray(vectors, np.float32)
    if table.ndim != 2 or (len(table) and not table.shape[1]):
        raise QueryError(f"The {what} of a map are a table [n, dims], not of shape {table.shape}.")
    lengths = np.linalg.norm(table, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(wrong):
        row = int(wrong[0])
        if np.isfinite(table[row]).all():
            raise QueryError(f"Row {row} of the {what} has the length {lengths[row]:g}, not 1.")
        raise QueryError(f"Row {row} of the {what} holds a value that is not a finite number.")
    return table


def workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool() -> ThreadPoolExecutor:
    import faiss

    return ThreadPoolExecutor(workers(), initializer=faiss.omp_set_num_threads, initargs=(1,))


def _index(vectors: Floats, exact: bool) -> Any:
    import faiss

    n, dims = vectors.shape
    index: Any = faiss.IndexFlatIP(dims)
    if not exact:
        cells = round(2 * n**0.5)
        index = faiss.index_factory(dims, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.min_points_per_centroid = 8, 1
        index.nprobe = PROBES
        chosen = np.random.default_rng(0).choice(n, min(n, cells * _TRAIN_PER_CELL), replace=False)
        index.train(vectors[np.sort(chosen)])
    index.add(vectors)
    return index


def _settled(
    base: Floats,
    queries: Floats,
    found: NDArray[np.int64],
    k: int,
    *,
    left_out: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.int32], Floats]:
    """The k best of the rows found for each query, by (-similarity, row)."""
    scores = np.empty(found.shape, np.float32)
    for start in range(0, len(found), _GATHERED):
        part = slice(start, start + _GATHERED)
        np.einsum("qrd,qd->qr", base[found[part]], queries[part], out=scores[part])
    scores = scores.clip(-1, 1)
    if left_out is not None:
        scores[found == left_out[:, None]] = -np.inf
    order = np.lexsort((found, -scores))[:, :k]
    rows = np.take_along_axis(found, order, 1)
    return rows.astype(np.int32), np.take_along_axis(scores, order, 1)
