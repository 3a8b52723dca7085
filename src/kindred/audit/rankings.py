"""What systems answer to a query, without what must not be an answer.

Left out are the query's own recording and work, copies of a track that came before, tracks that
sound the same as the query, and tracks that cannot be played. Ranks count what is left, from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kindred.audit import related
from kindred.audit.stretches import Stretches
from kindred.audit.study import Placed
from kindred.storage.records import Hit, Track


@dataclass(frozen=True)
class Ranked:
    """The track of a recording that a system answered with first, and where."""

    track_id: str
    placed: Placed


#: Recording -> a system's answer, the nearest first.
Ranking = dict[str, Ranked]


class Ask(Protocol):
    """Asks a system."""

    def __call__(
        self, system: str, track_ids: Sequence[str], depth: int, /
    ) -> Mapping[str, Sequence[Hit]]:
        """The ``depth`` tracks nearest to each query, itself left out, the nearest first.

        There may be fewer where the library has no more. A query that the system has no vector of
        may be missing.
        """


class Rankings:
    """The systems' answers.

    Parameters
    ----------
    ask : Ask
    systems : sequence of str
    tracks : mapping of str to Track
        Which may be an answer.
    recordings : mapping of str to str
        Id of every track of the library -> its recording.
    stretches : Stretches
    """

    def __init__(
        self,
        ask: Ask,
        systems: Sequence[str],
        *,
        tracks: Mapping[str, Track],
        recordings: Mapping[str, str],
        stretches: Stretches,
    ) -> None:
        self.ask, self.systems = ask, systems
        self.tracks, self.recordings, self.stretches = tracks, recordings, stretches
        self._works = {track_id: related.work(track) for track_id, track in tracks.items()}

    def to(
        self,
        queries: Sequence[str],
        *,
        k: int,
        whole: bool = False,
        systems: Sequence[str] | None = None,
    ) -> dict[str, dict[str, Ranking]]:
        """For each query and system a ranking of at least ``k`` tracks, where there are as many.

        Beyond the first ``k``, copies are known by their names only. With ``whole`` the rankings
        have every track. ``systems`` are those asked, all by default.
        """
        found: dict[str, dict[str, Ranking]] = {query: {} for query in queries}
        for system in self.systems if systems is None else systems:
            left, depth = list(queries), len(self.recordings) if whole else 2 * k + 50
            while left:
                hits = self.ask(system, left, depth)
                for query in left:
                    found[query][system] = self._ranking(query, hits.get(query, ()), k)
                # What was left out may have filled the answer: then ask for more.
                left = [
                    query
                    for query in left
                    if len(found[query][system]) < k and len(hits.get(query, ())) >= depth
                ]
                depth *= 4
        return found

    def same_work(self, one: str, other: str) -> bool:
        """Whether two tracks belong to one work."""
        return self._works[one] is not None and self._works[one] == self._works[other]

    def _ranking(self, query: str, hits: Sequence[Hit], k: int) -> Ranking:
        found: Ranking = {}
        heard = [query]
        for hit in hits:
            track_id = hit.track_id
            if track_id not in self.tracks:
                continue
            recording = self.recordings[track_id]
            if recording in found or recording == self.recordings[query]:
                continue
            if self.same_work(query, track_id):
                continue
            # Copies come first; further down it is not worth reading every track's vectors.
            if len(found) < k:
                if not self._distinct(track_id, heard):
                    continue
                heard.append(track_id)
            found[recording] = Ranked(track_id, Placed(len(found) + 1, float(hit.similarity)))
        return found

    def _distinct(self, track_id: str, others: Iterable[str]) -> bool:
        """Whether the track can be heard and sounds like none of the others."""
        return self.stretches.known(track_id) and not any(
            self.stretches.alike(track_id, other) for other in others
        )
