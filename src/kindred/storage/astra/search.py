"""Nearest vectors under a filter: what the server filters, and what is left to do here.

The server answers positive filters by its indexes. A table that holds one space is asked without
naming it, as an index over all of its rows would only cost time; answers of another space, if one
has come since, make us ask again. What is left out (``not_...``, excluded tracks)
is left out here, from more answers than were asked for. Scores are computed again from the vectors
in float64, as :mod:`kindred.storage.snapshot` does, so that equal vectors get equal scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Set
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.astra.batching import MOST_VALUES, Document, chunks
from kindred.storage.astra.client import DataApi
from kindred.storage.astra.codecs import UNKNOWN, filtered_track, term
from kindred.storage.astra.tables import FILTER_COLUMNS, embeddings_table
from kindred.storage.records import Hit, TrackFilter
from kindred.storage.snapshot import rescore

INDEX = "Astra DB ANN (cosine)"
#: The most a server gives; and how many more than asked for are fetched at first.
_MOST, _MORE = 1000, 10
#: How far a similarity of the server's may lie from ours.
_ROUNDING = 1e-5


def nearest(
    api: DataApi,
    space: EmbeddingSpace,
    query: NDArray[np.float32],
    *,
    k: int,
    where: TrackFilter,
    exclude: Set[str],
    alone: bool,
) -> list[Hit]:
    """The ``k`` nearest tracks that pass, nearest first, ties by ``track_id``.

    A server gives at most 1000: where more than that is nearer but left out, fewer come back.
    ``alone`` says that the table is believed to hold no other space.
    """
    where = _as_terms(where)

    def ask(filters: Document) -> list[Hit]:
        return _nearest(
            api, space, query, k=k, filters=filters, where=where, exclude=exclude, alone=alone
        )

    found = api.each(ask, server_filters(where))
    return _best([hit for hits in found for hit in hits], k)


def server_filters(where: TrackFilter) -> list[Document]:
    """Filters that together find what the indexes can; several where ``$in`` takes no more."""
    base: Document = {}
    for column, bounds in (("year", where.year), ("duration", where.duration)):
        names = zip(("$gte", "$lte"), bounds, strict=True)
        if span := {name: bound for name, bound in names if bound is not None}:
            base[column] = span
    texts = {
        "composer": where.composers,
        "artist": where.artists,
        "album": where.albums,
        "genre": where.genres,
    }
    choices = [
        [{column: _one_of(part)} for part in chunks(_unique(values), MOST_VALUES)]
        for column, values in texts.items()
        if values
    ]
    return [_merged([base, *choice]) for choice in itertools.product(*choices)]


def _nearest(
    api: DataApi,
    space: EmbeddingSpace,
    query: NDArray[np.float32],
    *,
    k: int,
    filters: Document,
    where: TrackFilter,
    exclude: Set[str],
    alone: bool,
) -> list[Hit]:
    """Answers to one filter; asked again for more until ``k`` are certain."""
    columns = ("song_id", "space_id", "pooled", *(() if where.is_empty else FILTER_COLUMNS))
    sort = np.ascontiguousarray(query, ">f4").tobytes()
    left_out = bool(where.not_albums or where.not_artists or where.not_works)
    limit = min((2 if left_out else 1) * k + len(exclude) + _MORE, _MOST)
    while True:
        asked = filters if alone else {"space_id": space.space_id, **filters}
        found = api.nearest(embeddings_table(space.dims), asked, sort, limit=limit, columns=columns)
        if any(document["space_id"] != space.space_id for document in found):
            alone = False
            continue
        passing = [doc for doc in found if doc["pooled"] and _passes(doc, where, exclude)]
        hits = _best(_scored(space, passing, query), k)
        if len(found) < limit or limit == _MOST:
            return hits
        # What was not fetched is no nearer than the last that was.
        farthest = 2 * found[-1]["$similarity"] - 1
        if len(hits) == k and farthest < hits[-1].similarity - _ROUNDING:
            return hits
        limit = min(4 * limit, _MOST)


def _passes(document: Document, where: TrackFilter, exclude: Set[str]) -> bool:
    if document["song_id"] in exclude:
        return False
    if where.is_empty:
        return True
    # Vectors without a track have no duration, and pass no filter.
    return document["duration"] is not None and where.accepts(filtered_track(document))


def _scored(
    space: EmbeddingSpace, documents: list[Document], query: NDArray[np.float32]
) -> list[Hit]:
    data = b"".join(document["pooled"] for document in documents)
    matrix = np.frombuffer(data, "<f4").reshape(-1, space.dims)
    scores = rescore(matrix, np.arange(len(matrix)), query)
    return [
        Hit(document["song_id"], float(score))
        for document, score in zip(documents, scores, strict=True)
    ]


def _best(hits: list[Hit], k: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.track_id))[:k]


def _as_terms(where: TrackFilter) -> TrackFilter:
    """A filter whose texts are as the columns hold them."""

    def terms(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(term(text) for text in texts)

    return replace(
        where,
        composers=terms(where.composers),
        artists=terms(where.artists),
        albums=terms(where.albums),
        genres=terms(where.genres),
        not_albums=terms(where.not_albums),
        not_artists=terms(where.not_artists),
        not_works=tuple((term(composer), term(work)) for composer, work in where.not_works),
    )


def _unique(terms: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(text or UNKNOWN for text in terms))


def _one_of(values: list[str]) -> object:
    return values[0] if len(values) == 1 else {"$in": values}


def _merged(parts: list[Document]) -> Document:
    merged: Document = {}
    for part in parts:
        merged |= part
    return merged
