"""What makes two vectors comparable.

An :class:`EmbeddingSpace` names everything a vector depends on besides the audio. Vectors of two
spaces never meet: :func:`check_same_space` raises, nothing is padded or cut.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from kindred.errors import SpaceMismatch


@dataclass(frozen=True)
class EmbeddingSpace:
    """Identity of an embedding space.

    Attributes
    ----------
    model : str
        Name under which the encoder is registered, e.g. ``"clap"``.
    revision : str
        Version of the weights or of the code that computes the vectors.
    sample_rate : int
        Hz the model hears.
    window, hop : float
        Seconds of one window and from one window to the next.
    pooling : str
        How window vectors become one track vector, e.g. ``"mean"``.
    dims : int
        Length of a vector.
    """

    model: str
    revision: str
    sample_rate: int
    window: float
    hop: float
    pooling: str
    dims: int

    @property
    def space_id(self) -> str:
        """Sixteen hexadecimal digits that differ whenever any attribute differs."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return round(self.window * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """Samples from one window's start to the next."""
        return round(self.hop * self.sample_rate)

    def to_dict(self) -> dict[str, Any]:
        """All attributes and the ``space_id``, ready for JSON."""
        return {"space_id": self.space_id, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EmbeddingSpace:
        """Inverse of :meth:`to_dict`."""
        return cls(**{key: value for key, value in values.items() if key != "space_id"})


def check_same_space(wanted: EmbeddingSpace, got: EmbeddingSpace) -> None:
    """Raise :class:`SpaceMismatch` unless both spaces are the same."""
    if wanted != got:
        differing = [
            f"{name} {value!r} against {getattr(got, name)!r}"
            for name, value in asdict(wanted).items()
            if value != getattr(got, name)
        ]
        raise SpaceMismatch(
            f"Vectors of {wanted.model} ({wanted.space_id}) and {got.model} ({got.space_id})"
            f" cannot be compared: {', '.join(differing)}. Embed both with one encoder."
        )
