"""What a learned scorer must beat. Whatever is fitted is fitted on training clips only.

=============  ====================================================================================
random         numbers drawn by the clip's content, other ones for each aspect
cosine         of the mean and deviation over segments of all layers
centred        the same after the training clips' mean is taken off
whitened       the same in :data:`WHITENED` principal directions of equal variance
best layer     cosine in one layer, standardised; for each aspect the one best in training works
discovery      the sum of all layers' cosines; a layer weighs what it ranks above chance there
descriptors    nearness in the aspect's own audio proxy
=============  ====================================================================================

All are :class:`~kindred.expressive.scoring.Scorer`. :class:`Descriptors` represents proxies,
float32 [n, 8] as :mod:`kindred.expressive.proxies` gives them, in place of features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.clips import Clip
from kindred.expressive.ranking import BATCH, grade_table, measure
from kindred.expressive.scoring import Floats, Scorer

#: Directions that "whitened" keeps; those of little variance are noise.
WHITENED = 64
#: Training clips that layers are tried on as queries, evenly spaced; all are candidates.
QUERIES = 500
_TINY = 1e-8


def pooled(features: Floats) -> Floats:
    """Mean and deviation over segments: [n, segments, layers, dims] -> [n, layers, 2 dims]."""
    return np.concatenate([features.mean(axis=1), features.std(axis=1)], axis=-1)


class Random:
    """Follows nothing, yet gives a clip the same place every time."""

    name = "random"

    def represent(self, features: Floats) -> Floats:
        """float32 [n, aspects, 16]."""
        return np.stack([_drawn(one) for one in features])

    def compare(self, one: Floats, other: Floats) -> Floats:
        """See :class:`~kindred.expressive.scoring.Scorer`."""
        return np.asarray(np.einsum("nad,mad->anm", one, other, optimize=True), np.float32)


class Cosine:
    """Cosine of pooled layers, one score for all aspects.

    Parameters
    ----------
    name : str
    mean : float32 [layers * 2 dims], optional
        Taken off first.
    directions : float32 [layers * 2 dims, kept], optional
        What is projected on then.
    """

    def __init__(
        self, name: str = "cosine", mean: Floats | None = None, directions: Floats | None = None
    ) -> None:
        self.name, self.mean, self.directions = name, mean, directions

    def represent(self, features: Floats) -> Floats:
        """Unit vectors, float32 [n, ...]."""
        flat = pooled(features).reshape(len(features), -1)
        if self.mean is not None:
            flat = flat - self.mean
        if self.directions is not None:
            flat = flat @ self.directions
        return _unit(flat)

    def compare(self, one: Floats, other: Floats) -> Floats:
        """See :class:`~kindred.expressive.scoring.Scorer`."""
        scores = one @ other.T
        return np.broadcast_to(scores, (len(ASPECTS), *scores.shape))


class WeighedLayers:
    """For each aspect a weighted sum of the layers' cosines.

    Parameters
    ----------
    name : str
    mean, scale : float32 [layers, 2 dims]
        Of the training clips; values are standardised by them.
    weights : float32 [aspects, layers]
    """

    def __init__(self, name: str, mean: Floats, scale: Floats, weights: Floats) -> None:
        self.name, self.mean, self.scale, self.weights = name, mean, scale, weights

    def represent(self, features: Floats) -> Floats:
        """Unit vectors, float32 [n, layers, 2 dims]."""
        return _unit((pooled(features) - self.mean) / self.scale)

    def compare(self, one: Floats, other: Floats) -> Floats:
        """See :class:`~kindred.expressive.scoring.Scorer`."""
        scores = np.zeros((len(ASPECTS), len(one), len(other)), np.float32)
        for layer, weights in enumerate(self.weights.T):
            if weights.any():
                scores += weights[:, None, None] * (one[:, layer] @ other[:, layer].T)
        return scores


class Descriptors:
    """Nearness in the aspects' proxies; represents proxies [n, 8] in place of features.

    Parameters
    ----------
    scale : float32 [aspects]
        Deviation of each proxy in the training clips, so that aspects can be summed.
    """

    name = "descriptors"

    def __init__(self, scale: Floats) -> None:
        self.scale = scale

    def represent(self, features: Floats) -> Floats:
        """The aspects' own proxies, standardised, float32 [n, aspects]."""
        return np.asarray(features[:, : len(ASPECTS)] / self.scale, np.float32)

    def compare(self, one: Floats, other: Floats) -> Floats:
        """See :class:`~kindred.expressive.scoring.Scorer`."""
        return np.asarray(-abs(one.T[:, :, None] - other.T[:, None, :]), np.float32)


