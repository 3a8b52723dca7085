"""What is kept of a clip before anything is learned: statistics over its segments that know order.

Two performances with the same segments in another order have the same mean, so phrasing would be
lost in it. Each dimension of each layer is therefore described by its mean and deviation, by how
far it moves within 1, 2 and 4 segments, and by its autocorrelation at 2, 4 and 8. They are
standardised and projected on each layer's principal components, all fitted on train clips only.

Conventions: features are float [n, segments, layers, dims], summaries float32 [n, layers, kept].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError

Floats = NDArray[np.float32]

MOVES, CORRELATIONS = (1, 2, 4), (2, 4, 8)
#: How many numbers describe a dimension.
STATISTICS = 2 + len(MOVES) + len(CORRELATIONS)
KEPT = 32
#: Standardised values are cut here, so that one odd clip cannot decide.
_LIMIT = 5.0
#: A dimension that deviates less than this, as a share of its size, is constant.
_CONSTANT = 1e-5
#: Clips described at once.
_BLOCK = 512


def describe(values: Floats) -> Floats:
    """Statistics over segments.

    Parameters
    ----------
    values : float [n, segments, dims]

    Returns
    -------
    float32 [n, STATISTICS * dims]
        Where there are too few segments for a lag, 0.
    """
    values = np.asarray(values, np.float32)
    n, segments, dims = values.shape
    out = np.zeros((n, STATISTICS, dims), np.float32)
    out[:, 0] = values.mean(axis=1)
    centred = values - out[:, :1]
    variance = np.square(centred).mean(axis=1)
    out[:, 1] = np.sqrt(variance)
    column = 2
    for lag in MOVES:
        if lag < segments:
            moved = values[:, lag:] - values[:, :-lag]
            out[:, column] = np.sqrt(np.square(moved).mean(axis=1))
        column += 1
    for lag in CORRELATIONS:
        if lag < segments:
            products = (centred[:, lag:] * centred[:, :-lag]).mean(axis=1)
            out[:, column] = products / np.maximum(variance, 1e-6)
        column += 1
    return out.reshape(n, STATISTICS * dims)


@dataclass(frozen=True)
class Summary:
    """A fitted projection of features.

    Attributes
    ----------
    mean, scale : float32 [layers, STATISTICS * dims]
        Standardise; the scale of a statistic that was constant is 0, which drops it.
    components : float32 [layers, kept, STATISTICS * dims]
        Principal components. Each layer's are divided by one number, so that the layers have the
        same mean square; where a layer has fewer, rows are 0.
    """

    mean: Floats
    scale: Floats
    components: Floats

    def __call__(self, features: Floats) -> Floats:
        """Summaries of clips: float [n, segments, layers, dims] -> float32 [n, layers, kept].

        Raises
        ------
        ExpressiveError
            When the features are not of the shape that this was fitted on, or not finite.
        """
        layers, kept, width = self.components.shape
        if features.ndim != 4 or features.shape[2:] != (layers, width // STATISTICS):
            raise ExpressiveError(
                f"A scorer takes features [n, segments, {layers}, {width // STATISTICS}], but got"
                f" {list(features.shape)}. It was trained on another feature source: choose the"
                " source that its config.json names, or train again."
            )
        out = np.empty((len(features), layers, kept), np.float32)
        for start in range(0, len(features), _BLOCK):
            rows = slice(start, start + _BLOCK)
            for layer in range(layers):
                values = _standardise(
                    describe(features[rows, :, layer]), self.mean[layer], self.scale[layer]
                )
                out[rows, layer] = values @ self.components[layer].T
        if not np.isfinite(out).all():
            row = int(np.flatnonzero(~np.isfinite(out).all(axis=(1, 2)))[0])
            raise ExpressiveError(
                f"The features of clip {row} hold values that are not numbers. Extract them again."
            )
        return out

    def tensors(self) -> dict[str, Floats]:
        """The arrays by the names under which they are stored."""
        return {f"summary.{key}": getattr(self, key) for key in ("mean", "scale", "components")}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Floats]) -> Summary:
        """The opposite of :meth:`tensors`."""
        return cls(*(tensors[f"summary.{key}"] for key in ("mean", "scale", "components")))


def fit_summary(features: Floats, *, kept: int = KEPT) -> Summary:
    """Fit a projection on train clips.

    Parameters
    ----------
    features : float [n, segments, layers, dims]
    kept : int
        Components of each layer.

    Raises
    ------
    ExpressiveError
        With fewer than two clips, features that are not finite, or that never differ.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    if features.ndim != 4 or len(features) < 2:
        raise ExpressiveError(
            "A projection is fitted on features [n, segments, layers, dims] of at least two clips,"
            f" but got {list(features.shape)}. Make a larger set of clips."
        )
    n, _, layers, dims = features.shape
    width = STATISTICS * dims
    mean, scale = np.zeros((2, layers, width), np.float32)
    components = np.zeros((layers, kept, width), np.float32)
    with threadpool_limits(1):  # sums in another order would give other bytes
        for layer in range(layers):
            values = np.concatenate(
                [describe(features[i : i + _BLOCK, :, layer]) for i in range(0, n, _BLOCK)]
            )
            if not np.isfinite(values).all():
                raise ExpressiveError(
                    f"Layer {layer} of the features holds values that are not numbers. Extract"
                    " them again."
                )
            mean[layer] = values.mean(axis=0, dtype=np.float64)
            deviation = values.std(axis=0, dtype=np.float64)
            varies = deviation > _CONSTANT * (1 + np.abs(mean[layer]))
            scale[layer, varies] = 1 / deviation[varies]
            used = int(varies.sum())
            if not used:
                continue
            values = _standardise(values, mean[layer], scale[layer])[:, varies]
            found = min(kept, used, n - 1)
            model = PCA(found, svd_solver="randomized", random_state=0).fit(values)
            size = np.sqrt(model.explained_variance_.mean())
            components[layer, :found, varies] = (model.components_ / size).T
    if not scale.any():
        raise ExpressiveError("All clips have the same features. Extract them again.")
    return Summary(mean, scale, components)


def _standardise(values: Floats, mean: Floats, scale: Floats) -> Floats:
    return np.clip((values - mean) * scale, -_LIMIT, _LIMIT)
