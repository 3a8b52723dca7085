"""Approximate search by a FAISS inverted file on disk, for a million tracks on one machine.

Rows are rotated at random, assigned to the nearest of ``2 sqrt(n)`` cells and kept as RaBitQ codes
of 2 bits a dimension, 14 times smaller than the vectors. The file is mapped into memory, a query
reads the codes of the cells nearest to it, and the rows they point to are scored again exactly from
the snapshot, so that similarities and ties are those of exact search. Tracks that changed since are
searched exactly.
Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for
Approximate Nearest Neighbor Search", SIGMOD 2024; with more bits, SIGMOD 2025 (Gao et al.). The
codes assume a random rotation: without one, recall on vectors whose dimensions differ in spread
falls to .8 (docs/decisions/0011-index-by-size.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.storage.vectors import Snapshot, rescore
from kindred.storage.whole_files import read_index, selector, write_index

#: Bits a dimension, and cells read for a query without a filter.
BITS, PROBES = 2, 48
NAME = f"ivf on disk (RaBitQ {BITS} bits, {PROBES} cells)"
#: Rows that the cells are learned from: so many a cell, and not more bytes than that.
_TRAIN_PER_CELL, _TRAIN_BYTES = 32, 1 << 27
_BLOCK = 1 << 14


def index_path(snapshot: Snapshot) -> Path:
    """File of a snapshot's index; it goes when the base goes."""
    return snapshot.path.with_name(f"{snapshot.base.version}.ivf{BITS}.faiss")


def cells(rows: int) -> int:
    """Number of cells for so many rows."""
    return max(1, min(round(2 * math.sqrt(rows)), rows // _TRAIN_PER_CELL))


def build(snapshot: Snapshot) -> Path:
    """Build and keep the index of a snapshot's base; memory holds the sample and the codes."""
    import faiss

    matrix, path = snapshot.base.matrix, index_path(snapshot)
    rows, dims = matrix.shape
    count = cells(rows)
    index = faiss.index_factory(
        dims, f"RR{dims},IVF{count},RaBitQ{BITS}", faiss.METRIC_INNER_PRODUCT
    )
    learned = faiss.extract_index_ivf(index).cp
    learned.niter, learned.min_points_per_centroid = 10, 1
    sample = min(rows, count * _TRAIN_PER_CELL, max(count, _TRAIN_BYTES // (4 * dims)))
    chosen = np.random.default_rng(0).choice(rows, sample, replace=False)
    index.train(matrix[np.sort(chosen)])
    for start in range(0, rows, _BLOCK):
        index.add(matrix[start : start + _BLOCK])
    write_index(index, path)
    return path


@dataclass(frozen=True)
class Index:
    """An opened index: FAISS's rotation and inverted file, and the cell of every row."""

    whole: Any
    inverted: Any
    lists: Any

    @cached_property
    def rotation(self) -> NDArray[np.float32]:
        """The random rotation, float32 [dims, dims]."""
        import faiss

        turn: Any = faiss.downcast_VectorTransform(self.whole.chain.at(0))
        return faiss.vector_to_array(turn.A).reshape(self.whole.d, self.whole.d)

    def rotated(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """A query as the inverted file takes it, float32 [1, dims].

        By einsum, in this thread: FAISS's own product waits for a thread on every core, and took
        18 ms instead of a tenth of one on a busy machine.
        """
        turned: NDArray[np.float32] = np.einsum("ij,j->i", self.rotation, query)[None]
        return turned

    @cached_property
    def cell_of(self) -> NDArray[np.uint16]:
        """The cell of each row; read at the first search with a filter."""
        import faiss

        out = np.zeros(self.whole.ntotal, np.uint16)
        for cell in range(self.lists.nlist):
            if size := self.lists.list_size(cell):
                out[faiss.rev_swig_ptr(self.lists.get_ids(cell), size)] = cell
        return out


def load(snapshot: Snapshot) -> Index | None:
    """Map a snapshot's index, or return ``None`` when it was not built or cannot be read."""
    import faiss

    whole = read_index(index_path(snapshot), faiss.IO_FLAG_MMAP, len(snapshot.base.ids))
    if whole is None:
        return None
    inverted: Any = faiss.extract_index_ivf(whole)
    lists: Any = faiss.downcast_InvertedLists(inverted.invlists)
    lists.prefetch_nthread = 0  # FAISS would start 32 threads for every query
    return Index(whole, inverted, lists)


def top_rows(
    index: Index,
    snapshot: Snapshot,
    query: NDArray[np.float32],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Approximate :meth:`kindred.storage.vectors.Snapshot.search`, with exact scores.

    Cells are read, nearest first, until they hold enough rows that may answer. As many rows as are
    needed are scored exactly: more and more, until what the codes say of the last one lies below
    the k-th best by twice the error that the codes have shown so far. Both matter where a filter
    leaves only what is far from the query, or the query is far from everything, as words are.
    """
    import faiss

    among = snapshot.base_mask(allowed)
    rows = index.whole.ntotal if among is None else int(np.count_nonzero(among))
    found = np.zeros(0, np.intp)
    if rows and k > 0:
        turned = index.rotated(query)
        parameters = faiss.IVFRaBitQSearchParameters()
        parameters.nprobe = min(max(PROBES, k // 4), index.lists.nlist)
        if among is not None:
            parameters.sel = selector(among)
        if among is not None and allowed is not None:
            enough = min(4 * parameters.nprobe * index.whole.ntotal // index.lists.nlist, rows)
            held = np.bincount(index.cell_of[among], minlength=index.lists.nlist)
            nearest = index.inverted.quantizer.search(turned, index.lists.nlist)[1][0]
            parameters.nprobe = 1 + int(np.searchsorted(np.cumsum(held[nearest]), enough))
        wanted = min(4 * k + 80, rows + 1)
        while True:
            told, found = (
                item[0] for item in index.inverted.search(turned, wanted, params=parameters)
            )
            told, found = told[found >= 0], found[found >= 0]
            scores = rescore(snapshot.base.matrix, found, query)
            if len(found) < wanted or told[-1] + 2 * np.std(scores - told) <= np.sort(scores)[-k]:
                break
            wanted = min(8 * wanted, rows + 1)
    return snapshot.best(found.astype(np.intp), query, k, allowed=allowed)
