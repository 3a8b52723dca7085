"""Which tracks are asked about: one of each recording, drawn evenly from strata.

Each next query comes from the strata that have given the fewest, so that a small stratum gives no
more than its turn, and the large ones go on when it is empty.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from kindred.audit import related
from kindred.audit.study import Design
from kindred.storage.records import Track

#: Seconds that a track must have.
SHORTEST = 3.0


def playable(tracks: Sequence[Track]) -> dict[str, Track]:
    """Tracks that can be heard, by ascending id: with a file, of :data:`SHORTEST` or more."""
    found = [track for track in tracks if track.path and track.duration >= SHORTEST]
    return {track.track_id: track for track in sorted(found, key=lambda track: track.track_id)}


def one_of_each(tracks: Mapping[str, Track], recordings: Mapping[str, str]) -> dict[str, Track]:
    """The first track of each recording."""
    first: dict[str, str] = {}
    for track_id in tracks:
        first.setdefault(recordings[track_id], track_id)
    return {track_id: tracks[track_id] for track_id in first.values()}


def strata(
    design: Design, tracks: Mapping[str, Track], clusters: Mapping[str, int]
) -> dict[str, list[str]]:
    """Name of each stratum -> its tracks; what has no composer or cluster is one of its own."""
    found: dict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    for track_id, track in tracks.items():
        name = "all"
        if design.stratify == "cluster":
            number = clusters.get(track_id)
            name = "no cluster" if number is None else f"cluster {number}"
        elif design.stratify == "composer":
            name = track.composer.strip() or "unknown composer"
        found[names.setdefault(related.key(name), name)].append(track_id)
    return dict(found)


class Queries:
    """Queries in the order in which they are drawn.

    Parameters
    ----------
    strata : mapping of str to sequence of str
        Tracks by stratum.
    rng : numpy Generator
    """

    def __init__(self, strata: Mapping[str, Sequence[str]], rng: np.random.Generator) -> None:
        self.stratum = {query: name for name, members in strata.items() for query in members}
        names = sorted(strata)
        self._left = {name: list(rng.permutation(sorted(strata[name]))) for name in names}
        self._turn = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
        self._gave: Counter[str] = Counter()

    def gave(self, query: str) -> None:
        """Note that a query was of use: its stratum has had its turn."""
        self._gave[self.stratum[query]] += 1

    def take(self, count: int) -> list[str]:
        """The next queries, as if all of them were of use; fewer when there are no more."""
        turns = [(self._gave[name], turn, name) for name, turn in self._turn.items()]
        heapq.heapify(turns)
        taken: list[str] = []
        while turns and len(taken) < count:
            gave, turn, name = heapq.heappop(turns)
            if self._left[name]:
                taken.append(str(self._left[name].pop()))
                heapq.heappush(turns, (gave + 1, turn, name))
        return taken
