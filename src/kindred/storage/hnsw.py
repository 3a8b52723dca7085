"""Approximate search by FAISS HNSW, for libraries too large for exact search to feel instant.

The graph is built from a snapshot's base, kept beside it, mapped into memory, and asked for more
rows than needed; those are scored again exactly, so that similarities and ties are those of exact
search. Tracks that changed since are searched exactly.
Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs",
IEEE TPAMI 42 (2020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.storage.vectors import Snapshot
from kindred.storage.whole_files import read_index, selector, write_index

#: Links per node and search width: recall@10 of .97 at a million 512-dimensional vectors.
M, EF_CONSTRUCTION, EF_SEARCH = 16, 80, 128
NAME = f"hnsw (M={M}, ef={EF_SEARCH})"


def index_path(snapshot: Snapshot) -> Path:
    """File of a snapshot's graph; it goes when the base goes."""
    return snapshot.path.with_name(f"{snapshot.base.version}.hnsw{M}.faiss")


def build(snapshot: Snapshot) -> Path:
    """Build and keep the graph of a snapshot's base."""
    import faiss

    matrix, path = snapshot.base.matrix, index_path(snapshot)
    index = faiss.IndexHNSWFlat(matrix.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(matrix)
    write_index(index, path)
    return path


def load(snapshot: Snapshot) -> Any | None:
    """Open a snapshot's graph, or return ``None`` when it was not built or cannot be read."""
    import faiss

    return read_index(index_path(snapshot), faiss.IO_FLAG_MMAP_IFC, len(snapshot.base.ids))


def top_rows(
    index: Any,
    snapshot: Snapshot,
    query: NDArray[np.float32],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Approximate :meth:`kindred.storage.vectors.Snapshot.search`, with exact scores."""
    import faiss

    wanted = min(2 * max(k, 0) + 20, index.ntotal)
    parameters = faiss.SearchParametersHNSW(  # type: ignore[attr-defined]
        efSearch=max(EF_SEARCH, wanted)
    )
    among = snapshot.base_mask(allowed)
    if among is not None:
        parameters.sel = selector(among)
    _, found = index.search(query[None], wanted, params=parameters)
    return snapshot.best(found[0][found[0] >= 0].astype(np.intp), query, k, allowed=allowed)
