"""The library's tracks in order, with what they are filtered by, held in memory.

A page of tracks needs the ids that come on it and no more; those of a hundred thousand tracks with
their few filtered texts take some tens of megabytes. When the library changes, only the tracks that
changed are read again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kindred.storage.backend import StorageBackend
from kindred.storage.records import Track, TrackFilter, fold


class Facts(NamedTuple):
    """What a track is filtered by, as filters compare it."""

    composer: str
    artist: str
    album: str
    genre: str
    title: str


def facts_of(track: Track) -> Facts:
    """Read a track's facts."""
    return Facts(*(fold(getattr(track, name)) for name in Facts._fields))


@dataclass(frozen=True)
class Listing:
    """Facts by track id, in ascending order of the ids."""

    facts: Mapping[str, Facts]

    @classmethod
    def of(cls, tracks: Iterable[Track]) -> Listing:
        """List tracks that come in order."""
        return cls({track.track_id: facts_of(track) for track in tracks})

    def find(self, where: TrackFilter = TrackFilter(), text: str = "") -> list[str]:
        """Ids of the tracks whose tags are among those asked for, with a text in the title."""
        wanted = (
            (Facts._fields.index(name), {fold(value) for value in values})
            for name, values in (
                ("composer", where.composers),
                ("artist", where.artists),
                ("album", where.albums),
                ("genre", where.genres),
            )
            if values
        )
        found: Iterable[tuple[str, Facts]] = self.facts.items()
        for at, among in wanted:
            found = [pair for pair in found if pair[1][at] in among]
        if text := fold(text):
            found = [pair for pair in found if text in pair[1].title]
        return [track_id for track_id, _ in found]


class LiveListing:
    """The listing of a library that may change."""

    def __init__(self, storage: StorageBackend) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._version = -1
        self._digests: dict[str, str] = {}
        self._listing = Listing({})

    def now(self) -> Listing:
        """The library as it is."""
        with self._lock:
            version = self._storage.version()
            if version != self._version:
                self._refresh()
                self._version = version
            return self._listing

    def _refresh(self) -> None:
        entries = self._storage.entries("tracks")
        digests = {key: entry.digest for key, entry in entries.items() if not entry.deleted}
        if digests == self._digests:
            return
        known = self._listing.facts
        changed = [key for key, digest in digests.items() if self._digests.get(key) != digest]
        read = self._storage.get_tracks(changed) if known else self._storage.list_tracks()
        fresh = {track.track_id: facts_of(track) for track in read}
        kept = {key: facts for key, facts in known.items() if key in digests}
        self._listing = Listing(dict(sorted((kept | fresh).items())))
        self._digests = digests
