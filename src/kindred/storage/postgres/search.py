"""Nearest vectors in Postgres: filters in the query, HNSW where it pays, exact scores always.

Below ``ann_threshold`` tracks, or where a filter leaves few, every vector that passes is compared.
Above it HNSW proposes candidates: pgvector 0.8 goes on (iterative scan) until enough pass the
filter, older ones look at up to 1,000 and leave the rest to the exact search. Either way a few more
candidates than needed come back and are scored again in float64, so that similarities and ties are
those of :mod:`kindred.storage.snapshot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Cursor

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.postgres.connections import Connection
from kindred.storage.postgres.graph import EF_SEARCH, M
from kindred.storage.postgres.tables import folded, storable
from kindred.storage.postgres.vector import Vector, matrix
from kindred.storage.records import Hit, TrackFilter
from kindred.storage.snapshot import rescore

#: The most that pgvector allows for ``hnsw.ef_search``.
_EF_MOST = 1_000
_FIRST_ITERATIVE = (0, 8)
#: A filter leaves few when it leaves less than this share of ``ann_threshold``. Up to there it is
#: quicker to fetch the vectors of those than to walk the graph, or to scan all.
FEW = 0.2


def condition(where: TrackFilter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition on ``tracks`` and its values."""
    parts: list[str] = ["true"]
    values: list[Any] = []
    texts = (
        ("composer_fold = ANY", where.composers),
        ("artist_fold = ANY", where.artists),
        ("album_fold = ANY", where.albums),
        ("genre_fold = ANY", where.genres),
        ("album_fold <> ALL", where.not_albums),
        ("artist_fold <> ALL", where.not_artists),
    )
    for operation, wanted in texts:
        if wanted:
            parts.append(f"{operation}(%s)")
            values.append([folded(text) for text in storable(wanted)])
    for pair in where.not_works:
        if len(storable(pair)) == 2:
            parts.append("NOT (composer_fold = %s AND work_fold = %s)")
            values += [folded(text) for text in pair]
    for column, bounds in (("year", where.year), ("duration", where.duration)):
        for operator, bound in zip((">=", "<="), bounds, strict=True):
            if bound is not None:
                parts.append(f"{column} {operator} %s")
                values.append(bound)
    return " AND ".join(parts), values


