"""Queries by example: tracks that sound like some tracks, or a clip, and unlike others.

Several examples make one query vector, as Rocchio's relevance feedback does (in Salton, "The SMART
Retrieval System", 1971)::

    q = mean(wanted) - 0.5 * mean(unwanted), scaled to unit length

Similarity is the cosine with q, in [-1, 1], higher is nearer. A query never returns a track it was
made of. With ``diversity`` the list is built by maximal marginal relevance (Carbonell and
Goldstein, SIGIR 1998): each next track maximises (1 - d) * similarity - d * (largest cosine with
those already chosen), among the five times k nearest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace, check_same_space
from kindred.errors import QueryError
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Hit, Track, TrackFilter

MAX_K = 100
UNWANTED_WEIGHT = 0.5
#: What results may be asked not to share with the query's tracks.
NOT_SAME = ("album", "artist", "work")


@dataclass(frozen=True)
class Clip:
    """An example that is not in the library: unit float32 [dims] and its space.

    ``kind`` says what it was made of: ``"audio"``, a file of this name, or ``"text"``, these words.
    """

    name: str
    space: EmbeddingSpace
    vector: NDArray[np.float32]
    kind: str = "audio"


@dataclass(frozen=True)
class SimilarQuery:
    """What to look for.

    Attributes
    ----------
    plus, minus : tuple of str
        Ids of tracks to be near to, and to be far from.
    clip : Clip, optional
        A clip to be near to.
    k : int
        How many results, 1 to 100.
    where : TrackFilter
        Which tracks may answer.
    not_same : tuple of str
        What results may not share with the ``plus`` tracks: "album", "artist", "work".
    diversity : float
        0 for the nearest tracks, up to 1 for tracks as unlike each other as possible.
    """

    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    clip: Clip | None = None
    k: int = 10
    where: TrackFilter = field(default_factory=TrackFilter)
    not_same: tuple[str, ...] = ()
    diversity: float = 0.0

    def check(self) -> None:
        """Raise :class:`QueryError` for a query that has no answer."""
        if not self.plus and self.clip is None:
            raise QueryError("Name a track or give a clip to look for; nothing was given.")
        if not 1 <= self.k <= MAX_K:
            raise QueryError(f"k must be from 1 to {MAX_K}, got {self.k}.")
        if not 0 <= self.diversity <= 1:
            raise QueryError(f"Diversity must be from 0 to 1, got {self.diversity}.")
        if unknown := set(self.not_same) - set(NOT_SAME):
            raise QueryError(f"not_same takes {', '.join(NOT_SAME)}, got {sorted(unknown)}.")
        if both := set(self.plus) & set(self.minus):
            raise QueryError(f"A track cannot be wanted and unwanted at once: {sorted(both)}.")


@dataclass(frozen=True)
class Match:
    """A track that answers a query.

    ``reasons`` maps timbre, harmony, rhythm and dynamics to their shares of the match (summing to
    1), or is empty where descriptors of query or track are missing.
    """

    track: Track
    similarity: float
    reasons: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SimilarResult:
    """Answers, nearest first, with the space and the index they come from."""

    query: SimilarQuery
    space: EmbeddingSpace
    index: str
    matches: list[Match]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as `kindred similar --json` and the API give it."""
        query: dict[str, Any] = {
            "track_ids": list(self.query.plus),
            "minus": list(self.query.minus),
            "k": self.query.k,
        }
        if len(self.query.plus) == 1:
            query["track_id"] = self.query.plus[0]
        if self.query.clip:
            query[self.query.clip.kind] = self.query.clip.name
        return {
            "query": query,
            "space": self.space.to_dict(),
            "index": self.index,
            "hits": [
                {
                    "track_id": match.track.track_id,
                    "title": match.track.title,
                    "composer": match.track.composer,
                    "album": match.track.album,
                    "similarity": round(match.similarity, 6),
                }
                for match in self.matches
            ],
        }


#: Shares of the families of descriptors in the match of two descriptor vectors.
Reasons = Callable[[NDArray[np.float32], NDArray[np.float32]], dict[str, float]]


