"""The user's own tracks, ranked by any scorer.

A track's score is that of its best window; see :mod:`kindred.expressive.hearing` for the windows
and :mod:`kindred.expressive.scoring` for the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.hearing import (
    WINDOWS,
    LibraryClips,
    Progress,
    analyse,
    analysed,
    clip_features,
)
from kindred.expressive.scoring import Floats, Scorer, total
from kindred.expressive.sources import FeatureSource

__all__ = [
    "RERANKED",
    "WINDOWS",
    "Hit",
    "LibraryClips",
    "Moment",
    "Ranking",
    "Reason",
    "analyse",
    "analysed",
    "clip_features",
    "rank",
    "reasons",
    "represent",
    "rerank",
]

#: Tracks that the oracle compares, nearest first by the retriever.
RERANKED = 200
#: Most moments told for an aspect.
MOMENTS = 3
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
class Moment:
    """Moments that match: seconds (from, to) of the query clip and of the track, and how much."""

    query: tuple[float, float]
    track: tuple[float, float]
    strength: float


@dataclass(frozen=True)
class Reason:
    """An aspect's score, and what speaks for it, the strongest first."""

    aspect: str
    score: float
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Ranking:
    """Tracks, nearest first, and which of the library were compared, in words."""

    hits: tuple[Hit, ...]
    compared: str


def represent(
    scorer: Scorer,
    clips: LibraryClips,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Floats:
    """What a scorer keeps of all clips: float32 [n, ...]. Keep it: ranking is quick from there.

    Raises
    ------
    ExpressiveError
        When there are no clips, or it was cancelled.
    """
    parts = []
    for start in range(0, max(1, len(clips)), _BLOCK):
        block = range(start, min(start + _BLOCK, len(clips)))
        parts.append(scorer.represent(clips.features(block)))
        if progress:
            progress(block.stop, len(clips), scorer.name)
        if cancelled():
            raise ExpressiveError(f"Describing clips for {scorer.name} was stopped.")
    return np.concatenate(parts)


def rank(
    scorer: Scorer,
    query: Floats,
    clips: LibraryClips,
    weights: Floats,
    *,
    kept: Floats | None = None,
    own: str = "",
    k: int | None = None,
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
    k : int, optional
        At most this many tracks.

    Raises
    ------
    ExpressiveError
        When weights or what was kept do not fit, or a score is not finite.
    """
    weights = _weights(weights)
    kept = represent(scorer, clips) if kept is None else kept
    if len(kept) != len(clips):
        raise ExpressiveError(
            f"What {scorer.name} keeps is of {len(kept)} clips, there are {len(clips)} now."
            " Describe them again."
        )
    scores = scorer.compare(scorer.represent(query), kept)[:, 0]
    hits = _best(scorer, scores, weights, clips, np.arange(len(clips)), own)
    return Ranking(tuple(hits[:k]), f"{len(hits)} tracks were compared by {scorer.name}.")


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
    weights = _weights(weights)
    taken = [hit.track_id for hit in first.hits[:count]]
    if not taken:
        return Ranking((), f"There is no track to compare by {scorer.name}.")
    chosen = np.array([clip for track_id in taken for clip in clips.places[track_id]])
    kept = [
        scorer.represent(clips.features(chosen[start : start + _BLOCK].tolist()))
        for start in range(0, len(chosen), _BLOCK)
    ]
    scores = scorer.compare(scorer.represent(query), np.concatenate(kept))[:, 0]
    hits = _best(scorer, scores, weights, clips, chosen, "")
    words = f"The {len(hits)} tracks that a quick ranking put first were compared by {scorer.name}."
    return Ranking(tuple(hits), words)


def reasons(
    scorer: Scorer, query: Floats, hit: Hit, clips: LibraryClips, source: FeatureSource
) -> tuple[Reason, ...]:
    """Why a track is in the answer: for each aspect its score and the moments that speak for it.

    Baselines tell no moments.

    Parameters
    ----------
    scorer : Scorer
        Its ``segments``, where it has one, tells how much two moments speak for a likeness; see
        :meth:`kindred.expressive.scorers.OracleScorer.segments`.
    query : float32 [1, segments, layers, dims]
    hit : Hit
        Of :func:`rank` or :func:`rerank`.
    clips : LibraryClips
    source : FeatureSource
        Of the features.
    """
    segments = getattr(scorer, "segments", None)
    if segments is None:
        return tuple(Reason(key, score, ()) for key, score in hit.aspects.items())
    found = [clip for clip in clips.places[hit.track_id] if clips.starts[clip] == hit.start]
    candidate = clips.features(found)[0]
    return tuple(
        Reason(key, score, _moments(segments(query[0], candidate, key), source.spans, hit.start))
        for key, score in hit.aspects.items()
    )


def _moments(
    likeness: Floats, spans: Sequence[tuple[float, float]], start: float
) -> tuple[Moment, ...]:
    """The pairs of segments with the most likeness, each a quarter of a clip from the others."""
    left, apart = likeness.copy(), max(1, len(spans) // 4)
    found: list[Moment] = []
    while len(found) < MOMENTS:
        one, other = divmod(int(left.argmax()), left.shape[1])
        if not left[one, other] > 0:
            break
        begin, end = spans[other]
        found.append(Moment(spans[one], (start + begin, start + end), float(likeness[one, other])))
        left[max(0, one - apart) : one + apart + 1] = 0
        left[:, max(0, other - apart) : other + apart + 1] = 0
    return tuple(found)


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


def _weights(weights: Floats) -> Floats:
    found = np.asarray(weights, np.float32)
    if found.shape != (len(ASPECTS),) or not np.isfinite(found).all() or found.min() < 0:
        raise ExpressiveError(
            f"Weights are {len(ASPECTS)} numbers from 0 on, for {', '.join(KEYS)}; got {weights}."
        )
    if not found.any():
        raise ExpressiveError("All weights are 0: give an aspect some weight.")
    return found