class Search:
    """One question to one space.

    Parameters
    ----------
    query : float32 [dims]
        Unit vector.
    exclude : sequence of str
        Tracks that must not answer.
    """

    def __init__(
        self,
        connection: Connection,
        space: EmbeddingSpace,
        query: NDArray[np.float32],
        k: int,
        where: TrackFilter,
        exclude: Sequence[str],
    ) -> None:
        self.connection, self.space, self.query, self.k = connection, space, query, k
        self.wanted = 2 * k + 20
        self.exclude = storable(exclude)
        self.filtered = not where.is_empty
        self.condition, self.values = condition(where)

    def passing(self, most: int) -> int:
        """Number of tracks that pass the filter, counted up to a number."""
        if not self.filtered:
            return most
        found: Any = self.connection.execute(
            "SELECT count(*) FROM"
            f" (SELECT 1 FROM tracks WHERE {self.condition} LIMIT {most}) AS passing",
            self.values,
        ).fetchone()
        return int(found[0])

    def exact(self, *, few: bool = False) -> list[Hit]:
        """Compare every vector that passes; where they are ``few``, each is looked up by its key.

        Left to itself, and before statistics are there, the planner may read every vector of the
        space to join them: half a second at 100,000 tracks.
        """
        distance = "e.vector <=> %b::vector AS distance"
        # The vector is not cast, so that no HNSW index can answer. OFFSET 0 keeps the distance
        # with the join, or the join in its order; sorting whole vectors would fill the disk.
        if few:
            scored = (
                f"SELECT e.* FROM tracks t CROSS JOIN LATERAL (SELECT e.track_id, {distance}"
                f" FROM track_embeddings e WHERE {self._here} AND e.track_id = t.track_id"
                f" OFFSET 0) e WHERE {self.condition} {self._excluding}"
            )
        else:
            join = "JOIN tracks t USING (track_id)" if self.filtered else ""
            scored = (
                f"SELECT e.track_id, {distance} FROM track_embeddings e {join}"
                f" WHERE {self._here} AND {self.condition} {self._excluding} OFFSET 0"
            )
        found = self._ask(
            f"SELECT track_id FROM ({scored}) AS scored ORDER BY distance, track_id"
            f" LIMIT {self.wanted}",
            [Vector(self.query), *self.values, *self._excluded],
        )
        return self._best(found)

    def hnsw(self, version: str, share: float) -> list[Hit] | None:
        """Ask the index; ``None`` when it found fewer than were asked for.

        Parameters
        ----------
        version : str
            Version of pgvector.
        share : float
            At least so many of the space's tracks pass the filter, in (0, 1].
        """
        ef = max(EF_SEARCH, self.wanted + len(self.exclude))
        # The plan is made here: candidates come in order from the index, filters look at each.
        settings = {"enable_seqscan": "off", "enable_sort": "off"}
        if iterates(version):
            settings["hnsw.iterative_scan"] = "relaxed_order"
        elif self.filtered:
            ef = max(ef, round(self.wanted / share))
        settings["hnsw.ef_search"] = str(min(ef, _EF_MOST))
        with self.connection.pipeline(), self.connection.transaction():  # one round trip or two
            self._set(settings)
            found = self._ask(*self._nearest())
            self._set({"enable_seqscan": "on", "enable_sort": "on"})  # for a batch around this
        hits = self._best(found)
        return hits if len(hits) >= self.k else None

    def _nearest(self) -> tuple[str, list[Any]]:
        """The statement that the index answers, and its values."""
        passes = (
            f"AND (SELECT {self.condition} FROM tracks t WHERE t.track_id = e.track_id)"
            if self.filtered
            else ""
        )
        kind = f"vector({self.space.dims})"
        return (
            f"SELECT e.track_id FROM track_embeddings e WHERE {self._here} {passes}"
            f" {self._excluding} ORDER BY e.vector::{kind} <=> %b::{kind} LIMIT {self.wanted}",
            [*self.values, *self._excluded, Vector(self.query)],
        )

    @property
    def _here(self) -> str:
        return f"e.space_id = '{self.space.space_id}'"

    @property
    def _excluding(self) -> str:
        return "AND e.track_id NOT IN (SELECT unnest(%s::text[]))" if self.exclude else ""

    @property
    def _excluded(self) -> list[Any]:
        return [self.exclude] if self.exclude else []

    def _set(self, settings: dict[str, str]) -> None:
        """Change settings until the transaction ends."""
        calls = ", ".join(f"set_config('{name}', '{to}', true)" for name, to in settings.items())
        self.connection.execute(f"SELECT {calls}")

    def _ask(self, candidates: str, values: list[Any]) -> Cursor[Any]:
        """Have the ids that a statement gives, and their vectors."""
        return self.connection.cursor(binary=True).execute(
            "SELECT e.track_id, vector_send(e.vector) FROM track_embeddings e"
            f" JOIN ({candidates}) AS near USING (track_id) WHERE {self._here}",
            values,
        )

    def _best(self, cursor: Cursor[Any]) -> list[Hit]:
        """The best of what was found, ties by ``track_id``."""
        found = cursor.fetchall()
        vectors = matrix([row[1] for row in found], self.space.dims)
        scores = rescore(vectors, np.arange(len(found)), self.query)
        best = sorted((-score, row[0]) for row, score in zip(found, scores, strict=True))
        return [Hit(track_id, -float(score)) for score, track_id in best[: self.k]]


def iterates(version: str) -> bool:
    """Whether this version of pgvector has iterative scans."""
    return tuple(int(part) for part in version.split(".")[:2]) >= _FIRST_ITERATIVE


def hnsw_name(version: str) -> str:
    """How the HNSW index is shown."""
    return f"pgvector {version} HNSW (m={M}, ef={EF_SEARCH})"
