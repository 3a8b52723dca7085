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

from kindred.artifacts import layout
from kindred.artifacts.layout import Manifest, damaged

#: HNSW's links per node and search widths; other programs may search wider.
M, EF_CONSTRUCTION, EF_SEARCH = 16, 80, 128
_BLOCK = 4_096
#: What a FAISS file begins with; then come the dimensions and the rows.
_HEAD = struct.Struct("<4siq")
_MAGIC = {layout.FLAT: b"IxFI", layout.HNSW: b"IHNf"}


def write_index(
    work: Path,
    rows: int,
    dims: int,
    *,
    ann_threshold: int,
    step: Callable[[int, int, str], None],
) -> str:
    """Build the index of the vectors in ``work`` and return its kind, flat or hnsw.

    One thread builds it: then the same vectors give the same bytes. FAISS keeps all vectors in
    memory.
    """
    import faiss

    parameters: dict[str, int] = {}
    if rows < ann_threshold:
        name, kind = layout.FLAT, "flat"
        index: Any = faiss.IndexFlatIP(dims)
    else:
        name, kind = layout.HNSW, "hnsw"
        index = faiss.IndexHNSWFlat(dims, M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = EF_SEARCH
        parameters = {
            "M": M,
            "ef_construction": EF_CONSTRUCTION,
            "ef_search": EF_SEARCH,
        }
    vectors = np.memmap(work / layout.VECTORS, "<f4", "r", shape=(rows, dims))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for start in range(0, rows, _BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32))
            step(min(start + _BLOCK, rows), rows, f"{kind} index")
    finally:
        faiss.omp_set_num_threads(threads)
    (work / name).parent.mkdir(exist_ok=True)
    faiss.write_index(index, str(work / name))
    meta = {
        "file": Path(name).name,
        "kind": kind,
        "metric": "inner_product",
        "rows": rows,
        "dims": dims,
        "parameters": parameters,
        "faiss": faiss.__version__,
    }
    layout.write_json(work, layout.INDEX_META, meta)
    return kind


def check_index(folder: Path, manifest: Manifest) -> None:
    """Compare an index's head and description with the vectors; FAISS is not needed.

    Raises
    ------
    ArtifactError
    """
    there = [name for name in _MAGIC if name in manifest.files]
    if not there and layout.INDEX_META not in manifest.files:
        return
    if len(there) != 1 or layout.INDEX_META not in manifest.files:
        what = f"lists {there or 'no index'}, where {layout.INDEX_META} describes one index"
        raise damaged(folder, layout.MANIFEST, what)
    name, rows, dims = there[0], manifest.counts["tracks"], manifest.space.dims
    meta = layout.read_json(folder, layout.INDEX_META)
    if (meta["file"], meta["rows"], meta["dims"]) != (Path(name).name, rows, dims):
        what = f"does not describe {name} with {rows} rows and {dims} dimensions"
        raise damaged(folder, layout.INDEX_META, what)
    with (folder / name).open("rb") as file:
        head = file.read(_HEAD.size)
    if head != _HEAD.pack(_MAGIC[name], dims, rows):
        raise damaged(folder, name, f"is not a FAISS index of {rows} rows and {dims} dimensions")
