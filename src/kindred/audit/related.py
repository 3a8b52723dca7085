"""Which tracks are one recording, or belong to one work.

Tracks are taken for one recording when they have the same bytes, or the same title and composer
(the artist where there is none), durations that differ by at most :data:`SAME_SECONDS` and no two
works; and when a third track joins them. They belong together when they are one recording or share
composer and work. Names are compared without regard to case and spaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from kindred.storage.records import Track

SAME_SECONDS = 2.0


def key(text: str) -> str:
    """A name as it is compared."""
    return " ".join(text.split()).casefold()


def recordings(tracks: Sequence[Track]) -> dict[str, str]:
    """Track id -> the smallest id among the tracks that are the same recording."""
    return _joined(tracks, _copies(tracks))


def groups(tracks: Sequence[Track]) -> dict[str, str]:
    """Track id -> the smallest id among the tracks joined by shared recordings and works."""
    works: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, track in enumerate(tracks):
        if name := work(track):
            works[name].append(row)
    shared = [pair for rows in works.values() for pair in pairwise(rows)]
    return _joined(tracks, [*_copies(tracks), *shared])


def work(track: Track) -> tuple[str, str] | None:
    """Composer and work as they are compared; ``None`` when no work is known."""
    return (key(track.composer), key(track.work)) if key(track.work) else None


def _copies(tracks: Sequence[Track]) -> list[tuple[int, int]]:
    same_bytes: dict[str, list[int]] = defaultdict(list)
    same_names: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, track in enumerate(tracks):
        if track.content_hash:
            same_bytes[track.content_hash].append(row)
        if key(track.title):
            same_names[key(track.title), key(track.composer or track.artist)].append(row)
    pairs = [pair for rows in same_bytes.values() for pair in pairwise(rows)]
    for rows in same_names.values():
        ordered = sorted(rows, key=lambda row: tracks[row].duration)
        pairs += [
            (one, other)
            for one, other in pairwise(ordered)
            if tracks[other].duration - tracks[one].duration <= SAME_SECONDS
            and len({work(tracks[one]), work(tracks[other])} - {None}) < 2
        ]
    return pairs


def _joined(tracks: Sequence[Track], pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.array(list(pairs), np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(tracks), len(tracks)))
    component = connected_components(graph, directed=False)[1]
    smallest: dict[int, str] = {}
    for number, track in zip(component, tracks, strict=True):
        smallest[number] = min(track.track_id, smallest.get(number, track.track_id))
    return {
        track.track_id: smallest[number] for number, track in zip(component, tracks, strict=True)
    }
