"""The FAISS index of an artifact, for programs that have FAISS; row i is vector i.

Inner product, so that the scores of unit vectors are cosines. Exact below a number of tracks, HNSW
from there on: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
HNSW graphs", IEEE TPAMI 42 (2020).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.artifacts import layout
from kindred.artifacts.layout import Manifest, damaged

#: HNSW's links per node and search widths; other programs may search wider.
M, EF_CONSTRUCTION, EF_SEARCH = 16, 80, 128
_BLOCK = 4_096
#: What a FAISS file begins with; then come the dimensions and the rows.
_HEAD = struct.Struct("<4siq")
_MAGIC = {"flat": b"IxFI", "hnsw": b"IHNf"}


def write_index(
    work: Path,
    rows: int,
    dims: int,
    *,
    ann_threshold: int,
    step: Callable[[int, int, str], None],
) -> str:
    """Build the index of the vectors in ``work`` and return its kind, flat or hnsw."""
    vectors = np.memmap(work / layout.VECTORS, "<f4", "r", shape=(rows, dims))
    name = layout.FLAT if rows < ann_threshold else layout.HNSW
    (work / name).parent.mkdir(exist_ok=True)
    meta = build_index(vectors, work / name, ann_threshold=ann_threshold, step=step)
    layout.write_json(work, layout.INDEX_META, meta)
    return str(meta["kind"])


def build_index(
    vectors: NDArray[np.float32],
    path: Path,
    *,
    ann_threshold: int,
    step: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[str, Any]:
    """Write the FAISS index of vectors, float32 [rows, dims], and return what describes it.

    One thread builds it: then the same vectors give the same bytes. FAISS keeps all vectors in
    memory.
    """
    import faiss

    rows, dims = vectors.shape
    parameters: dict[str, int] = {}
    if rows < ann_threshold:
        kind = "flat"
        index: Any = faiss.IndexFlatIP(dims)
    else:
        kind = "hnsw"
        index = faiss.IndexHNSWFlat(dims, M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = EF_SEARCH
        parameters = {
            "M": M,
            "ef_construction": EF_CONSTRUCTION,
            "ef_search": EF_SEARCH,
        }
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for start in range(0, rows, _BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32))
            step(min(start + _BLOCK, rows), rows, f"{kind} index")
    finally:
        faiss.omp_set_num_threads(threads)
    faiss.write_index(index, str(path))
    return {
        "file": path.name,
        "kind": kind,
        "metric": "inner_product",
        "rows": rows,
        "dims": dims,
        "parameters": parameters,
        "faiss": faiss.__version__,
    }


def check_index(folder: Path, manifest: Manifest) -> None:
    """Compare an index's head and description with the vectors; FAISS is not needed.

    Raises
    ------
    ArtifactError
    """
    there = [name for name in (layout.FLAT, layout.HNSW) if name in manifest.files]
    if not there and layout.INDEX_META not in manifest.files:
        return
    if len(there) != 1 or layout.INDEX_META not in manifest.files:
        what = f"lists {there or 'no index'}, where {layout.INDEX_META} describes one index"
        raise damaged(folder, layout.MANIFEST, what)
    name, rows, dims = there[0], manifest.counts["tracks"], manifest.space.dims
    kind = "flat" if name == layout.FLAT else "hnsw"
    check_head(folder, name, layout.INDEX_META, kind=kind, rows=rows, dims=dims)


def check_head(folder: Path, name: str, described: str, *, kind: str, rows: int, dims: int) -> None:
    """Raise :class:`ArtifactError` unless an index and its description are of these vectors."""
    meta = layout.read_json(folder, described)
    if (meta["file"], meta["rows"], meta["dims"]) != (Path(name).name, rows, dims):
        what = f"does not describe {name} with {rows} rows and {dims} dimensions"
        raise damaged(folder, described, what)
    with (folder / name).open("rb") as file:
        head = file.read(_HEAD.size)
    if head != _HEAD.pack(_MAGIC[kind], dims, rows):
        raise damaged(folder, name, f"is not a FAISS index of {rows} rows and {dims} dimensions")
