"""Composer retrieval for one query: the numbers of the evaluation of all, without asking all.

The variants, what is relevant and the measures are those of :mod:`kindred.evaluation.retrieval`.
Measures that look no further than k need the first k that are left once a variant's exclusions are
gone, so only so many rows are ordered; what is relevant is counted over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.evaluation import measures, ranks
from kindred.evaluation.labels import labels_of
from kindred.evaluation.summary import BESIDE, HEADLINE
from kindred.evaluation.task import Task
from kindred.storage.records import Hit, Track
from kindred.storage.vectors import top_rows


class Judged(NamedTuple):
    """A variant's answer: the first k, whether each is relevant, and the measures.

    ``scores`` maps "precision", "hit_rate" and "ndcg" to value, chance and ceiling; ``None`` where
    nothing is relevant.
    """

    hits: list[tuple[Hit, bool]]
    relevant: int
    gallery: int
    scores: dict[str, dict[str, float | None]]


class Gallery:
    """The tracks with a vector of one space, and who is relevant to whom.

    Parameters
    ----------
    space : EmbeddingSpace
    tracks : sequence of Track
        In ascending order of their ids.
    vectors : float32 [n, dims]
        Their unit vectors.
    """

    def __init__(
        self, space: EmbeddingSpace, tracks: Sequence[Track], vectors: NDArray[np.float32]
    ) -> None:
        self.space, self.vectors = space, vectors
        self._rows: dict[str, int] = {}
        self._fault = ""  # kept, as it takes as long to find as a gallery takes to make
        try:
            self.task = Task(labels_of(tracks), k=1)
        except QueryError as error:
            self._fault = str(error)
            return
        self.ids = self.task.labels.ids
        self._rows.update((track_id, row) for row, track_id in enumerate(self.ids))
        self._relevant = ranks.Groups(self.task.class_of)
        self._groups = {name: ranks.Groups(of) for name, of in self.task.groups.items()}

    def composer(self, track_id: str) -> str:
        """The query's composer, as the first track of this composer has it; may be empty."""
        row = self._row(track_id)
        number = self.task.class_of[row]
        return self.task.classes[number] if number >= 0 else ""

    def judge(self, track_id: str, *, k: int) -> dict[str, Judged]:
        """The plain and the controlled answer to a track.

        Raises
        ------
        QueryError
            When the track has no vector, or no two tracks have the same composer.
        """
        row = self._row(track_id)
        groups = {name: of.cells(row, row + 1) for name, of in self._groups.items()}
        depth = k + 1 + sum(map(len, groups.values()))
        order, cosines = top_rows(self.vectors, self.vectors[row], depth)
        similarity = dict(zip(order.tolist(), cosines.tolist(), strict=True))
        places = ranks.positions(order[None], self.task.n)
        relevant, own = self._relevant.cells(row, row + 1), np.array([row])
        answers = {}
        for variant in BESIDE:
            gone = [own, *(groups[name] for name in self.task.left_out(variant))]
            found = ranks.rank_relevant(order[None], places, relevant, gone, k=k)
            top = [at for at in found.top[0].tolist() if at >= 0]
            mates = set(relevant.tolist())
            answers[variant] = Judged(
                [(Hit(self.ids[at], similarity[at]), at in mates) for at in top],
                int(found.relevant[0]),
                int(found.gallery[0]),
                _scores(found, k),
            )
        return answers

    def _row(self, track_id: str) -> int:
        if self._fault:
            raise QueryError(self._fault)
        if track_id not in self._rows:
            raise QueryError(
                f"{track_id!r} has no {self.space.model} vector yet. Run `kindred ingest` to make"
                " it."
            )
        return self._rows[track_id]


def _scores(found: ranks.Ranks, k: int) -> dict[str, dict[str, float | None]]:
    names = measures.measure_names(k)
    tables: dict[str, Any] = {
        "value": measures.measure(found, k=k),
        "chance": measures.chance(found.relevant, found.gallery, k=k),
        "ceiling": measures.ceiling(found.relevant, k=k),
    }
    return {
        name: {
            what: None if np.isnan(table[0, at]) else float(table[0, at])
            for what, table in tables.items()
        }
        for name in HEADLINE
        for at in [names.index(f"{name}@{k}")]
    }
