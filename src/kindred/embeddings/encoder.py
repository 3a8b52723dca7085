"""The encoder port: an implementer writes :meth:`Encoder.encode`, the base gives the rest.

Conventions: audio is mono float32 in [-1, 1] at ``space.sample_rate``; vectors are float32; a track
vector has unit Euclidean length, so that a dot product is the cosine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audio.windows import iter_windows
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class TrackEmbedding:
    """A track's unit vector, float32 [dims], and its window vectors, float32 [n, dims]."""

    vector: Vector
    segments: Vector


def pool(segments: Vector) -> Vector:
    """Mean over time, then unit length.

    Parameters
    ----------
    segments : float32 [n, dims]

    Returns
    -------
    float32 [dims]

    Raises
    ------
    EncoderError
        When there is no segment, a value is not finite, or the mean is zero.
    """
    if segments.ndim != 2 or not len(segments):
        raise EncoderError(f"Pooling needs at least one segment, got shape {segments.shape}.")
    mean = segments.mean(axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    if not np.isfinite(norm) or norm < 1e-12:
        raise EncoderError("The encoder gave no usable vector (zero or not finite).")
    return np.asarray(mean / norm, np.float32)


class Encoder(ABC):
    """Turns windows of audio into vectors of one :class:`EmbeddingSpace`.

    Attributes
    ----------
    space : EmbeddingSpace
        The space the vectors belong to.
    title : str
        Name shown to users.
    batch : int
        Windows given to :meth:`encode` at once.
    """

    space: EmbeddingSpace
    title: str
    batch: int = 16

    @abstractmethod
    def encode(self, batch: Vector) -> Vector:
        """Encode windows.

        Parameters
        ----------
        batch : float32 [n, space.window_samples]

        Returns
        -------
        float32 [n, space.dims]
            Row i depends on window i alone.
        """

    def embed_blocks(self, blocks: Iterable[Vector]) -> TrackEmbedding:
        """Embed a stream of mono blocks at ``space.sample_rate``."""
        space = self.space
        parts = [
            self.encode(windows)
            for windows in iter_windows(
                blocks, window=space.window_samples, hop=space.hop_samples, batch=self.batch
            )
        ]
        if not parts:
            raise EncoderError("There is no audio to embed.")
        segments = np.concatenate(parts)
        return TrackEmbedding(vector=pool(segments), segments=segments)

    def embed(self, audio: Vector) -> TrackEmbedding:
        """Embed a whole clip, float32 [samples] at ``space.sample_rate``."""
        return self.embed_blocks([np.ascontiguousarray(audio, np.float32)])
