"""Maps of the library: built, kept, seen as the library is now, exported."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap, library_digest, load_map, save_map
from kindred.services.map_views import (
    COLOURS,
    NEAR,
    MapView,
    Values,
    table,
    tracks_at,
    values,
)
from kindred.storage.backend import StorageBackend
from kindred.work import Progress, new_id, within

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLOURS", "NEAR", "MapView", "Maps", "Near", "Values"]

Cancelled = Callable[[], bool]

#: Maps of the same space, method and parameters that are kept; older ones go.
KEPT = 3
#: From this many tracks on, the order in which to hear them is not a walk any more.
LONGEST_WALK = 2_000
_REGION_TAGS = ("composer", "genre", "artist", "album")


@dataclass(frozen=True)
class Near:
    """A true neighbour: its similarity, and whether it is among as many nearest on the map."""

    track_id: str
    similarity: float
    on_map: bool


class Maps:
    """Builds maps and keeps them on this machine; they can be made again from the vectors.

    Parameters
    ----------
    storage : StorageBackend
    folder : Path
        One file a map.
    space_of : callable
        The space of an encoder, by name.
    """

    def __init__(
        self, storage: StorageBackend, folder: Path, space_of: Callable[[str], EmbeddingSpace]
    ) -> None:
        self.storage, self.folder, self.space_of = storage, folder, space_of
        self._lock = threading.Lock()
        self._maps: dict[str, LibraryMap] = {}
        self._views: dict[tuple[str, int], MapView] = {}

    # -- build -----------------------------------------------------------------------------
    def build(
        self,
        encoder: str,
        options: MapOptions = MapOptions(),
        *,
        again: bool = False,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
    ) -> LibraryMap | None:
        """Lay the library out, and keep the map; ``None`` when it was cancelled.

        The map there is of this very library, by the same method and parameters, is returned as
        it is, unless it is to be built ``again``. A new one is turned so that it lies on the last
        one as well as it can.

        Raises
        ------
        QueryError
            When the parameters cannot be used.
        EncoderError
            When the encoder cannot be used.
        """
        from kindred.maps.clusters import cluster
        from kindred.maps.layout import lay_out
        from kindred.maps.neighbours import find_neighbours
        from kindred.maps.place import align
        from kindred.maps.regions import name_regions
        from kindred.maps.trust import measure_trust

        options.check()
        start = time.monotonic()
        space = self.space_of(encoder)
        hashes = self.storage.embedded_hashes(space)
        digest = library_digest(hashes)
        last = next(iter(self._same(space, options)), None)
        if last is not None and last.library == digest and not again:
            return last

        # The parts take about as long as their shares say.
        within(progress, 0, 5, "reading vectors")
        ids, vectors = self.storage.get_embeddings(space, sorted(hashes))
        sound = _sound(vectors)
        left_out = [track_id for track_id, whole in zip(ids, sound, strict=True) if not whole]
        if left_out:
            ids = [track_id for track_id, whole in zip(ids, sound, strict=True) if whole]
            vectors = vectors[sound]
        seconds = {"read": time.monotonic() - start}
        if cancelled():
            return None
        wanted = {"umap": options.neighbours, "tsne": round(3 * options.perplexity)}
        near = find_neighbours(
            vectors,
            max(wanted.get(options.method, NEAR), NEAR),
            progress=within(progress, 5, 25, "finding neighbours"),
            cancelled=cancelled,
        )
        if near is None:
            return None
        seconds["neighbours"] = time.monotonic() - start - sum(seconds.values())
        positions = lay_out(
            vectors,
            near,
            options,
            progress=within(progress, 25, 70, "laying out"),
            cancelled=cancelled,
        )
        if positions is None:
            return None
        if last is not None:
            positions = _aligned(positions, ids, last, align)
        seconds["layout"] = time.monotonic() - start - sum(seconds.values())
        trust = measure_trust(
            vectors,
            positions,
            k=NEAR,
            neighbours=near.indices,
            progress=within(progress, 70, 100, "measuring how far it can be trusted"),
            cancelled=cancelled,
        )
        if trust is None:
            return None
        clusters = cluster(vectors, seed=options.seed)
        regions = name_regions(positions[:, :2], clusters, self._region_tags(ids))
        if cancelled():
            return None
        seconds["trust"] = time.monotonic() - start - sum(seconds.values())
        now = datetime.now(UTC)
        made = LibraryMap(
            map_id=new_id(now),
            space=space,
            options=options,
            library=digest,
            track_ids=tuple(ids),
            hashes=tuple(hashes[track_id] for track_id in ids),
            positions=positions,
            clusters=clusters,
            trust=trust,
            regions=tuple(regions),
            created_at=now.isoformat(timespec="seconds"),
            facts={
                "encoder": encoder,
                "index": near.index,
                "seconds": {name: round(value, 2) for name, value in seconds.items()},
                "aligned_to": last.map_id if last is not None else "",
                "left_out": left_out,
                "versions": {
                    name: metadata.version(name)
                    for name in ("kindred", "umap-learn", "openTSNE", "scikit-learn", "numpy")
                },
            },
        )
        save_map(self.folder, made)
        for old in self._same(space, options)[KEPT:]:
            self.delete(old.map_id)
        return made

    def _same(self, space: EmbeddingSpace, options: MapOptions) -> list[LibraryMap]:
        """The maps of a space by this method with these parameters, newest first."""
        return [
            made
            for made in self.kept()
            if made.options.key == options.key and made.space.space_id == space.space_id
        ]

    def _region_tags(self, ids: Sequence[str]) -> dict[str, list[str]]:
        found = tracks_at(self.storage, ids)
        tags = {name: [getattr(track, name) for track in found] for name in _REGION_TAGS}
        tags["decade"] = [
            f"{track.year // 10 * 10}s" if track.year is not None else "" for track in found
        ]
        return tags

    # -- kept maps -------------------------------------------------------------------------
    def kept(self) -> list[LibraryMap]:
        """Maps that can be read, newest first; :meth:`damaged` names the others."""
        return self._read()[0]

    def damaged(self) -> list[str]:
        """What is wrong with maps that are kept and cannot be read."""
        return self._read()[1]

    def _read(self) -> tuple[list[LibraryMap], list[str]]:
        found, problems = [], []
        for path in sorted(self.folder.glob("*.npz"), reverse=True):
            try:
                found.append(self.get(path.stem))
            except QueryError as error:
                problems.append(str(error))
        return found, problems

    def get(self, map_id: str) -> LibraryMap:
        """Return a map; raises :class:`QueryError` when it is not there, or damaged."""
        path = self._path(map_id)
        with self._lock:
            if map_id in self._maps and path.exists():
                return self._maps[map_id]
        made = load_map(path)
        with self._lock:
            self._maps[map_id] = made
        return made

    def of_encoder(self, encoder: str) -> list[LibraryMap]:
        """Maps of an encoder's vectors, by whatever method, newest first."""
        space_id = self.space_of(encoder).space_id
        return [made for made in self.kept() if made.space.space_id == space_id]

    def delete(self, map_id: str) -> None:
        """Remove a map; raises :class:`QueryError` when there is none."""
        path = self._path(map_id)
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise QueryError(f"There is no map {map_id}.") from error
        with self._lock:
            self._maps.pop(map_id, None)
            self._views = {key: view for key, view in self._views.items() if key[0] != map_id}

    def _path(self, map_id: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", map_id):
            raise QueryError(f"There is no map {map_id!r}.")
        return self.folder / f"{map_id}.npz"

    # -- a map as the library is now -------------------------------------------------------
    def view(self, made: LibraryMap) -> MapView:
        """A map without the tracks that are gone, with those that came since placed on it."""
        key = (made.map_id, self.storage.version())
        with self._lock:
            if key in self._views:
                return self._views[key]
        found = replace(self._view(made, self.storage.embedded_hashes(made.space)), version=key[1])
        with self._lock:
            while len(self._views) >= 4:
                self._views.pop(next(iter(self._views)))
            self._views[key] = found
        return found

    def _view(self, made: LibraryMap, hashes: Mapping[str, str]) -> MapView:
        there = np.array(
            [
                hashes.get(track_id) == content_hash
                for track_id, content_hash in zip(made.track_ids, made.hashes, strict=True)
            ],
            bool,
        )
        known = {made.track_ids[row] for row in np.flatnonzero(there)}
        on_map = set(made.track_ids)
        new = sorted(hashes.keys() - known)
        view = MapView(
            map=made,
            track_ids=tuple(made.track_ids[row] for row in np.flatnonzero(there)),
            positions=made.positions[there],
            rows=np.flatnonzero(there).astype(np.int32),
            gone=len(on_map - hashes.keys()),
            changed=len((on_map & hashes.keys()) - known),
        )
        if not new or not known:
            return replace(view, left_out=len(new))
        ids, vectors = self.storage.get_embeddings(made.space, new)
        sound = _sound(vectors)
        ids = [track_id for track_id, whole in zip(ids, sound, strict=True) if whole]
        return replace(
            view,
            track_ids=(*view.track_ids, *ids),
            positions=np.concatenate([view.positions, self._place(view, vectors[sound])]),
            rows=np.concatenate([view.rows, np.full(len(ids), -1, np.int32)]),
            placed=len(ids),
            left_out=len(new) - len(ids),
        )

    def _place(self, view: MapView, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places for vectors among those of a view's tracks that lie on the map itself."""
        from kindred.maps.place import place

        rows = {track_id: row for row, track_id in enumerate(view.track_ids) if view.rows[row] >= 0}
        # Some may have left the library since the view was made.
        ids, base = self.storage.get_embeddings(view.map.space, list(rows))
        return place(vectors, base, view.positions[[rows[track_id] for track_id in ids]])

    def nearest(self, view: MapView, track_id: str, k: int = NEAR) -> tuple[list[Near], str]:
        """A track's true nearest neighbours, nearest first, and the index that answered.

        Raises
        ------
        QueryError
            When the track has no place on the map.
        """
        row = self._row(view, track_id)
        _, vectors = self.storage.get_embeddings(view.map.space, [track_id])
        if not len(vectors):
            raise QueryError(f"The track {track_id} has just left the library.")
        hits, index = self.storage.search_embeddings(
            view.map.space, vectors[0], k=k, exclude=[track_id]
        )
        distance = np.square(view.positions - view.positions[row]).sum(axis=1)
        distance[row] = np.inf
        order = np.argsort(distance, kind="stable")[: min(k, len(distance) - 1)]
        near = {view.track_ids[found] for found in order}
        return [Near(hit.track_id, hit.similarity, hit.track_id in near) for hit in hits], index

    def walk(self, view: MapView, track_ids: Sequence[str]) -> list[str]:
        """Tracks in an order to hear them: from one to the nearest that is left.

        It starts at the one that lies farthest from their middle. More than
        :data:`LONGEST_WALK` are taken along the longest side of what they cover.
        """
        wanted = set(track_ids)
        rows = [row for row, track_id in enumerate(view.track_ids) if track_id in wanted]
        if not rows:
            return []
        places = view.positions[rows].astype(np.float64)
        if len(rows) > LONGEST_WALK:
            along = np.linalg.svd(np.cov((places - places.mean(axis=0)).T))[0][:, 0]
            return [view.track_ids[rows[at]] for at in np.argsort(places @ along, kind="stable")]
        left = np.ones(len(rows), bool)
        here = int(np.square(places - places.mean(axis=0)).sum(axis=1).argmax())
        order: list[str] = []
        for _ in rows:
            order.append(view.track_ids[rows[here]])
            left[here] = False
            distance = np.square(places - places[here]).sum(axis=1)
            distance[~left] = np.inf
            here = int(distance.argmin())
        return order

    def middle(self, view: MapView, track_ids: Sequence[str], count: int) -> list[str]:
        """Those of some tracks that are nearest to their mean, by the model, nearest first."""
        ids, vectors = self.storage.get_embeddings(view.map.space, list(track_ids))
        if not ids:
            return []
        nearest = np.argsort(-(vectors @ vectors.mean(axis=0)), kind="stable")
        return [ids[row] for row in nearest[:count]]

    def path(self, view: MapView, track_id: str) -> NDArray[np.float32]:
        """Where a track's windows lie on the map, in the order of time, float32 [m, dims].

        Raises
        ------
        QueryError
            When the track has no place on the map.
        """
        self._row(view, track_id)
        segments = self.storage.get_segments(view.map.space, track_id)
        lengths = np.linalg.norm(segments, axis=1, keepdims=True)
        whole = np.isfinite(segments).all(axis=1) & (lengths[:, 0] > 0)
        if not whole.any():
            return np.empty((0, view.positions.shape[1]), np.float32)
        return self._place(view, (segments[whole] / lengths[whole]).astype(np.float32))

    def _row(self, view: MapView, track_id: str) -> int:
        try:
            return view.track_ids.index(track_id)
        except ValueError as error:
            raise QueryError(f"The track {track_id} is not on this map.") from error

    # -- colours and tables ----------------------------------------------------------------
    def values(self, view: MapView, by: str) -> Values:
        """What a view's points are coloured by: one of :data:`COLOURS`, or any other tag.

        Raises
        ------
        QueryError
            When no track has such a tag.
        """
        return values(self.storage, view, by)

    def table(self, view: MapView) -> pd.DataFrame:
        """One row a point: track, place, cluster, and how far it can be trusted."""
        return table(self.storage, view)


def _sound(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which vectors are finite and of unit length, as every vector is when it is stored."""
    return np.asarray(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3)


def _aligned(
    positions: NDArray[np.float32],
    ids: Sequence[str],
    last: LibraryMap,
    align: Callable[..., NDArray[np.float32]],
) -> NDArray[np.float32]:
    """A new layout turned so that the tracks it shares with the last one lie close to it."""
    before = {track_id: row for row, track_id in enumerate(last.track_ids)}
    shared = [(row, before[track_id]) for row, track_id in enumerate(ids) if track_id in before]
    if not shared:
        return positions
    mine, theirs = (np.array(side) for side in zip(*shared, strict=True))
    return align(positions, positions[mine], last.positions[theirs])