def fit_baselines(clips: Sequence[Clip], features: Floats, proxies: Floats) -> tuple[Scorer, ...]:
    """All baselines, in the order of the module's table.

    Parameters
    ----------
    clips : sequence of Clip
        Factorial clips of the training works, n.
    features : float32 or float16 [n, segments, layers, dims]
    proxies : float32 [n, 8]

    Raises
    ------
    ExpressiveError
        When a clip is not for training, or there are fewer than two.
    """
    others = sorted({clip.split for clip in clips} - {"train"})
    if others:
        raise ExpressiveError(
            f"Baselines are fitted on clips of train only, not of {', '.join(others)}."
        )
    if len(clips) < 2:
        raise ExpressiveError(f"Baselines need at least two clips of train, got {len(clips)}.")
    pools = np.concatenate(
        [
            pooled(np.asarray(features[start : start + BATCH], np.float32))
            for start in range(0, len(clips), BATCH)
        ]
    )
    flat = pools.reshape(len(pools), -1)
    mean = flat.mean(axis=0)
    centre, scale = pools.mean(axis=0), _deviation(pools)
    gains = _above_chance(clips, _unit((pools - centre) / scale))
    best = np.eye(pools.shape[1], dtype=np.float32)[gains.argmax(axis=1)]
    shares = np.maximum(gains, 0) + _TINY  # where no layer helps, all weigh the same
    weights = np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
    return (
        Random(),
        Cosine(),
        Cosine("centred", mean),
        Cosine("whitened", mean, _whitening(flat - mean)),
        WeighedLayers("best layer", centre, scale, best),
        WeighedLayers("discovery", centre, scale, weights),
        Descriptors(_deviation(np.asarray(proxies[:, : len(ASPECTS)], np.float32))),
    )


def _above_chance(clips: Sequence[Clip], units: Floats) -> NDArray[np.float64]:
    """nDCG@10 of each layer's cosine less chance, among training clips, [aspects, layers].

    Its queries count alike, and its candidates are other works' clips and lures.
    """
    picked = np.linspace(0, len(clips) - 1, min(QUERIES, len(clips))).round().astype(np.intp)
    works = np.array([clip.work for clip in clips])
    levels = np.array([clip.levels for clip in clips], np.int64)
    own = works[picked, None] == works
    found = np.zeros((len(ASPECTS), units.shape[1]))
    for layer in range(units.shape[1]):
        order = np.argsort(-(units[picked, layer] @ units[:, layer].T), axis=1, kind="stable")
        for aspect in range(len(ASPECTS)):
            grades = grade_table(aspect, levels[picked, aspect], levels[:, aspect])
            same = levels[picked, None, aspect] == levels[:, aspect]
            kept = (grades >= 0) & ~(own & same)
            ndcg, chance = measure(order, np.where(own, 0, grades), kept, k=10)[:, 0]
            asked = ~np.isnan(ndcg)
            if asked.any():
                found[aspect, layer] = (ndcg - chance)[asked].mean()
    return found


def _whitening(centred: Floats) -> Floats:
    _, deviations, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(WHITENED, int((deviations > deviations[0] * 1e-4).sum()))
    scale = deviations[:kept] / np.sqrt(len(centred))
    return np.asarray(directions[:kept].T / np.maximum(scale, _TINY), np.float32)


def _deviation(values: Floats) -> Floats:
    """Deviation over clips; 1 for what never varies, such as padding."""
    found = values.std(axis=0)
    return np.asarray(np.where(found > 1e-6, found, 1), np.float32)


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, _TINY), np.float32)


def _drawn(one: Floats) -> Floats:
    digest = hashlib.sha256(np.ascontiguousarray(one).tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return rng.standard_normal((len(ASPECTS), 16), dtype=np.float32)
