"""The port of everything that scores clips: baselines, the oracle and the retriever.

Conventions: a clip's features are float32 [segments, layers, dims]; many clips of one length are
[n, segments, layers, dims]. Higher scores are nearer. The first axis of scores are the aspects, in
the order of :data:`kindred.expressive.aspects.ASPECTS`; a scorer that knows no aspects gives the
same scores for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import KEYS

Floats = NDArray[np.float32]


class Scorer(Protocol):
    """Says how alike clips are in each aspect."""

    @property
    def name(self) -> str:
        """What it is called in tables and files, e.g. ``"cosine"``."""

    def represent(self, features: Floats) -> Floats:
        """What is kept of clips: [n, segments, layers, dims] -> float32 [n, ...]."""

    def compare(self, one: Floats, other: Floats) -> Floats:
        """Scores of two sets of representations: [n, ...], [m, ...] -> float32 [aspects, n, m]."""


def checked_weights(weights: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """Weights of the aspects, float64 [aspects].

    Raises
    ------
    ExpressiveError
        When there is not one for each aspect, one is negative or not finite, or all are 0.
    """
    found = np.asarray(weights, np.float64)
    good = found.shape == (len(KEYS),) and np.isfinite(found).all() and found.min() >= 0
    if not good or not found.any():
        raise ExpressiveError(
            f"Weights are {len(KEYS)} numbers from 0 on, not all 0, for {', '.join(KEYS)}; got"
            f" {found.tolist()}."
        )
    return found


def total(scores: Floats, weights: Floats) -> Floats:
    """One score from the aspects': [aspects, n, m] and weights [aspects] -> float32 [n, m]."""
    return np.asarray(np.tensordot(weights, scores, axes=1), np.float32)