class Search:
    """Answers queries in one space.

    Parameters
    ----------
    storage : StorageBackend
    descriptors : EmbeddingSpace
        The space whose vectors say why two tracks match.
    reasons : callable
        Given two vectors of that space, the share of each family.
    """

    def __init__(
        self, storage: StorageBackend, *, descriptors: EmbeddingSpace, reasons: Reasons
    ) -> None:
        self.storage = storage
        self.descriptors = descriptors
        self.reasons = reasons

    def similar(self, query: SimilarQuery, space: EmbeddingSpace) -> SimilarResult:
        """Answer a query.

        Raises
        ------
        QueryError
            When the query has no answer, or a track in it has no vector in the space.
        TrackNotFound
            When a track in it is not in the library.
        SpaceMismatch
            When the clip was embedded by another encoder.
        """
        started = time.perf_counter()
        query.check()
        wanted = [self.storage.get_track(track_id) for track_id in query.plus]
        for track_id in query.minus:
            self.storage.get_track(track_id)
        vector = self._vector(query, space)
        exclude = (*query.plus, *query.minus)
        pool = query.k if not query.diversity else min(5 * query.k, 500)
        hits, index = self.storage.search_embeddings(
            space, vector, k=pool, where=_where(query, wanted), exclude=exclude
        )
        if query.diversity:
            hits = self._diverse(space, hits, query)
        tracks = {
            track.track_id: track
            for track in self.storage.get_tracks([hit.track_id for hit in hits])
        }
        reasons = self._reasons(query, space, [hit.track_id for hit in hits])
        matches = [
            Match(tracks[hit.track_id], hit.similarity, reasons.get(hit.track_id, {}))
            for hit in hits
            if hit.track_id in tracks  # one may have been removed since
        ]
        return SimilarResult(query, space, index, matches, time.perf_counter() - started)

    def _vector(self, query: SimilarQuery, space: EmbeddingSpace) -> NDArray[np.float32]:
        wanted = self._vectors(space, query.plus)
        if query.clip is not None:
            check_same_space(space, query.clip.space)
            wanted = np.vstack([wanted, query.clip.vector[None]])
        vector = wanted.mean(axis=0, dtype=np.float64)
        if query.minus:
            unwanted = self._vectors(space, query.minus).mean(axis=0, dtype=np.float64)
            vector = vector - UNWANTED_WEIGHT * unwanted
        length = float(np.linalg.norm(vector))
        if length < 1e-6:
            raise QueryError("The examples cancel each other out. Take one of them away.")
        return np.asarray(vector / length, np.float32)

    def _vectors(self, space: EmbeddingSpace, track_ids: tuple[str, ...]) -> NDArray[np.float32]:
        found, vectors = self.storage.get_embeddings(space, track_ids)
        if missing := set(track_ids) - set(found):
            raise QueryError(
                f"{len(missing)} of the tracks asked for have no {space.model} vector yet"
                f" ({', '.join(sorted(missing))}). Run `kindred ingest` to make it."
            )
        return vectors

    def _diverse(self, space: EmbeddingSpace, hits: list[Hit], query: SimilarQuery) -> list[Hit]:
        ids, vectors = self.storage.get_embeddings(space, [hit.track_id for hit in hits])
        order = {track_id: row for row, track_id in enumerate(ids)}
        pool = [hit for hit in hits if hit.track_id in order]
        if not pool:
            return []
        gains = (1 - query.diversity) * np.array([hit.similarity for hit in pool])
        redundancy = np.full(len(pool), -1.0)
        chosen: list[int] = []
        left = np.ones(len(pool), np.bool_)
        while len(chosen) < min(query.k, len(pool)):
            # With nothing chosen yet, every redundancy is -1, so the nearest track comes first.
            scores = np.where(left, gains - query.diversity * redundancy, -np.inf)
            best = int(scores.argmax())
            chosen.append(best)
            left[best] = False
            redundancy = np.maximum(redundancy, vectors @ vectors[best])
        return [pool[row] for row in chosen]

    def _reasons(
        self, query: SimilarQuery, space: EmbeddingSpace, track_ids: list[str]
    ) -> dict[str, dict[str, float]]:
        plain = replace(query, clip=query.clip if space == self.descriptors else None)
        if not plain.plus and plain.clip is None:
            return {}
        try:
            vector = self._vector(plain, self.descriptors)
        except QueryError:  # the tracks were embedded by another encoder alone
            return {}
        ids, vectors = self.storage.get_embeddings(self.descriptors, track_ids)
        return {
            track_id: self.reasons(vector, row) for track_id, row in zip(ids, vectors, strict=True)
        }


def _where(query: SimilarQuery, wanted: list[Track]) -> TrackFilter:
    """The query's filter, and what its tracks may not be shared with the results."""

    def values(name: str) -> tuple[str, ...]:
        return tuple({getattr(track, name) for track in wanted} - {""})

    where = query.where
    if "album" in query.not_same:
        where = replace(where, not_albums=where.not_albums + values("album"))
    if "artist" in query.not_same:
        where = replace(where, not_artists=where.not_artists + values("artist"))
    if "work" in query.not_same:
        works = {(track.composer, track.work) for track in wanted if track.work}
        where = replace(where, not_works=where.not_works + tuple(works))
    return where
