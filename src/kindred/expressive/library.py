"""The user's own tracks, ranked by any scorer.

A track's score is that of its best window; see :mod:`kindred.expressive.hearing` for the windows
and :mod:`kindred.expressive.scoring` for the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import KEYS
from kindred.expressive.hearing import LibraryClips
from kindred.expressive.scoring import Floats, Scorer, checked_weights, total

#: Tracks that the oracle compares, nearest first by the retriever.
RERANKED = 200
#: Clips whose features are held at once.
_BLOCK = 256


@dataclass(frozen=True)
class Hit:
    """A track's best window: ``start`` in seconds, the weighted score, each aspect's by its key."""

    track_id: str
    start: float
    total: float
    aspects: dict[str, float]


@dataclass(frozen=True)
class Ranking:
    """Tracks, nearest first, and which of the library were compared, in words."""

    hits: tuple[Hit, ...]
    compared: str


def represent(scorer: Scorer, clips: LibraryClips) -> Floats:
    """What a scorer keeps of all clips: float32 [n, ...]. Keep it: ranking is quick from there.

    Raises
    ------
    ExpressiveError
        When there are no clips.
    """
    return _represent(scorer, clips, np.arange(len(clips)))


def rank(
    scorer: Scorer,
    query: Floats,
    clips: LibraryClips,
    weights: Floats,
    *,
    kept: Floats | None = None,
    own: str = "",
) -> Ranking:
    """Rank tracks by their best window; ties order by ``track_id``.

    Parameters
    ----------
    scorer : Scorer
    query : float32 [1, segments, layers, dims]
        Features of the clip that is asked about.
    clips : LibraryClips
    weights : float [aspects]
        Not negative, not all 0.
    kept : float32 [n, ...], optional
        What :func:`represent` gave for these clips; made here when left out.
    own : str
        The query's track, which is left out.

    Raises
    ------
    ExpressiveError
        When weights or what was kept do not fit, or a score is not finite.
    """
    weights = np.asarray(checked_weights(weights), np.float32)
    kept = represent(scorer, clips) if kept is None else kept
    if len(kept) != len(clips):
        raise ExpressiveError(
            f"What {scorer.name} keeps is of {len(kept)} clips, there are {len(clips)} now."
            " Describe them again."
        )
    scores = scorer.compare(scorer.represent(query), kept)[:, 0]
    hits = _best(scorer, scores, weights, clips, np.arange(len(clips)), own)
    return Ranking(tuple(hits), f"{len(hits)} tracks were compared by {scorer.name}.")


def rerank(
    scorer: Scorer,
    query: Floats,
    clips: LibraryClips,
    weights: Floats,
    first: Ranking,
    *,
    count: int = RERANKED,
) -> Ranking:
    """Rank the best tracks of a quick ranking anew, by a scorer too slow for all of the library.

    Parameters
    ----------
    scorer, query, clips, weights
        As of :func:`rank`.
    first : Ranking
        Its nearest ``count`` tracks are compared, window by window; no other is in the answer.
    """
    weights = np.asarray(checked_weights(weights), np.float32)
    taken = [hit.track_id for hit in first.hits[:count]]
    if not taken:
        return Ranking((), f"There is no track to compare by {scorer.name}.")
    chosen = np.array([clip for track_id in taken for clip in clips.places[track_id]])
    scores = scorer.compare(scorer.represent(query), _represent(scorer, clips, chosen))[:, 0]
    hits = _best(scorer, scores, weights, clips, chosen, "")
    words = f"The {len(hits)} tracks that a quick ranking put first were compared by {scorer.name}."
    return Ranking(tuple(hits), words)


def _represent(scorer: Scorer, clips: LibraryClips, chosen: NDArray[np.intp]) -> Floats:
    """What a scorer keeps of the chosen clips, of which few are held at once."""
    starts = range(0, max(1, len(chosen)), _BLOCK)
    blocks = (chosen[start : start + _BLOCK].tolist() for start in starts)
    return np.concatenate([scorer.represent(clips.features(block)) for block in blocks])


def _best(
    scorer: Scorer,
    scores: Floats,
    weights: Floats,
    clips: LibraryClips,
    chosen: NDArray[np.intp],
    own: str,
) -> list[Hit]:
    """The best of the chosen clips of each track, nearest first; scores are [aspects, chosen]."""
    if not np.isfinite(scores).all():
        raise ExpressiveError(f"{scorer.name} gave a score that is not finite. Train it again.")
    totals = total(scores[:, None], weights)[0]
    best: dict[str, int] = {}
    for place in np.lexsort((clips.starts[chosen], -totals)):
        best.setdefault(clips.track_ids[chosen[place]], int(place))
    best.pop(own, None)
    ranked = sorted(best.items(), key=lambda item: (-totals[item[1]], item[0]))
    return [
        Hit(
            track_id,
            float(clips.starts[chosen[place]]),
            float(totals[place]),
            dict(zip(KEYS, map(float, scores[:, place]), strict=True)),
        )
        for track_id, place in ranked
    ]
