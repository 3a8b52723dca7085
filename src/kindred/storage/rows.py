"""Rows: the one form in which records go from store to store, into the outbox and over the wire.

A row's key and digest depend on its content alone, so that two stores can be compared by them.
Where a track's audio lies (``Track.paths``) belongs to one machine and is no part of a row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from typing import Any

import msgpack
import numpy as np

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage.records import (
    Audio,
    Cover,
    Document,
    Embedding,
    Entry,
    Kind,
    Record,
    Row,
    Track,
    TrackVectors,
)

#: Fields of a track and what they are while nothing is known.
_TRACK = {name: value for name, value in vars(Track("")).items() if name != "paths"}


def now() -> int:
    """The time, in microseconds of UTC since 1970."""
    return time.time_ns() // 1_000


def make(record: Record, updated_at: int | None = None) -> Row:
    """A record as a row, changed now unless said otherwise."""
    kind, key = identity(record)
    return Row(kind, key, record, now() if updated_at is None else updated_at)


def tombstone(kind: Kind, key: str, updated_at: int | None = None) -> Row:
    """A row that says that there is none any more."""
    return Row(kind, key, None, now() if updated_at is None else updated_at)


def identity(record: Record) -> tuple[Kind, str]:
    """A record's kind and its key, unique within the kind."""
    if isinstance(record, Track):
        return "tracks", record.track_id
    if isinstance(record, Cover):
        return "covers", record.track_id
    if isinstance(record, TrackVectors):
        return "embeddings", f"{record.space.space_id}/{record.embedding.track_id}"
    if isinstance(record, Audio):
        return "audio", f"{record.content_hash}{record.suffix}"
    return "documents", f"{record.collection}/{record.key}"


def entry(row: Row) -> Entry:
    """A row's digest and time."""
    return Entry(digest(row.record) if row.record is not None else "", row.updated_at)


def digest(record: Record) -> str:
    """SHA-256 of a record's content, hexadecimal."""
    return hashlib.sha256(_packed(_plain(record))).hexdigest()


def pack(row: Row) -> bytes:
    """A row as bytes (MessagePack)."""
    body = None if row.record is None else _plain(row.record)
    return _packed([row.kind, row.key, row.updated_at, body])


def unpack(data: bytes) -> Row:
    """Inverse of :func:`pack`."""
    kind, key, updated_at, body = msgpack.unpackb(data)
    return Row(kind, key, None if body is None else _record(kind, body), updated_at)


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _plain(record: Record) -> list[Any]:
    """A record as a list of plain values, the same for equal records."""
    if isinstance(record, Track):
        # Without what is left empty, so that a field added one day changes no digest.
        values = {
            name: getattr(record, name)
            for name, default in _TRACK.items()
            if getattr(record, name) != default
        }
        if "duration" in values:
            values["duration"] = float(record.duration)
        return [[name, _ordered(value)] for name, value in sorted(values.items())]
    if isinstance(record, TrackVectors):
        item = record.embedding
        return [
            json.dumps(record.space.to_dict(), sort_keys=True),
            item.track_id,
            item.content_hash,
            np.ascontiguousarray(item.vector, "<f4").tobytes(),
            np.ascontiguousarray(item.segments, "<f4").tobytes(),
        ]
    if isinstance(record, Document):
        body = json.dumps(record.body, sort_keys=True, ensure_ascii=False)
        return [record.collection, record.key, body]
    return list(dataclasses.astuple(record))


def _ordered(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, dict) else value


def _record(kind: Kind, body: list[Any]) -> Record:
    if kind == "tracks":
        values = dict(body)
        return Track(**(values | {"extra": dict(values.get("extra", ()))}))
    if kind == "covers":
        return Cover(*body)
    if kind == "embeddings":
        space = EmbeddingSpace.from_dict(json.loads(body[0]))
        vector = np.frombuffer(body[3], "<f4")
        segments = np.frombuffer(body[4], "<f4").reshape(-1, space.dims)
        return TrackVectors(space, Embedding(body[1], body[2], vector, segments))
    if kind == "audio":
        return Audio(*body)
    return Document(body[0], body[1], json.loads(body[2]))
