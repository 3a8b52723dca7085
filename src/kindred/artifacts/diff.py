"""What differs between two artifacts: tracks, what is said of them, vectors, settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.artifacts import layout
from kindred.artifacts.read import BLOCK, Artifact
from kindred.artifacts.table import FIELDS
from kindred.storage.records import Track

#: Vectors whose cosine is nearer to 1 than this are the same.
SAME = 1e-9


@dataclass(frozen=True)
class ArtifactDiff:
    """How artifact b differs from artifact a.

    Attributes
    ----------
    a, b : str
        Their folders.
    settings : dict
        What differs of the space and the audio's rate: name to (in a, in b).
    added, removed : list of str
        Tracks that only b has, and that only a has.
    changed : dict
        By track, the fields that differ: name to (in a, in b).
    vectors : dict or None
        By track, 1 - cosine where it is over ``SAME``; None where the dimensions differ.
    largest : float
        The largest \\|1 - cosine\\| of all tracks that both have.
    """

    a: str
    b: str
    settings: dict[str, tuple[Any, Any]]
    added: list[str]
    removed: list[str]
    changed: dict[str, dict[str, tuple[Any, Any]]]
    vectors: dict[str, float] | None
    largest: float

    @property
    def same(self) -> bool:
        """Whether nothing differs but the time of the export."""
        return not (self.settings or self.added or self.removed or self.changed or self.vectors)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**vars(self), "same": self.same}

    def lines(self) -> list[str]:
        """The difference for people: settings and tracks by name, the first few of each kind."""
        if self.same:
            return ["No difference"]
        out = [f"{name}: {a!r} -> {b!r}" for name, (a, b) in self.settings.items()]
        for title, ids in (("added", self.added), ("removed", self.removed)):
            if ids:
                out.append(f"{len(ids)} {title}: {_few(ids)}")
        for track_id, fields in list(self.changed.items())[:10]:
            told = "; ".join(f"{name} {a!r} -> {b!r}" for name, (a, b) in fields.items())
            out.append(f"{track_id}: {told}")
        if len(self.changed) > 10:
            out.append(f"and {len(self.changed) - 10} more tracks with other metadata")
        if self.vectors is None:
            out.append("vectors have other dimensions and cannot be compared")
        elif self.vectors:
            text = (
                f"{len(self.vectors)} vectors changed, by {self.largest:.3g} (1 - cosine) at most"
            )
            out.append(f"{text}: {_few(list(self.vectors))}")
        return out


def diff(a: Path | Artifact, b: Path | Artifact) -> ArtifactDiff:
    """Compare two artifacts.

    Raises
    ------
    ArtifactError
        When one of them is not an artifact or was cut short.
    """
    one = a if isinstance(a, Artifact) else Artifact.open(a)
    other = b if isinstance(b, Artifact) else Artifact.open(b)
    settings = [
        {**layout.space_to_dict(item.space), "audio_sample_rate": item.manifest.audio_rate}
        for item in (one, other)
    ]
    both = [track_id for track_id in one.track_ids if track_id in other.rows]
    vectors, largest = _vectors(one, other, both)
    return ArtifactDiff(
        a=str(one.path),
        b=str(other.path),
        settings={
            name: (value, settings[1][name])
            for name, value in settings[0].items()
            if value != settings[1][name]
        },
        added=[track_id for track_id in other.track_ids if track_id not in one.rows],
        removed=[track_id for track_id in one.track_ids if track_id not in other.rows],
        changed={
            track_id: fields
            for track_id in both
            if (fields := _fields(one.track(track_id), other.track(track_id)))
        },
        vectors=vectors,
        largest=largest,
    )


def _fields(a: Track, b: Track) -> dict[str, tuple[Any, Any]]:
    return {
        name: (getattr(a, name), getattr(b, name))
        for name in FIELDS
        if getattr(a, name) != getattr(b, name)
    }


def _vectors(a: Artifact, b: Artifact, ids: list[str]) -> tuple[dict[str, float] | None, float]:
    if a.space.dims != b.space.dims:
        return None, 0.0
    found: dict[str, float] = {}
    largest = 0.0
    for start in range(0, len(ids), BLOCK):
        part = ids[start : start + BLOCK]
        distances = 1 - _cosines(
            a.vectors[[a.rows[item] for item in part]], b.vectors[[b.rows[item] for item in part]]
        )
        largest = max(largest, float(np.abs(distances).max()))
        found |= {
            track_id: float(distance)
            for track_id, distance in zip(part, distances, strict=True)
            if distance > SAME
        }
    return found, largest


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row of one with the same row of the other, in float64."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: NDArray[np.float64] = (one * other).sum(axis=1) / lengths
    return cosines


def _few(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
