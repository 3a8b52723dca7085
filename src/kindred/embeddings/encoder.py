"""The encoder port: an implementer writes :meth:`Encoder.encode`, the base gives the rest.

Conventions: audio is mono float32 in [-1, 1] at ``space.sample_rate``; vectors are float32; a track
vector has unit Euclidean length, so that a dot product is the cosine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kindred.audio.windows import iter_windows, spread_windows
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


class Sink(Protocol):
    """Takes what an encoder gives beside its vectors, track by track, in order of time."""

    def add(self, content_hash: str, layers: Vector) -> None:
        """Take what belongs to a track's next windows, float32 [n, ...]."""

    def finish(self, content_hash: str) -> None:
        """Keep a track: it is whole."""

    def drop(self, content_hash: str) -> None:
        """Forget a track: it could not be used."""

    def close(self) -> None:
        """Forget every track that was not finished."""


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
    count : int or None
        Windows of a track that are encoded, evenly spaced; ``None`` means all of them.
    """

    space: EmbeddingSpace
    title: str
    batch: int = 16
    count: int | None = None

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

    def windows(self, blocks: Iterable[Vector]) -> Iterator[Vector]:
        """Cut a stream into the windows this encoder hears.

        Parameters
        ----------
        blocks : iterable of float32 [m]
            Mono, at ``space.sample_rate``; read to the end.

        Yields
        ------
        float32 [n, space.window_samples]
            ``1 <= n <= batch``.
        """
        window, hop = self.space.window_samples, self.space.hop_samples
        if self.count is None:
            yield from iter_windows(blocks, window=window, hop=hop, batch=self.batch)
            return
        chosen = spread_windows(blocks, window=window, hop=hop, count=self.count)
        for start in range(0, len(chosen), self.batch):
            yield chosen[start : start + self.batch]

    def pool(self, segments: Vector) -> Vector:
        """Make a track vector of window vectors; the mean over time unless an encoder knows more.

        Parameters
        ----------
        segments : float32 [n, dims]

        Returns
        -------
        float32 [dims]
            Unit length.
        """
        return pool(segments)

    def encode_more(self, batch: Vector) -> tuple[Vector, Vector | None]:
        """Encode windows, and give what else is worth keeping of each: float32 [n, ...] or None."""
        return self.encode(batch), None

    def sink(self, folder: Path) -> Sink | None:
        """Where an ingest puts what :meth:`encode_more` gives beside the vectors, if anywhere."""
        return None

    def embed_blocks(self, blocks: Iterable[Vector]) -> TrackEmbedding:
        """Embed a stream of mono blocks at ``space.sample_rate``."""
        parts = [self.encode(windows) for windows in self.windows(blocks)]
        if not parts:
            raise EncoderError("There is no audio to embed.")
        segments = np.concatenate(parts)
        return TrackEmbedding(vector=self.pool(segments), segments=segments)

    def embed(self, audio: Vector) -> TrackEmbedding:
        """Embed a whole clip, float32 [samples] at ``space.sample_rate``."""
        return self.embed_blocks([np.ascontiguousarray(audio, np.float32)])
