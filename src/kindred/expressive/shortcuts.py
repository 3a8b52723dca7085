"""A probe for shortcuts: what loudness, seconds and brightness alone tell of levels."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from kindred.expressive.aspects import ASPECTS, KEYS, LEVELS
from kindred.expressive.scoring import Floats

Values = NDArray[np.float64]
#: Which of loudness, seconds and centroid is an aspect itself, and no shortcut to it: colour is
#: where the spectrum lies.
ITSELF = {"timbre": 2}


class Shortcut:
    """A probe that knows loudness, seconds and centroid alone, and predicts levels.

    Ridge regression on their standardised values, squares and products; for timbre on indicators
    of its levels. What an aspect is itself is left out, see :data:`ITSELF`. Represents proxies
    [n, 8].

    Parameters
    ----------
    proxies : float32 [n, 8]
        Of training clips; the last three are used.
    levels : int [n, aspects]
    """

    name = "shortcut"

    def __init__(self, proxies: Floats, levels: NDArray[np.int64]) -> None:
        values = proxies[:, len(ASPECTS) :].astype(np.float64)
        self.mean = values.mean(axis=0)
        self.scale = np.where(values.std(axis=0) > 1e-9, values.std(axis=0), 1)
        self.fits: list[Values] = []
        for aspect, known in enumerate(ASPECTS):
            terms = self._terms(values, known.key)
            target = levels[:, aspect : aspect + 1]
            wanted = target if known.ordered else target == np.arange(LEVELS)
            penalty = np.eye(terms.shape[1])
            fit = np.linalg.solve(terms.T @ terms + penalty, terms.T @ wanted.astype(np.float64))
            self.fits.append(fit)

    def represent(self, features: Floats) -> Floats:
        """Predictions of every aspect, one after the other."""
        values = features[:, len(ASPECTS) :].astype(np.float64)
        parts = [self._terms(values, key) @ fit for key, fit in zip(KEYS, self.fits, strict=True)]
        return np.asarray(np.concatenate(parts, axis=1), np.float32)

    def compare(self, one: Floats, other: Floats) -> Floats:
        """See :class:`~kindred.expressive.scoring.Scorer`."""
        ends = np.cumsum([0, *(fit.shape[1] for fit in self.fits)])
        return np.stack(
            [
                -np.linalg.norm(one[:, None, a:b] - other[None, :, a:b], axis=2)
                for a, b in pairwise(ends)
            ]
        )

    def _terms(self, values: Values, key: str) -> Values:
        scaled = np.clip((values - self.mean) / self.scale, -5, 5)
        used = np.delete(scaled, ITSELF[key], axis=1) if key in ITSELF else scaled
        columns = range(used.shape[1])
        products = [used[:, i] * used[:, j] for i, j in product(columns, columns) if i <= j]
        return np.column_stack([np.ones(len(used)), used, *products])
