"""Which stretch of a track is heard.

All clips of an item have the same length, so that it says nothing: that of the design, or that of
the shortest track among them. A clip keeps :data:`MARGIN` from both ends of its track where the
track is long enough, and is not taken from silence where its waveform shows some.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audit.study import Clip
from kindred.errors import TrackNotFound
from kindred.storage.records import Track

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

#: Seconds at both ends of a track that are not played.
MARGIN = 0.5
#: Cosine of two tracks' mean windows above which they are taken for the same recording.
ALIKE = 0.999
#: A column of the waveform is silent below this: 42 dB under the track's own peak.
_SILENT = 2


@dataclass(frozen=True)
class Segments:
    """The vectors of tracks' windows in one space.

    Attributes
    ----------
    vectors : callable
        Track id -> float32 [n, dims], one row a window in order; [0, dims], or
        :class:`~kindred.errors.TrackNotFound`, when there are none.
    hop, window : float
        Seconds from one window to the next, and of a window.
    """

    vectors: Callable[[str], Floats]
    hop: float
    window: float


class Stretches:
    """Chooses clips.

    Parameters
    ----------
    tracks : mapping of str to Track
    segments : Segments
    matching : bool
        Whether windows that are near each other are chosen, or any.
    rng : numpy Generator
    """

    def __init__(
        self,
        tracks: Mapping[str, Track],
        segments: Segments,
        *,
        matching: bool,
        rng: np.random.Generator,
    ) -> None:
        self.tracks, self.segments, self.matching, self.rng = tracks, segments, matching, rng
        self._means: dict[str, Floats | None] = {}

    def known(self, track_id: str) -> bool:
        """Whether the track has windows to choose from."""
        return self._mean(track_id) is not None

    def alike(self, one: str, other: str) -> bool:
        """Whether two tracks sound the same, as copies do."""
        means = self._mean(one), self._mean(other)
        return means[0] is not None and means[1] is not None and bool(means[0] @ means[1] > ALIKE)

    def together(self, ids: Sequence[str], *, seconds: float) -> tuple[Clip, ...]:
        """A clip of each track, all of the same length.

        Where windows are matched, the first track's is the one whose nearest windows in the others
        are nearest on average, and each other track's is its nearest to that.
        """
        seconds = self.length(ids, seconds)
        if not self.matching:
            return tuple(self.anywhere(track_id, seconds=seconds) for track_id in ids)
        windows = [self._windows(track_id, seconds) for track_id in ids]
        cosines = [windows[0][1] @ vectors.T for _, vectors in windows[1:]]
        best = int(np.argmax(np.sum([cosine.max(axis=1) for cosine in cosines], axis=0)))
        places = [best, *(int(np.argmax(cosine[best])) for cosine in cosines)]
        return tuple(
            _clip(track_id, starts[place], seconds)
            for track_id, (starts, _), place in zip(ids, windows, places, strict=True)
        )

    def anywhere(self, track_id: str, *, seconds: float) -> Clip:
        """Any clip of a track."""
        low, high = self._limits(track_id, seconds)
        starts = np.linspace(low, high, 1 + math.ceil((high - low) * 10))
        sounding = self._sounding(track_id, starts, seconds)
        starts = starts[sounding] if sounding.any() else starts
        return _clip(track_id, float(self.rng.choice(starts)), seconds)

    def twice(self, track_id: str, *, seconds: float) -> tuple[Clip, Clip]:
        """Two clips of one track that do not overlap: the most alike, in either order.

        ``seconds`` is at most :meth:`half` of the track.
        """
        starts, vectors = self._windows(track_id, seconds)
        cosines = np.where(
            np.abs(starts[:, None] - starts[None, :]) >= seconds, vectors @ vectors.T, -np.inf
        )
        pair = np.unravel_index(int(np.argmax(cosines)), cosines.shape)
        begins = [float(starts[row]) for row in pair]
        if not np.isfinite(cosines[pair]):  # no two windows lie that far apart
            begins = list(self._limits(track_id, seconds))
        first, second = self.rng.permutation(begins)
        return _clip(track_id, first, seconds), _clip(track_id, second, seconds)

    def length(self, ids: Sequence[str], seconds: float) -> float:
        """Seconds that a clip of each of the tracks can have."""
        return min(seconds, *(self.tracks[track_id].duration for track_id in ids))

    def half(self, track_id: str) -> float:
        """Seconds that two clips of a track can have without overlapping."""
        return self.tracks[track_id].duration / 2 - MARGIN

    def _mean(self, track_id: str) -> Floats | None:
        if track_id not in self._means:
            total = self._unit(track_id).sum(axis=0)
            length = np.linalg.norm(total)
            self._means[track_id] = total / length if length > 0 else None
        return self._means[track_id]

    def _unit(self, track_id: str) -> Floats:
        """Windows of unit length, float32 [n, dims]; zeros in place of what cannot be used."""
        try:
            vectors = np.asarray(self.segments.vectors(track_id), np.float32)
        except TrackNotFound:
            return np.zeros((0, 1), np.float32)
        vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)

    def _windows(self, track_id: str, seconds: float) -> tuple[NDArray[np.float64], Floats]:
        """Where the clips around a track's windows start, and the windows; those that sound."""
        vectors = self._unit(track_id)
        middles = np.arange(len(vectors)) * self.segments.hop + self.segments.window / 2
        starts = np.clip(middles - seconds / 2, *self._limits(track_id, seconds))
        sounding = self._sounding(track_id, starts, seconds) & vectors.any(axis=1)
        if not sounding.any():
            sounding = vectors.any(axis=1)
        return starts[sounding], vectors[sounding]

    def _limits(self, track_id: str, seconds: float) -> tuple[float, float]:
        """First and last place where a clip may start."""
        spare = self.tracks[track_id].duration - seconds
        margin = min(MARGIN, spare / 2)
        return margin, spare - margin

    def _sounding(
        self, track_id: str, starts: NDArray[np.float64], seconds: float
    ) -> NDArray[np.bool_]:
        """Whether at least half of the clip from each start sounds, by the waveform."""
        track = self.tracks[track_id]
        columns = np.frombuffer(track.peaks, np.uint8)
        if not len(columns):
            return np.ones(len(starts), np.bool_)
        heard = np.concatenate([[0], np.cumsum(columns >= _SILENT)])
        scale = len(columns) / track.duration
        first = np.minimum((starts * scale).astype(np.intp), len(columns) - 1)
        last = np.clip(np.ceil((starts + seconds) * scale).astype(np.intp), first + 1, len(columns))
        return np.asarray((heard[last] - heard[first]) * 2 >= last - first)


def _clip(track_id: str, start: float, seconds: float) -> Clip:
    """A clip to the millisecond, rounded down so that it stays within its track."""
    return Clip(track_id, math.floor(start * 1000) / 1000, math.floor(seconds * 1000) / 1000)
