"""The trained scorers, read from their folders.

What a scorer keeps of a clip are its aspects' embeddings, float32 [aspects, dims]. A retriever's
are of unit length, so with weights w the vector concat(sqrt(w_a) z_a) / sqrt(sum w) has, with
another clip's, the dot product sum(w_a s_a) / sum w: any index of vectors serves. An index of
equally weighted vectors serves any weights of a query, see :meth:`RetrieverScorer.query_vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from kindred.errors import ExpressiveError
from kindred.expressive import networks
from kindred.expressive.aspects import KEYS
from kindred.expressive.model_files import read_model
from kindred.expressive.scoring import Floats, checked_weights
from kindred.expressive.statistics import Summary


@dataclass(frozen=True, eq=False)
class _Trained:
    """A scorer of our own; see :class:`kindred.expressive.scoring.Scorer`.

    Attributes
    ----------
    name : str
        "oracle", "projection", "distilled" or "untrained".
    feature_id : str
        Of the features that it was trained on.
    """

    _KINDS: ClassVar[tuple[str, ...]] = ()

    name: str
    feature_id: str
    _summary: Summary = field(repr=False)
    _weights: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a trained scorer.

        Raises
        ------
        ExpressiveError
            When the folder has no scorer of this class, or its files are damaged.
        """
        kind, feature_id, summary, weights = read_model(folder)
        if kind not in cls._KINDS:
            raise ExpressiveError(
                f"{folder} holds a scorer of the kind {kind!r}, not {' or '.join(cls._KINDS)}."
            )
        return cls(kind, feature_id, summary, weights)

    def represent(self, features: Floats) -> Floats:
        """Embeddings: float [n, segments, layers, dims] -> float32 [n, aspects, dims]."""
        import torch

        with torch.no_grad():
            found = networks.embed(self._weights, torch.from_numpy(self._summary(features)))
        return np.ascontiguousarray(found.numpy())

    def compare(self, one: Floats, other: Floats) -> Floats:
        """Scores of two sets of embeddings: float32 [aspects, n, m]."""
        import torch

        with torch.no_grad():
            found = networks.compare(
                self._weights,
                torch.from_numpy(np.ascontiguousarray(one, np.float32)),
                torch.from_numpy(np.ascontiguousarray(other, np.float32)),
            )
        return np.asarray(found.numpy(), np.float32)

    def segments(self, one: Floats, other: Floats, aspect: str) -> Floats:
        """How alike each pair of moments of two clips is in an aspect.

        A moment is the half of a clip around a segment, scored as if it was all there is:
        statistics of order need as much. Segments near an end share the first or last half.

        Parameters
        ----------
        one, other : float [segments, layers, dims]
        aspect : str
            One of :data:`kindred.expressive.aspects.KEYS`.

        Returns
        -------
        float32 [segments, segments]

        Raises
        ------
        ExpressiveError
            For an unknown aspect.
        """
        if aspect not in KEYS:
            raise ExpressiveError(f"Aspects are {', '.join(KEYS)}; got {aspect!r}.")
        kept = [self.represent(_moments(each)) for each in (one, other)]
        return np.ascontiguousarray(self.compare(*kept)[KEYS.index(aspect)])


class OracleScorer(_Trained):
    """The slow scorer, which reads pairs."""

    _KINDS: ClassVar[tuple[str, ...]] = ("oracle",)


class RetrieverScorer(_Trained):
    """The fast scorer: one vector a clip, one dot product a pair."""

    _KINDS: ClassVar[tuple[str, ...]] = ("projection", "distilled")

    def vectors(self, features: Floats, weights: Floats | None = None) -> Floats:
        """Vectors of unit length: float [n, segments, layers, dims] -> float32 [n, aspects * dims].

        Parameters
        ----------
        weights : float [aspects], optional
            From 0 on; equal without it.
        """
        z = self.represent(features)
        given = checked_weights(np.ones(len(KEYS)) if weights is None else weights)
        root = np.sqrt(np.asarray(given, np.float32))
        return _unit(z * root[:, None])

    def query_vectors(self, vectors: Floats, weights: Floats) -> Floats:
        """Queries to an index of equally weighted vectors, from such vectors.

        A query's dot product with a vector of the index is sum(w_a s_a) times the same number for
        all, 1 / (sqrt(aspects) |w|), so hits come in the order of the weighted sum.

        Parameters
        ----------
        vectors : float32 [n, aspects * dims]
            Of :meth:`vectors` with equal weights.
        weights : float [aspects]

        Returns
        -------
        float32 [n, aspects * dims]
            Of unit length.
        """
        z = vectors.reshape(len(vectors), len(KEYS), -1)
        return _unit(z * np.asarray(checked_weights(weights), np.float32)[:, None])


def untrained(seed: int, *, like: Path) -> OracleScorer | RetrieverScorer:
    """A placebo: a scorer of the shape and with the features of another, with random weights.

    Raises
    ------
    ExpressiveError
        When the other cannot be read.
    """
    import torch

    kind, feature_id, summary, weights = read_model(like)
    aspects, width, hidden = weights["hidden.weight"].shape
    layers = weights["layers"].shape[1]
    random = networks.new_weights(
        aspects=aspects,
        layers=layers,
        kept=width // layers,
        hidden=hidden,
        dims=weights["out.weight"].shape[2],
        pairs=kind == "oracle",
        generator=torch.Generator().manual_seed(seed),
    )
    scorer = OracleScorer if kind == "oracle" else RetrieverScorer
    return scorer("untrained", feature_id, summary, random)


def _moments(features: Floats) -> Floats:
    """The half of a clip around each segment: [s, ...] -> [s, (s + 1) // 2, ...]."""
    count = len(features)
    width = (count + 1) // 2
    starts = np.clip(np.arange(count) - width // 2, 0, count - width)
    return np.stack([features[start : start + width] for start in starts])


def _unit(parts: Floats) -> Floats:
    flat = parts.reshape(len(parts), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(norm, 1e-12), np.float32)
