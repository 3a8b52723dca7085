"""What is asked about a query: the tracks compared, and the systems behind each.

``ab``
    Two systems' answers are read from the top to the first rank where they differ: each system
    places its track there before the other's. The pairs of systems take turns. A query that two
    systems answer alike down to ``k`` says nothing about them.
``graded``
    Every track among the first ``k`` of a system. More than five are split evenly into several
    questions, dealt out by rank, so that each has near and far ones.
``odd``
    The query, a track of one system and one of another, such that to each system the other's is
    the odd one of the three: asked from the query or from its own track, it places the two before
    the other's. With one system, a track among its first and one from the farther half.

A system stands behind the track that it chose; in ``odd`` behind the two that it holds together,
with the query's place in the answer to its track.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, zip_longest

import numpy as np

from kindred.audit.rankings import Ranking, Rankings
from kindred.audit.study import FORMS, Design, Placed

#: The tracks compared, each with the systems behind it; of ``odd`` the query is the first.
Question = dict[str, dict[str, Placed]]


class Questions:
    """Finds questions.

    Parameters
    ----------
    design : Design
    systems : Rankings
    rng : numpy Generator
    """

    def __init__(self, design: Design, systems: Rankings, rng: np.random.Generator) -> None:
        self.design, self.systems, self.rng = design, systems, rng
        pairs = list(combinations(design.systems, 2))
        #: How often each pair of systems was compared.
        self.pairs = Counter(dict.fromkeys(pairs, 0))

    def about(self, queries: Sequence[str]) -> Iterator[tuple[str, list[Question]]]:
        """Each query with its questions; none where the answers give nothing to ask."""
        alone = self.design.form == "odd" and not self.pairs
        found = self.systems.to(queries, k=self.design.k, whole=alone)
        for query in queries:
            rankings = found[query]
            if self.design.form == "graded":
                yield query, self._graded(rankings)
            elif alone:
                yield query, self._near_and_far(query, rankings[self.design.systems[0]])
            else:
                yield query, self._compared(query, rankings)

    def _graded(self, rankings: Mapping[str, Ranking]) -> list[Question]:
        tops = [_first(rankings[name], self.design.k) for name in self._shuffled()]
        pool: dict[str, str] = {}
        for row in zip_longest(*tops):
            for entry in row:
                if entry:
                    pool.setdefault(*entry)
        dealt, parts = list(pool.items()), -(-len(pool) // FORMS["graded"][1])
        return [
            {
                track_id: {
                    name: ranking[recording].placed
                    for name, ranking in rankings.items()
                    if recording in ranking and ranking[recording].placed.rank <= self.design.k
                }
                for recording, track_id in dealt[part::parts]
            }
            for part in range(parts)
        ]

    def _compared(self, query: str, rankings: Mapping[str, Ranking]) -> list[Question]:
        order = self.rng.permutation(len(self.pairs)).tolist()
        pairs = [list(self.pairs)[place] for place in order]
        for pair in sorted(pairs, key=self.pairs.__getitem__):
            one, other = (rankings[name] for name in pair)
            for first, second in _differences(one, other, self.design.k):
                mine, theirs = one[first], other[second]
                if self.systems.stretches.alike(mine.track_id, theirs.track_id):
                    continue
                question = {
                    mine.track_id: {pair[0]: mine.placed},
                    theirs.track_id: {pair[1]: theirs.placed},
                }
                if self.design.form == "odd":
                    if self.systems.same_work(mine.track_id, theirs.track_id):
                        continue  # neither is in the answer to the other
                    back = self._together(query, mine.track_id, second, pair[0])
                    back |= self._together(query, theirs.track_id, first, pair[1])
                    if len(back) < len(pair):
                        continue
                    question = {query: back, **question}
                self.pairs[pair] += 1
                return [question]
        return []

    def _near_and_far(self, query: str, ranking: Ranking) -> list[Question]:
        (name,), half = self.design.systems, len(ranking) // 2
        answers = list(ranking.items())
        far = [
            (recording, answer.track_id)
            for recording, answer in answers[half:]
            if self.systems.stretches.known(answer.track_id)
        ]
        if not far:
            return []
        recording, odd = far[int(self.rng.integers(len(far)))]
        for _, near in answers[: min(self.design.k, half)]:
            if self.systems.same_work(near.track_id, odd):
                continue
            if back := self._together(query, near.track_id, recording, name):
                return [{query: back, near.track_id: {name: near.placed}, odd: {}}]
        return []

    def _together(self, query: str, near: str, odd: str, system: str) -> dict[str, Placed]:
        """Where the system places the query when asked from ``near``, if before the odd one."""
        found = self.systems.to([near], k=self.design.k, systems=[system])
        ranking, own = found[near][system], self.systems.recordings[query]
        return {system: ranking[own].placed} if _before(ranking, own, odd) else {}

    def _shuffled(self) -> list[str]:
        return [str(name) for name in self.rng.permutation(list(self.design.systems))]


def _first(ranking: Ranking, k: int) -> list[tuple[str, str]]:
    """Recording and track of the first ``k`` answers."""
    return [(recording, answer.track_id) for recording, answer in islice(ranking.items(), k)]


def _before(ranking: Ranking, one: str, other: str) -> bool:
    """Whether a recording is known to be placed before another."""
    if one not in ranking or other not in ranking:
        return one in ranking
    return ranking[one].placed.rank < ranking[other].placed.rank


def _differences(one: Ranking, other: Ranking, k: int) -> list[tuple[str, str]]:
    """Recordings among the first ``k`` that two systems order the opposite way, top first."""
    pairs = [
        (first, second)
        for first, _ in _first(one, k)
        for second, _ in _first(other, k)
        if first != second and _before(one, first, second) and _before(other, second, first)
    ]

    def ranks(pair: tuple[str, str]) -> list[int]:
        return sorted((one[pair[0]].placed.rank, other[pair[1]].placed.rank), reverse=True)

    return sorted(pairs, key=ranks)
