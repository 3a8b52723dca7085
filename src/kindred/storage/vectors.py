"""Unit vectors in a memory-mapped file, and exact cosine search over them: the oracle.

Rows are unit vectors ordered by ``track_id``, so a dot product is the cosine and row order is tie
order. A matrix product in float32 may differ in its last bits from row to row even where rows are
equal, so the few best rows are scored again, one by one in float64: equal vectors get equal
scores, and the same query always gives the same answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kindred.errors import StorageError
from kindred.storage.records import Hit

#: How far a float32 score may lie from the exact one (512 products of numbers below 1).
_ROUNDING = 1e-5


def rescore(
    matrix: NDArray[np.float32], rows: NDArray[np.intp], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Cosine of some rows with a unit query, each row on its own, in float64."""
    products = matrix[rows].astype(np.float64) * query.astype(np.float64)
    scores: NDArray[np.float64] = np.clip(products.sum(axis=1), -1.0, 1.0)
    return scores


def top_rows(
    matrix: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows with the largest cosine, best first, ties by row.

    Parameters
    ----------
    matrix : float32 [n, dims]
        Unit rows.
    query : float32 [dims]
        Unit vector.
    k : int
        At most this many rows.
    allowed : bool [n], optional
        Rows that may answer.

    Returns
    -------
    rows : intp [m], scores : float64 [m]
        ``m = min(k, number of allowed rows)``.
    """
    candidates = np.arange(len(matrix)) if allowed is None else np.flatnonzero(allowed)
    if k < 1 or not len(candidates):
        return np.zeros(0, np.intp), np.zeros(0, np.float64)
    # A selective filter is cheaper gathered; a loose one is cheaper masked afterwards.
    if allowed is not None and len(candidates) < len(matrix) // 4:
        scores = matrix[candidates] @ query
    else:
        scores = (matrix @ query)[candidates]
    if k < len(candidates):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = candidates[scores >= kth - _ROUNDING]
    exact = rescore(matrix, candidates, query)
    order = np.lexsort((candidates, -exact))[:k]
    return candidates[order], exact[order]


@dataclass(frozen=True)
class Snapshot:
    """A space's track vectors at one version: ids and float32 [n, dims], row by row."""

    version: int
    track_ids: list[str]
    matrix: NDArray[np.float32]
    path: Path

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each track."""
        return {track_id: row for row, track_id in enumerate(self.track_ids)}

    def mask(
        self, track_ids: Iterable[str] | None, exclude: Iterable[str]
    ) -> NDArray[np.bool_] | None:
        """Rows that may answer, or ``None`` when all may.

        ``track_ids`` are the only ones allowed (``None``: all), ``exclude`` are then removed.
        """
        out = [self.rows[item] for item in exclude if item in self.rows]
        if track_ids is None:
            if not out:
                return None
            mask = np.ones(len(self.track_ids), np.bool_)
        else:
            mask = np.zeros(len(self.track_ids), np.bool_)
            mask[[self.rows[item] for item in track_ids if item in self.rows]] = True
        mask[out] = False
        return mask

    def hits(self, rows: NDArray[np.intp], scores: NDArray[np.float64]) -> list[Hit]:
        """Rows and scores as records."""
        return [
            Hit(self.track_ids[row], float(score)) for row, score in zip(rows, scores, strict=True)
        ]


def write_snapshot(
    folder: Path, version: int, dims: int, rows: Iterable[tuple[str, bytes]]
) -> Snapshot:
    """Write vectors as ``<version>.f32`` and ``<version>.json``, each renamed into place.

    The JSON file comes last and marks the snapshot as whole. Older versions are removed; readers
    that have them mapped keep them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vectors, ids = folder / f"{version}.f32", folder / f"{version}.json"
    marker = f".{os.getpid()}.tmp"
    track_ids: list[str] = []
    with open(f"{vectors}{marker}", "wb") as out:
        for track_id, blob in rows:
            if len(blob) != 4 * dims:
                raise StorageError(
                    f"The vector of track {track_id} has {len(blob)} bytes, not {4 * dims}."
                    " Remove the track and ingest its file again."
                )
            out.write(blob)
            track_ids.append(track_id)
    with open(f"{ids}{marker}", "w", encoding="utf-8") as out_ids:
        json.dump({"dims": dims, "track_ids": track_ids}, out_ids)
    os.replace(f"{vectors}{marker}", vectors)
    os.replace(f"{ids}{marker}", ids)
    for old in folder.iterdir():
        if old.name.split(".")[0] not in (str(version), "") and not old.name.endswith(".tmp"):
            old.unlink(missing_ok=True)
    return _map(folder, version, dims, track_ids)


def read_snapshot(folder: Path, version: int, dims: int) -> Snapshot | None:
    """Open a snapshot, or return ``None`` when it is missing or not whole."""
    try:
        content = json.loads((folder / f"{version}.json").read_text("utf-8"))
        if content["dims"] != dims:
            return None
        return _map(folder, version, dims, content["track_ids"])
    except (OSError, ValueError, KeyError):
        return None


def _map(folder: Path, version: int, dims: int, track_ids: list[str]) -> Snapshot:
    path = folder / f"{version}.f32"
    shape = (len(track_ids), dims)
    matrix = (
        np.memmap(path, np.float32, "r", shape=shape).view(np.ndarray)
        if track_ids  # an empty file cannot be mapped
        else np.zeros(shape, np.float32)
    )
    return Snapshot(version, track_ids, matrix, path)
