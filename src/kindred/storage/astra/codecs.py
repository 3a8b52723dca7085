"""Records as rows of the tables (:mod:`.tables`), and back.

Rows name every column of what they hold, absent values too: a column that is left out keeps its
old value. What is bytes travels as base64; so do vectors, as big-endian float32.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.astra.batching import Document
from kindred.storage.astra.tables import (
    FILTER_COLUMNS,
    FILTER_TEXTS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    shard,
)
from kindred.storage.records import Cover, Embedding, Entry, Row, Track, TrackVectors, fold

#: Bytes of one part; rows stay well below 1 MB also as base64.
PART_BYTES = 512 * 2**10
#: Stands for an empty text in filter columns: no text is like that after casefold.
UNKNOWN = "NONE"
#: Bytes; an index takes no much longer terms, so longer ones are hashed.
_LONGEST_TERM = 1000

TRACK_COLUMNS = (
    *("song_id", "content_hash", *TEXT_COLUMNS, *NUMBER_COLUMNS, "duration", "peaks", "extra"),
    *("digest", "updated_at"),
)
COVER_COLUMNS = (
    *("song_id", "cover_hash", "cover_parts", "thumbnail", "cover_digest", "cover_updated_at"),
)
VECTOR_COLUMNS = (
    *("song_id", "content_hash", "pooled", "segments", "parts", "digest", "updated_at"),
)
DATA_COLUMNS = ("key", "data", "parts", "digest", "updated_at")


def entry_of(document: Document, prefix: str = "") -> Entry | None:
    """What a row says of itself; ``None`` when it was never written."""
    updated_at = document[f"{prefix}updated_at"]
    return None if updated_at is None else Entry(document[f"{prefix}digest"] or "", updated_at)


def _head(entry: Entry) -> Document:
    return {"digest": entry.digest or None, "updated_at": entry.updated_at}


# -- songs -------------------------------------------------------------------------------------
def track_document(row: Row, entry: Entry) -> Document:
    """A track as a row of ``songs``; a tombstone clears the track's columns."""
    document: Document = dict.fromkeys(TRACK_COLUMNS)
    if isinstance(track := row.record, Track):
        document |= {name: getattr(track, name) for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)}
        document |= {
            "content_hash": track.content_hash or None,
            "duration": float(track.duration),
            "peaks": track.peaks or None,
            "extra": json.dumps(track.extra),
        }
    return document | _head(entry) | {"song_id": row.key, "shard": shard(row.key)}


def track_of(document: Document) -> Track:
    """Inverse of :func:`track_document`."""
    values: Document = {name: document[name] or "" for name in TEXT_COLUMNS}
    values |= {name: document[name] for name in NUMBER_COLUMNS}
    return Track(
        track_id=document["song_id"],
        content_hash=document["content_hash"] or "",
        duration=document["duration"],
        peaks=document["peaks"] or b"",
        extra=json.loads(document["extra"]),
        **values,
    )


def cover_document(row: Row, entry: Entry) -> Document:
    """A cover as columns of ``songs``; its image lies in ``metadata``."""
    document: Document = dict.fromkeys(COVER_COLUMNS)
    if isinstance(cover := row.record, Cover):
        document |= {
            "cover_hash": image_hash(cover.image),
            "cover_parts": len(split(cover.image)),
            "thumbnail": cover.thumbnail,
        }
    document |= {f"cover_{name}": value for name, value in _head(entry).items()}
    return document | {"song_id": row.key, "shard": shard(row.key)}


def image_hash(image: bytes) -> str:
    """Names a picture, which the tracks of an album share."""
    return hashlib.sha256(image).hexdigest()


def image_collection(cover_hash: str) -> str:
    """Partition of a picture's parts."""
    return f"images/{cover_hash}"


# -- embeddings --------------------------------------------------------------------------------
def filter_columns(song: Document | None) -> Document:
    """What ``embeddings_<dims>`` repeats of a row of ``songs``, as filters compare it."""
    if song is None or not song["digest"]:
        return dict.fromkeys(FILTER_COLUMNS)
    texts: Document = {name: term(song[name] or "") or UNKNOWN for name in FILTER_TEXTS}
    return texts | {"year": song["year"], "duration": song["duration"]}


def term(text: str) -> str:
    """Text as filters compare it: folded, and hashed where it is too long for an index."""
    folded = fold(text)
    data = folded.encode()
    return folded if len(data) <= _LONGEST_TERM else hashlib.sha256(data).hexdigest()


