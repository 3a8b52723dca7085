"""Single measures behind the gates: does each score follow its own aspect, and nothing else?

Conventions: scores are float32 [aspects, n, m] and higher is nearer; levels are int [n, aspects],
-1 where not known. Distances of timbre's levels are 0 or 1. All draws follow a seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.clips import Clip
from kindred.expressive.scoring import Floats, Scorer

Ints = NDArray[np.int64]
Values = NDArray[np.float64]
#: Triples drawn for each two aspects.
TRIPLES = 2_000
#: Levels that a triple's clips are apart at least where they differ.
APART = 2
#: Of re-rendered clips it is asked at these numbers of levels.
STEPS = (2, 3)


def level_table(clips: Sequence[Clip]) -> Ints:
    """Levels [n, aspects]."""
    return np.array([clip.levels for clip in clips], np.int64).reshape(len(clips), len(ASPECTS))


def distances(one: Ints, other: Ints) -> Ints:
    """How many levels lie between: [n, aspects], [m, aspects] -> int64 [aspects, n, m]."""
    apart = abs(one.T[:, :, None] - other.T[:, None, :])
    ordered = np.array([aspect.ordered for aspect in ASPECTS])
    return np.where(ordered[:, None, None], apart, apart > 0).astype(np.int64)


def other_works(clips: Sequence[Clip]) -> NDArray[np.bool_]:
    """Pairs of clips of different works whose levels are known, bool [n, n]."""
    works = np.array([clip.work for clip in clips])
    known = (level_table(clips) >= 0).all(axis=1)
    return np.asarray((works[:, None] != works) & known[:, None] & known)


def faithfulness(scores: Floats, clips: Sequence[Clip]) -> Values:
    """Which aspect each score follows.

    ::

        M[a, b] = partial Spearman(s_a, -|levels' distance in b|), given the distances in all others

    over pairs of clips of different works. Timbre is the same or not, so that even a score that
    always tells reaches about .7 where a fifth of the pairs is alike, unless it has two values.

    Returns
    -------
    float64 [aspects, aspects]
        A row a score. 0 where a score is the same for all pairs; not a number where a level is.
    """
    from scipy.stats import rankdata

    found = np.full((len(ASPECTS), len(ASPECTS)), np.nan)
    pairs = other_works(clips)
    if not pairs.any():
        return found
    levels = level_table(clips)
    apart = np.stack([rankdata(-of[pairs]) for of in distances(levels, levels)])
    varied = np.flatnonzero(apart.std(axis=1) > 0)
    for row, of in enumerate(scores):
        ranks = rankdata(of[pairs])
        if ranks.std() == 0:
            found[row, varied] = 0
            continue
        both = np.corrcoef(np.vstack([ranks, apart[varied]]))
        for place, aspect in enumerate(varied, start=1):
            found[row, aspect] = _partial(both, place)
    return found


@dataclass(frozen=True)
class Turned:
    """How often moving all weight from one aspect to another turns an order around.

    Attributes
    ----------
    triples, groups : float64 [aspects, aspects]
        Share of what is right; symmetric; not a number where nothing is asked, as on the diagonal.
    """

    triples: Values
    groups: Values


def counterfactual_weights(scores: Floats, clips: Sequence[Clip], *, seed: int = 0) -> Turned:
    """Move all weight from aspect a to b, and see who comes first.

    A triple is a query, x at its level in a and at least two apart in b (any other in timbre), and
    y the reverse, of other works. It is right when the weights on a rank x before y, and those on b
    rank y before x; ties are wrong. Groups are all such x and all such y of a query, compared by
    their mean scores.
    """
    levels = level_table(clips)
    pairs, apart = other_works(clips), distances(levels, levels)
    rng = np.random.default_rng(seed)
    found = Turned(*(np.full((len(ASPECTS), len(ASPECTS)), np.nan) for _ in range(2)))
    for a, b in combinations(range(len(ASPECTS)), 2):
        first = pairs & (apart[a] == 0) & (apart[b] >= _far(b))
        second = pairs & (apart[b] == 0) & (apart[a] >= _far(a))
        able = np.flatnonzero(first.any(axis=1) & second.any(axis=1))
        if not len(able):
            continue
        query = rng.choice(able, TRIPLES)
        x, y = (_drawn(rng, mask[query]) for mask in (first, second))
        by_a, by_b = scores[a, query], scores[b, query]
        of = np.arange(len(query))
        right = (by_a[of, x] > by_a[of, y]) & (by_b[of, y] > by_b[of, x])
        found.triples[a, b] = found.triples[b, a] = right.mean()
        more_a, more_b = (
            _mean_of(scores[of], first)[able] - _mean_of(scores[of], second)[able] for of in (a, b)
        )
        found.groups[a, b] = found.groups[b, a] = ((more_a > 0) & (more_b < 0)).mean()
    return found


@dataclass(frozen=True)
class Sweeps:
    """What re-rendering one thing alone does to scores.

    Attributes
    ----------
    falls : float64 [aspects]
        Share of ordered pairs of a base's clips, one farther from it in the aspect than the other,
        of which the farther scores lower. "Nothing moved" is one of them: the median of the clips
        in which something else moved.
    moves : float64 [aspects, aspects]
        How far re-rendering the row's aspect takes the column's score from what the base scores
        with itself, over the score's range between pairs of works (5th to 95th percentile).
    controls : float64 [aspects]
        The same for transpositions and textures.
    turned : float64 [len(STEPS), aspects, aspects]
        Of a base's clips x, so many levels away or more in b alone (any other in timbre), and y, so
        in a alone: how often x comes before y by the weight on a, and after it by that on b.
    bases : int
    """

    falls: Values
    moves: Values
    controls: Values
    turned: Values
    bases: int


def sweeps(scorer: Scorer, clips: Sequence[Clip], kept: Floats, ranges: Values) -> Sweeps:
    """Score what was re-rendered against its base.

    Parameters
    ----------
    scorer : Scorer
    clips : sequence of Clip
        Sweeps, and the clips that are their bases; others are not used.
    kept : float32 [n, ...]
        What the scorer represents of them.
    ranges : float64 [aspects]
        As :func:`score_ranges` gives them.
    """
    row = {clip.clip_id: i for i, clip in enumerate(clips)}
    varied: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.set == "sweep" and clip.base in row:
            varied[clip.base].append(clip)
    falls: list[list[float]] = [[] for _ in ASPECTS]
    moved: dict[tuple[str, int], list[float]] = defaultdict(list)
    turns: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for base, of in sorted(varied.items()):
        at = row[base]
        rows = [at, *(row[clip.clip_id] for clip in of)]
        scores = scorer.compare(kept[at : at + 1], kept[rows])[:, 0].astype(np.float64)
        drops = abs(scores[:, :1] - scores[:, 1:]) / ranges[:, None]
        for clip, drop in zip(of, drops.T, strict=True):
            for aspect in range(len(ASPECTS)):
                moved[clip.varies if clip.varies in KEYS else "", aspect].append(drop[aspect])
        apart = distances(level_table([clips[at]]), level_table(of))[:, 0]
        for step, least in enumerate(STEPS):
            far = [
                1 + np.flatnonzero([clip.varies == key for clip in of] & (apart[a] >= least))
                if ASPECTS[a].ordered
                else 1 + np.flatnonzero([clip.varies == key for clip in of])
                for a, key in enumerate(KEYS)
            ]
            for a, b in combinations(range(len(ASPECTS)), 2):
                x, y = np.meshgrid(far[b], far[a])
                right = (scores[a, x] > scores[a, y]) & (scores[b, y] > scores[b, x])
                turns[step, a, b] += right.ravel().tolist()
        for aspect, key in enumerate(KEYS):
            mine = np.array([clip.varies == key for clip in of])
            if not mine.any() or mine.all():
                continue
            levels = np.array([clip.levels for clip in of])[mine]
            own = distances(level_table([clips[at]]), levels)[aspect, 0]
            falls[aspect] += _ordered(
                np.append(own, 0),
                np.append(scores[aspect, 1:][mine], np.median(scores[aspect, 1:][~mine])),
            )
    means = {key: float(np.mean(values)) for key, values in moved.items()}
    turned = np.full((len(STEPS), len(ASPECTS), len(ASPECTS)), np.nan)
    for (step, a, b), values in turns.items():
        turned[step, a, b] = turned[step, b, a] = np.mean(values) if values else np.nan
    columns = range(len(ASPECTS))
    return Sweeps(
        falls=np.array([np.mean(values) if values else np.nan for values in falls]),
        moves=np.array([[means.get((key, b), np.nan) for b in columns] for key in KEYS]),
        controls=np.array([means.get(("", b), np.nan) for b in columns]),
        turned=turned,
        bases=len(varied),
    )


def score_ranges(scores: Floats, clips: Sequence[Clip]) -> Values:
    """From the 5th to the 95th percentile of each score over pairs of works, float64 [aspects].

    Not a number where a score does not vary, or there are no such pairs.
    """
    pairs = other_works(clips)
    if not pairs.any():
        return np.full(len(scores), np.nan)
    low, high = np.percentile(scores[:, pairs], (5, 95), axis=1)
    return np.where(high > low, high - low, np.nan).astype(np.float64)


def _partial(correlations: Values, place: int) -> float:
    """Correlation of the first variable with the one at ``place``, given all others."""
    ends = [0, place]
    given = [i for i in range(len(correlations)) if i not in ends]
    across = correlations[np.ix_(ends, given)]
    inverse = np.linalg.pinv(correlations[np.ix_(given, given)])
    left = correlations[np.ix_(ends, ends)] - across @ inverse @ across.T
    if left.diagonal().min() < 1e-9:  # the others say all of it
        return 0.0
    return float(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]))


def _drawn(rng: np.random.Generator, masks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """One column of each row that is true there, all as likely."""
    return np.asarray(np.where(masks, rng.random(masks.shape), -1).argmax(axis=1))


def _mean_of(values: Floats, masks: NDArray[np.bool_]) -> Values:
    return np.asarray((values * masks).sum(axis=1) / np.maximum(masks.sum(axis=1), 1))


def _far(aspect: int) -> int:
    return APART if ASPECTS[aspect].ordered else 1


def _ordered(apart: Ints, scores: Values) -> list[float]:
    """1 for each two of which the farther scores lower, else 0."""
    return [
        float(scores[i] > scores[j] if apart[i] < apart[j] else scores[i] < scores[j])
        for i, j in combinations(range(len(apart)), 2)
        if apart[i] != apart[j]
    ]
