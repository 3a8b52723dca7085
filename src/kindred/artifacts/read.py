"""Reading an artifact: its vectors mapped from the file, exact search, no model and no database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.artifacts import layout, table
from kindred.artifacts.kind import Listing
from kindred.artifacts.layout import Manifest, damaged
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError, SpaceMismatch, TrackNotFound
from kindred.storage.records import Hit, Track
from kindred.storage.vectors import top_rows

#: Rows looked at together where all are.
BLOCK = 4_096


@dataclass(frozen=True)
class Artifact:
    """An open artifact; made by :meth:`open`. Safe to share between threads.

    Attributes
    ----------
    path : Path
    manifest : Manifest
    track_ids : list of str
        Ascending.
    vectors : float32 [n, dims]
        Unit rows, row i belongs to ``track_ids[i]``; mapped from the file, not to be written to.
    """

    path: Path
    manifest: Manifest
    track_ids: list[str]
    vectors: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Open a folder; sizes and counts are checked, not every byte.

        :func:`kindred.artifacts.verify.verify` checks every byte.

        Raises
        ------
        ArtifactError
            When it is not an artifact, or was cut short; the file is named.
        """
        manifest = layout.read_manifest(path)
        for name in layout.NEEDED:
            check_size(path, name, manifest)
        meta = layout.read_json(path, layout.META)
        rows = _check_meta(path, meta, manifest)
        ids = layout.read_json(path, layout.IDS)
        if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
            raise damaged(path, layout.IDS, "is not a list of texts")
        if len(ids) != rows:
            raise damaged(path, layout.IDS, f"has {len(ids)} ids, {layout.META} has {rows} rows")
        for before, after in pairwise(ids):
            if before >= after:
                what = "twice" if before == after else f"after {before!r}, ids must ascend"
                raise damaged(path, layout.IDS, f"has the id {after!r} {what}")
        dims, size = manifest.space.dims, manifest.files[layout.VECTORS].bytes
        if size != 4 * dims * rows:
            raise damaged(
                path,
                layout.VECTORS,
                f"has {size} bytes, {rows} vectors of {dims} dimensions take {4 * dims * rows}",
            )
        vectors = np.memmap(path / layout.VECTORS, "<f4", "r", shape=(rows, dims))
        return cls(path, manifest, ids, vectors.view(np.ndarray))

    @property
    def space(self) -> EmbeddingSpace:
        """The space the vectors belong to."""
        return self.manifest.space

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The content of ``eval_results.json``, if there is one."""
        if layout.EVAL not in self.manifest.files:
            return None
        values: dict[str, Any] = layout.read_json(self.path, layout.EVAL)
        return values

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each track."""
        return {track_id: row for row, track_id in enumerate(self.track_ids)}

    @cached_property
    def tracks(self) -> list[Track]:
        """Every track, row by row; read when first asked for."""
        return [track for track, _ in self.read_tracks()]

    def track(self, track_id: str) -> Track:
        """One track; raises :class:`~kindred.errors.TrackNotFound`."""
        if track_id not in self.rows:
            raise TrackNotFound(track_id)
        return self.tracks[self.rows[track_id]]

    def read_tracks(self) -> Iterator[tuple[Track, str]]:
        """Yield every track, row by row, and the path of its audio below :attr:`path`, or ``""``.

        Raises
        ------
        ArtifactError
            Where the table does not hold the tracks of the vectors.
        """
        count = 0
        for track, audio in table.read_rows(self.path):
            if count == len(self.track_ids) or track.track_id != self.track_ids[count]:
                wanted = repr(self.track_ids[count]) if count < len(self.track_ids) else "none"
                raise damaged(
                    self.path,
                    layout.TRACKS,
                    f"has {track.track_id!r} in row {count + 1}, {layout.IDS} has {wanted} there",
                )
            count += 1
            yield track, audio
        if count != len(self.track_ids):
            what = f"has {count} rows, {layout.IDS} has {len(self.track_ids)} ids"
            raise damaged(self.path, layout.TRACKS, what)

    def nearest(self, query: str | NDArray[np.float32], *, k: int = 10) -> list[Hit]:
        """The tracks nearest to a track or a vector, by exact cosine; ties order by ``track_id``.

        Parameters
        ----------
        query : str or float32 [dims]
            A ``track_id``, which is left out of the answer; or a vector of any length but 0.
        k : int
            At most this many.

        Raises
        ------
        TrackNotFound
            When no track has the id.
        SpaceMismatch
            When the vector has another number of dimensions.
        QueryError
            When the vector has no direction.
        """
        allowed = None
        if isinstance(query, str):
            if query not in self.rows:
                raise TrackNotFound(query)
            allowed = np.ones(len(self.track_ids), np.bool_)
            allowed[self.rows[query]] = False
            vector = self.vectors[self.rows[query]]
        else:
            vector = _unit(np.asarray(query, np.float64), self.space)
        rows, scores = top_rows(self.vectors, vector, k, allowed=allowed)
        return [
            Hit(self.track_ids[row], float(score)) for row, score in zip(rows, scores, strict=True)
        ]


def check_size(folder: Path, name: str, manifest: Listing) -> None:
    """Raise :class:`ArtifactError` unless a file is there, is no link, and has its listed size."""
    path, wanted = folder / name, manifest.files[name].bytes
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise damaged(folder, name, "is not a plain file")
    if not path.exists():
        raise damaged(folder, name, "is missing")
    if (size := path.stat().st_size) != wanted:
        short = "was cut short: it" if size < wanted else "is too long: it"
        raise damaged(folder, name, f"{short} has {size} bytes, {layout.MANIFEST} lists {wanted}")


def _check_meta(path: Path, meta: Any, manifest: Manifest) -> int:
    """Compare ``embeddings_meta.json`` with the manifest and return its number of rows."""
    if not isinstance(meta, dict):
        raise damaged(path, layout.META, "is not a JSON object")
    wanted = {
        **layout.space_to_dict(manifest.space),
        "rows": manifest.counts["tracks"],
        "dtype": "float32",
        "byte_order": "little",
    }
    for name, value in wanted.items():
        if name not in meta or meta[name] != value:
            got = repr(meta[name]) if name in meta else "nothing"
            raise damaged(path, layout.META, f"has {got} for {name}, not {value!r}")
    rows = manifest.counts["tracks"]
    if rows < 1:
        raise damaged(path, layout.META, f"has {rows} rows")
    return rows


def _unit(vector: NDArray[np.float64], space: EmbeddingSpace) -> NDArray[np.float32]:
    if vector.shape != (space.dims,):
        raise SpaceMismatch(
            f"A query of shape {vector.shape} does not belong to {space.model} with {space.dims}"
            " dimensions."
        )
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise QueryError("The query vector has no direction: it is zero or not finite.")
    return (vector / length).astype(np.float32)
