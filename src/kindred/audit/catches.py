"""Items whose answer is known: for catch trials and for practice.

Two stretches of one recording that are as alike as it has them, against stretches of tracks that
every system places far away and that are by another composer. Their tracks are never the reference
of a real item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kindred.audit.rankings import Ranking, Rankings
from kindred.audit.related import key
from kindred.audit.stretches import Stretches
from kindred.audit.study import Candidate, Design, Item
from kindred.errors import AuditError
from kindred.storage.records import Track

#: Shortest clip of an item whose answer is known, in seconds.
SHORTEST_CLIP = 1.5
#: Share of the tracks, from the farthest on, among which those not used yet are preferred.
_FAR = 0.25


@dataclass(frozen=True)
class Easy:
    """A track, and tracks far from it.

    ``other_composers`` tells whether these are known to be by other composers.
    """

    query: str
    far: tuple[str, ...]
    other_composers: bool


def find_easy(
    design: Design,
    queries: Sequence[str],
    *,
    tracks: Mapping[str, Track],
    systems: Rankings,
    stretches: Stretches,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Easy]:
    """Choose tracks for the catch trials and the practice of a study.

    Parameters
    ----------
    queries : sequence of str
        Tracks that may be taken, the first ones first; long ones with a known composer are
        preferred.

    Raises
    ------
    AuditError
        When there are too few.
    """
    wanted = design.catches + design.practice
    suited = [query for query in queries if stretches.half(query) >= SHORTEST_CLIP]
    suited.sort(
        key=lambda query: (
            stretches.half(query) < design.clip_seconds,
            not key(tracks[query].composer),
        )
    )
    found: list[Easy] = []
    used: set[str] = set()
    for query in suited:
        if len(found) == wanted or cancelled():
            return found
        if not stretches.known(query):
            continue
        rankings = systems.to([query], k=design.k, whole=True)[query]
        easy = _farthest(query, rankings, tracks, stretches, used)
        if easy.far:
            found.append(easy)
            used.add(easy.far[0])
    if len(found) < wanted:
        least = 2 * SHORTEST_CLIP + 1
        raise AuditError(
            f"Only {len(found)} of {design.catches} catch and {design.practice} practice trials can"
            f" be drawn from {len(queries)} tracks: each needs a track of its own of {least:g} s or"
            " more with vectors in every system, and another track far from it. Ask for fewer of"
            " them, or add tracks."
        )
    return found


def _farthest(
    query: str,
    rankings: Mapping[str, Ranking],
    tracks: Mapping[str, Track],
    stretches: Stretches,
    used: set[str],
    *,
    count: int = 4,
) -> Easy:
    first, *rest = rankings.values()
    common = {
        answer.track_id: min(
            ranking[recording].placed.rank / len(ranking) for ranking in rankings.values()
        )
        for recording, answer in first.items()
        if all(recording in ranking for ranking in rest)
    }
    own = key(tracks[query].composer)
    others = [one for one in common if own and key(tracks[one].composer) not in ("", own)]
    ordered = sorted(others or common, key=lambda track_id: (-common[track_id], track_id))
    last = max(count, round(_FAR * len(ordered)))
    # The same odd track in every catch trial would give them away.
    fresh_first = sorted(ordered[:last], key=lambda track_id: track_id in used) + ordered[last:]
    chosen: list[str] = []
    for track_id in fresh_first:
        if len(chosen) == count:
            break
        if stretches.known(track_id):
            chosen.append(track_id)
    return Easy(query, tuple(chosen), bool(others))


def easy_item(
    design: Design,
    easy: Easy,
    *,
    item_id: str,
    kind: Literal["catch", "practice"],
    stratum: str,
    size: int,
    stretches: Stretches,
    rng: np.random.Generator,
) -> Item:
    """Make an item of a track.

    Parameters
    ----------
    size : int
        How many candidates, where there are as many far tracks and the form has as many.
    """
    odd = design.form == "odd"
    far = easy.far[: 1 if odd else max(1, size - 1)]
    seconds = stretches.length(far, min(design.clip_seconds, stretches.half(easy.query)))
    one, same = stretches.twice(easy.query, seconds=seconds)
    others = [Candidate(stretches.anywhere(track_id, seconds=seconds)) for track_id in far]
    candidates = [Candidate(one), Candidate(same), *others] if odd else [Candidate(same), *others]
    order = rng.permutation(len(candidates)).tolist()
    return Item(
        item_id=item_id,
        kind=kind,
        stratum=stratum,
        reference=None if odd else one,
        candidates=tuple(candidates[place] for place in order),
        expected=order.index(2 if odd else 0),
    )