def filtered_track(document: Document) -> Track:
    """A track with the columns that filters read, from a row of ``embeddings_<dims>``."""
    values: Document = {name: document[name] for name in FILTER_COLUMNS}
    values |= {name: "" for name in FILTER_TEXTS if values[name] == UNKNOWN}
    return Track(document["song_id"], **values)


def embedding_key(space: EmbeddingSpace) -> Document:
    """What names a track's row beside the song, by full primary key."""
    return {"model_name": space.model, "embedding_id": space.space_id}


def vectors_documents(
    space: EmbeddingSpace, song_id: str, row: Row, entry: Entry, filters: Document
) -> tuple[list[Document], Document]:
    """A track's vectors: parts of windows that are too big for a row, and the row.

    ``pooled`` repeats ``vector`` in little-endian float32: a vector comes back as decimals, which
    take some twenty times as long to read.
    """
    document: Document = dict.fromkeys(("content_hash", "vector", "pooled", "segments", "parts"))
    parts: list[Document] = []
    if isinstance(row.record, TrackVectors):
        item = row.record.embedding
        windows = np.ascontiguousarray(item.segments, "<f4").tobytes()
        if len(windows) > PART_BYTES:
            parts = _window_parts(space, song_id, windows, entry.digest)
        document |= {
            "content_hash": item.content_hash,
            "vector": np.ascontiguousarray(item.vector, ">f4").tobytes(),
            "pooled": np.ascontiguousarray(item.vector, "<f4").tobytes(),
            "segments": None if parts else windows or None,
            "parts": len(parts),
        }
    key = {"song_id": song_id, **embedding_key(space), "space_id": space.space_id}
    return parts, document | _head(entry) | filters | key | {"shard": shard(song_id)}


def _window_parts(
    space: EmbeddingSpace, song_id: str, windows: bytes, digest: str
) -> list[Document]:
    under = f"{space.space_id}/{_generation(digest)}/"
    key = {"song_id": song_id, "model_name": space.model}
    parts = split(windows)
    return [
        {**key, "embedding_id": f"{under}{number}", "segments": part}
        for number, part in zip(part_keys(len(parts)), parts, strict=True)
    ]


def vectors_of(space: EmbeddingSpace, document: Document, windows: bytes) -> TrackVectors:
    """Inverse of :func:`vectors_documents`."""
    segments = np.frombuffer(windows, "<f4").reshape(-1, space.dims)
    vector = np.frombuffer(document["pooled"], "<f4")
    content_hash = document["content_hash"] or ""
    return TrackVectors(space, Embedding(document["song_id"], content_hash, vector, segments))


def window_parts_filter(space: EmbeddingSpace, song_id: str, digest: str) -> Document:
    """Filter of the parts of a track's windows."""
    under = f"{space.space_id}/{_generation(digest)}/"
    span = {"$gt": under, "$lt": f"{under[:-1]}0"}  # "0" follows "/"
    return {"song_id": song_id, "model_name": space.model, "embedding_id": span}


# -- metadata ----------------------------------------------------------------------------------
def data_documents(
    collection: str, key: str, data: bytes | None, entry: Entry
) -> tuple[list[Document], Document]:
    """Bytes under a key: parts of what is too big for a row, and the row."""
    head = {"collection": collection, "key": key, "data": data, "parts": 0, **_head(entry)}
    if data is None or len(data) <= PART_BYTES:
        return [], head
    parts = part_documents(parts_collection(collection, key, entry.digest), data)
    return parts, head | {"data": None, "parts": len(parts)}


def part_documents(collection: str, data: bytes) -> list[Document]:
    """Bytes as a partition of parts."""
    parts = split(data)
    return [
        {"collection": collection, "key": key, "data": part}
        for key, part in zip(part_keys(len(parts)), parts, strict=True)
    ]


def parts_collection(collection: str, key: str, digest: str) -> str:
    """Partition of the parts of a row."""
    return f"{collection}/{key}/{_generation(digest)}"


def part_keys(count: int) -> list[str]:
    """Keys of the parts, in their order."""
    return [f"{number:06d}" for number in range(count)]


def split(data: bytes) -> list[bytes]:
    """Bytes in parts that fit a row."""
    return [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]


def _generation(digest: str) -> str:
    """Names the content that parts belong to."""
    return digest[:16]
