"""The records every backend keeps. All are frozen; nobody changes a stored record in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace


@dataclass(frozen=True)
class Track:
    """One recording in the library.

    Attributes
    ----------
    track_id : str
        Unique and stable: UUIDv5 of the file's SHA-256, or what an imported CSV gives.
    content_hash : str
        SHA-256 of the file's bytes, hexadecimal; empty while an imported row has no file.
    title, artist, album, composer, work, genre : str
        Standardised text; empty when unknown.
    composer_original : str
        The composer as the file has it.
    duration : float
        Seconds.
    sample_rate, channels, format
        As the file has them: Hz, count, and a name such as ``"mp3"``.
    paths : tuple of str
        Every place where these bytes were found; the first is the one that is played.
    peaks : bytes
        Waveform for display: one unsigned byte a column, the largest magnitude in it.
    added_at : str
        UTC, ISO 8601.
    extra : dict
        Further tags as the file has them.
    """

    track_id: str
    content_hash: str = ""
    title: str = ""
    artist: str = ""
    album: str = ""
    album_id: str = ""
    track_no: int | None = None
    composer: str = ""
    composer_original: str = ""
    work: str = ""
    genre: str = ""
    year: int | None = None
    duration: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    format: str = ""
    paths: tuple[str, ...] = ()
    peaks: bytes = b""
    added_at: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The file that is played, or an empty string when it is gone."""
        return self.paths[0] if self.paths else ""


@dataclass(frozen=True)
class Embedding:
    """One track's vectors in one space: float32 [dims] of unit length, and float32 [n, dims]."""

    track_id: str
    content_hash: str
    vector: NDArray[np.float32]
    segments: NDArray[np.float32]


@dataclass(frozen=True)
class FileRecord:
    """A file that was seen: its size and modification time tell whether it must be read again."""

    path: str
    size: int
    mtime_ns: int
    content_hash: str
    track_id: str


@dataclass(frozen=True)
class QuarantineRecord:
    """A file that could not become a track, with the reason (``code`` and a sentence)."""

    path: str
    size: int
    mtime_ns: int
    code: str
    reason: str
    seen_at: str


@dataclass(frozen=True)
class JobRecord:
    """Long work: ``state`` is queued, running, done, failed, cancelled or interrupted."""

    job_id: str
    kind: str
    state: str
    params: dict[str, Any]
    done: int = 0
    total: int = 0
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    pid: int = 0
    cancel_requested: bool = False
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True)
class TrackFilter:
    """Which tracks may answer a query; an empty field does not restrict.

    Texts match exactly and without regard to case. ``year`` and ``duration`` (seconds) are
    inclusive ranges, where ``None`` is an open end.
    """

    composers: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()
    albums: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    year: tuple[int | None, int | None] = (None, None)
    duration: tuple[float | None, float | None] = (None, None)
    not_albums: tuple[str, ...] = ()
    not_artists: tuple[str, ...] = ()
    not_works: tuple[tuple[str, str], ...] = ()
    """Pairs (composer, work) that are left out."""

    @property
    def is_empty(self) -> bool:
        """Whether every track passes."""
        return self == TrackFilter()

    def accepts(self, track: Track) -> bool:
        """Whether a track passes."""
        texts: tuple[tuple[Sequence[str], str, bool], ...] = (
            (self.composers, track.composer, True),
            (self.artists, track.artist, True),
            (self.albums, track.album, True),
            (self.genres, track.genre, True),
            (self.not_albums, track.album, False),
            (self.not_artists, track.artist, False),
        )
        for wanted, text, inside in texts:
            if wanted and (fold(text) in map(fold, wanted)) is not inside:
                return False
        work = (fold(track.composer), fold(track.work))
        if work in [(fold(composer), fold(name)) for composer, name in self.not_works]:
            return False
        for value, (low, high) in ((track.year, self.year), (track.duration, self.duration)):
            if low is None and high is None:
                continue
            if value is None or (low is not None and value < low):
                return False
            if high is not None and value > high:
                return False
        return True


@dataclass(frozen=True)
class Hit:
    """A track that answers a query: ``similarity`` is the cosine in [-1, 1], higher is nearer."""

    track_id: str
    similarity: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.similarity):
            raise ValueError(f"similarity of {self.track_id} is {self.similarity}")


def fold(text: str) -> str:
    """Text as filters compare it: without regard to case."""
    return text.casefold()


# -- rows: what one store hands to another -----------------------------------------------------
Kind = Literal["tracks", "covers", "embeddings", "audio", "documents"]
#: In the order in which they are copied: what others refer to comes first.
KINDS: tuple[Kind, ...] = ("tracks", "covers", "embeddings", "audio", "documents")


@dataclass(frozen=True)
class Cover:
    """A track's cover art as it came, and a small WebP of it."""

    track_id: str
    image: bytes
    thumbnail: bytes


@dataclass(frozen=True)
class TrackVectors:
    """One track's vectors and the space they belong to."""

    space: EmbeddingSpace
    embedding: Embedding


@dataclass(frozen=True)
class Audio:
    """A file that the store keeps whole; ``suffix`` starts with a dot, e.g. ``".mp3"``."""

    content_hash: str
    suffix: str
    data: bytes


@dataclass(frozen=True)
class Document:
    """A small record of any kind, such as a setting, an evaluation run or a judgement.

    ``body`` is what JSON can hold.
    """

    collection: str
    key: str
    body: dict[str, Any]


Record = Track | Cover | TrackVectors | Audio | Document


@dataclass(frozen=True)
class Entry:
    """What a store knows of a row without reading it.

    ``digest`` is the SHA-256 of the row's content, empty for one that was deleted (a tombstone);
    ``updated_at`` is when the content last changed, in microseconds of UTC since 1970.
    """

    digest: str
    updated_at: int

    @property
    def deleted(self) -> bool:
        """Whether the row is gone."""
        return not self.digest


@dataclass(frozen=True)
class Row:
    """A record under its key, with its time; a tombstone when there is no record."""

    kind: Kind
    key: str
    record: Record | None
    updated_at: int
