"""The tracks of the demo library: who plays which piece, and into what kind of file.

A track says everything that its file depends on, so its hash tells whether a file is up to date.
Ensembles are dealt like cards and never look at the composer: otherwise a model that hears the
instrument would seem to know the composer. Formats, sample rates and channels are dealt as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from random import Random
from typing import TypeVar

from kindred.demo.ensembles import BY_NAME
from kindred.demo.pieces import ALBUM_ARTIST, SPELLINGS, pieces

_T = TypeVar("_T")

#: Raised whenever the sound or the tags of an unchanged track change.
VERSION = 1

FORMATS = ("wav", "flac", "ogg", "mp3", "m4a")
COMMENT = "Rendered from a public score with a General MIDI soundfont"


@dataclass(frozen=True)
class Track:
    """One file to be.

    Attributes
    ----------
    source : str
        Score in music21's corpus.
    seed : str
        All chance in the performance comes from it.
    path : str
        Relative to the library's folder, with ``/``.
    composer : str
        As the file spells it; ``standard`` is how the table does.
    sample_rate : int
        Hz.
    channels : int
        1 or 2.
    """

    source: str
    seed: str
    path: str
    title: str
    artist: str
    album: str
    album_artist: str
    composer: str
    standard: str
    work: str
    year: int
    genre: str
    number: int
    format: str
    sample_rate: int
    channels: int

    @property
    def digest(self) -> str:
        """Changes when anything that the file depends on does."""
        recipe = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def demo_tracks(*, seed: int = 1) -> list[Track]:
    """Return the tracks of the library, in the order of their albums.

    Parameters
    ----------
    seed : int
        Another seed gives other ensembles, performances and formats.
    """
    played = [(piece, index) for piece in pieces() for index in range(piece.performances)]
    # Second readings go to albums of their own, behind the composers' albums.
    played.sort(key=lambda item: item[1] > 0)
    formats = _dealt(FORMATS, len(played), f"{seed}/formats")
    rates = _dealt((44_100, 44_100, 44_100, 48_000), len(played), f"{seed}/rates")
    channels = _dealt((1, *[2] * 11), len(played), f"{seed}/channels")
    spellings = _dealt((True, False, False), len(played), f"{seed}/spellings")
    ensembles = _dealt(tuple(BY_NAME), len(played), f"{seed}/ensembles")
    numbers: Counter[str] = Counter()
    heard: dict[str, set[str]] = {}
    tracks = []
    for at, (piece, index) in enumerate(played):
        ensemble = _another(ensembles[at], than=heard.setdefault(piece.source, set()))
        heard[piece.source].add(ensemble)
        album = f"Second Readings ({BY_NAME[ensemble].family})" if index else piece.album
        numbers[album] += 1
        chance = Random(f"{seed}/{piece.source}/{index}")
        composer = piece.composer
        if spellings[at]:
            composer = chance.choice(SPELLINGS.get(composer, (composer,)))
        group = ALBUM_ARTIST if index or _shared(piece.album) else piece.composer
        name = f"{numbers[album]:02d} {safe_name(piece.title)}.{formats[at]}"
        tracks.append(
            Track(
                source=piece.source,
                seed=f"{seed}/{piece.source}/{index}/sound",
                path=str(PurePosixPath(safe_name(group), safe_name(album), name)),
                title=piece.title,
                artist=ensemble,
                album=album,
                album_artist=ALBUM_ARTIST,
                composer=composer,
                standard=piece.composer,
                work=piece.work,
                year=piece.year,
                genre=piece.genre,
                number=numbers[album],
                format=formats[at],
                sample_rate=rates[at],
                channels=channels[at],
            )
        )
    return tracks


def safe_name(text: str) -> str:
    """Return text fit to name a file or folder on any system."""
    text = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "-", text)
    return re.sub(r"\s+", " ", text).strip(" .")[:80].rstrip(" .")


def _another(name: str, *, than: set[str]) -> str:
    """The ensemble of this name, or the next in the table that has not played the piece."""
    names = list(BY_NAME)
    at = names.index(name)
    return next(other for other in names[at:] + names[:at] if other not in than)


def _dealt(kinds: tuple[_T, ...], count: int, seed: str) -> list[_T]:
    """Deal kinds like cards, so that each gets its share."""
    dealt = [kinds[index % len(kinds)] for index in range(count)]
    Random(seed).shuffle(dealt)
    return dealt


def _shared(album: str) -> bool:
    return len({piece.composer for piece in pieces() if piece.album == album}) > 1
