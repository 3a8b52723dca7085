"""What is relevant to a track, and which tracks would give the answer away.

Two tracks are relevant to each other when their label is the same text, without regard to case and
spaces: the standardised composer, or any other tag (artist, album, genre, work, ``extra``'s key).
Several composers in one tag ("Franz Schubert; Franz Liszt") are a label of their own. A track
without the label is never asked and never relevant; it stays in everybody's way.

Groups that may be left out of a query's gallery:

work
    composer and work, as :mod:`kindred.library.works` reads it from the title. A track that names
    no work is alone.
album
    The album, or the album id where it has no name.
recording
    Near-duplicates: the same bytes, or the same title, artist and composer with durations that
    differ by at most 1 s (and what is joined through a third track). No vectors are used, so that
    the gallery is the same for every encoder; a copy with other tags is not found. Remasters named
    as such share their work.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.storage.records import Track

#: What a composer needs to count in the mean over composers.
COMPOSER_WORKS = 3
_SAME_SECONDS = 1.0
_TAGS = frozenset(field.name for field in fields(Track)) - {"extra", "paths", "peaks"}


@dataclass(frozen=True)
class Labels:
    """Label and groups of some tracks, in the tracks' order; ``""`` where unknown.

    Attributes
    ----------
    name : str
        What the label is, e.g. ``"composer"``.
    ids : tuple of str
    values : tuple of str
        The label of each track.
    works, albums, recordings : tuple of str
        Keys of the groups; equal keys are one group.
    min_works : int
        Works a class needs to count in the macro mean.

    Raises
    ------
    QueryError
        When the columns differ in length or an id comes twice.
    """

    name: str
    ids: tuple[str, ...]
    values: tuple[str, ...]
    works: tuple[str, ...]
    albums: tuple[str, ...]
    recordings: tuple[str, ...]
    min_works: int = 1

    def __post_init__(self) -> None:
        columns = (self.values, self.works, self.albums, self.recordings)
        if any(len(column) != len(self.ids) for column in columns):
            lengths = [len(column) for column in columns]
            raise QueryError(
                f"{len(self.ids)} tracks need as many labels, works, albums and recordings, got"
                f" {lengths}."
            )
        if len(set(self.ids)) < len(self.ids):
            twice = [track_id for track_id, count in Counter(self.ids).items() if count > 1]
            raise QueryError(f"Track ids must differ; these come twice: {', '.join(twice[:5])}.")

    def select(self, ids: Sequence[str]) -> Labels:
        """The labels of some of the tracks, in the order asked for.

        Raises
        ------
        QueryError
            When a track is not among them, or is asked for twice.
        """
        place = {track_id: number for number, track_id in enumerate(self.ids)}
        if missing := [track_id for track_id in ids if track_id not in place]:
            raise QueryError(
                f"{len(missing)} of {len(ids)} tracks have no row of labels, the first is"
                f" {missing[0]!r}. Make the labels of the tracks the vectors are of."
            )
        rows = [place[track_id] for track_id in ids]

        def chosen(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[row] for row in rows)

        return Labels(
            self.name,
            tuple(ids),
            chosen(self.values),
            chosen(self.works),
            chosen(self.albums),
            chosen(self.recordings),
            self.min_works,
        )

    def rows(self) -> list[dict[str, str]]:
        """One row a track for a table; with the vectors it is all that an evaluation needs."""
        columns = zip(self.ids, self.values, self.works, self.albums, self.recordings, strict=True)
        names = ("track_id", "label", "work", "album", "recording")
        return [dict(zip(names, row, strict=True)) for row in columns]


def labels_of(tracks: Sequence[Track], tag: str = "composer") -> Labels:
    """Labels and groups of the tracks of a library.

    Parameters
    ----------
    tracks : sequence of Track
    tag : str
        A text field of :class:`~kindred.storage.records.Track`, ``year``, or a name in its
        ``extra`` such as ``"key"``.

    Returns
    -------
    Labels

    Raises
    ------
    QueryError
        When no track has the tag.
    """
    values = tuple(_value(track, tag) for track in tracks)
    if not any(values):
        raise QueryError(
            f"None of {len(tracks)} tracks has the tag {tag!r}. Give the tracks one, e.g. with"
            " `kindred import`, or name another, such as composer, artist, album or genre."
        )
    works = (_key(track.composer, track.work) if track.work.strip() else "" for track in tracks)
    return Labels(
        name=tag,
        ids=tuple(track.track_id for track in tracks),
        values=values,
        works=tuple(works),
        albums=tuple(_key(track.album) or _key(track.album_id) for track in tracks),
        recordings=_recordings(tracks),
        min_works=COMPOSER_WORKS if tag == "composer" else 1,
    )


def codes(values: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Number the values as they first come, -1 for ``""``; and the values by number.

    Case and spaces do not count; the first spelling stands.
    """
    numbers: dict[str, int] = {}
    names: list[str] = []
    found = np.full(len(values), -1, np.intp)
    for place, value in enumerate(values):
        key = _key(value)
        if key and key not in numbers:
            numbers[key] = len(names)
            names.append(" ".join(value.split()))
        found[place] = numbers.get(key, -1)
    return found, names


def _value(track: Track, tag: str) -> str:
    value = getattr(track, tag) if tag in _TAGS else track.extra.get(tag)
    return "" if value is None else " ".join(str(value).split())


def _key(*parts: str) -> str:
    return ": ".join(" ".join(part.split()).casefold() for part in parts)


def _recordings(tracks: Sequence[Track]) -> tuple[str, ...]:
    """The smallest id of each track's group of near-duplicates; ``""`` where it is alone."""
    parent = list(range(len(tracks)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    same_bytes: dict[str, list[int]] = defaultdict(list)
    same_names: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, track in enumerate(tracks):
        if track.content_hash:
            same_bytes[track.content_hash].append(number)
        if _key(track.title) and track.duration > 0:
            names = (_key(track.title), _key(track.artist), _key(track.composer))
            same_names[names].append(number)
    for group in same_bytes.values():
        for one, other in pairwise(group):
            parent[root(one)] = root(other)
    for group in same_names.values():
        for one, other in pairwise(sorted(group, key=lambda item: tracks[item].duration)):
            if tracks[other].duration - tracks[one].duration <= _SAME_SECONDS:
                parent[root(one)] = root(other)
    members: dict[int, list[str]] = defaultdict(list)
    for number, track in enumerate(tracks):
        members[root(number)].append(track.track_id)
    groups = [members[root(number)] for number in range(len(tracks))]
    smallest = {id(group): min(group) for group in members.values()}
    return tuple(smallest[id(group)] if len(group) > 1 else "" for group in groups)
