"""Records to columns and back: what is read, and how rows are written in bulk.

Few rows are sent as upserts, many by COPY into a temporary table and one upsert from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from psycopg.types.numeric import Int4, Int8

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.postgres.connections import Connection
from kindred.storage.postgres.vector import Vector, matrix
from kindred.storage.records import (
    Audio,
    Cover,
    Document,
    Embedding,
    Kind,
    Record,
    Row,
    Track,
    TrackVectors,
    fold,
)

TRACK_COLUMNS = [item.name for item in dataclasses.fields(Track) if item.name != "paths"]
_FOLDED = ("composer", "artist", "album", "genre", "work")
#: From this many rows on, COPY is faster than upserts one by one.
_COPY = 50
#: Rows in one statement, so that none takes too long.
_CHUNK = 2_000
#: Longer folded text is replaced by its digest, as a B-tree holds no more than 2,704 bytes.
_LONGEST = 256


def folded(text: str) -> str:
    """Text as the folded columns hold it."""
    text = fold(text)
    return text if len(text) <= _LONGEST else hashlib.sha256(text.encode()).hexdigest()


def storable(texts: Iterable[str]) -> list[str]:
    """The texts that Postgres can hold; it has nothing under any other."""
    return [text for text in texts if "\0" not in text and _is_unicode(text)]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character
        return False
    return True


# -- reading -----------------------------------------------------------------------------------
#: Key, time and columns of the rows with some keys, by kind. A key of the ledger names one row.
READ: dict[Kind, str] = {
    "tracks": f"SELECT l.key, l.updated_at, {', '.join(TRACK_COLUMNS)}"
    " FROM ledger l JOIN tracks ON track_id = l.key",
    "covers": "SELECT l.key, l.updated_at, image, thumbnail FROM ledger l"
    " JOIN track_covers ON track_id = l.key JOIN covers USING (cover_hash)",
    "embeddings": "SELECT l.key, l.updated_at, spec, content_hash, vector_send(vector), segments"
    " FROM ledger l JOIN track_embeddings e ON space_id = split_part(l.key, '/', 1)"
    " AND track_id = substr(l.key, strpos(l.key, '/') + 1) JOIN spaces USING (space_id)",
    "audio": "SELECT l.key, l.updated_at, content_hash, suffix, data"
    " FROM ledger l JOIN audio a ON a.key = l.key",
    "documents": "SELECT l.key, l.updated_at, body FROM ledger l"
    " JOIN documents d ON collection = split_part(l.key, '/', 1)"
    " AND d.key = substr(l.key, strpos(l.key, '/') + 1)",
}
READ = {kind: f"{sql} WHERE l.kind = '{kind}' AND l.key = ANY(%s)" for kind, sql in READ.items()}


def track(values: Sequence[Any]) -> Track:
    """A track from the columns of :data:`TRACK_COLUMNS`."""
    named = dict(zip(TRACK_COLUMNS, values, strict=True))
    named["extra"] = json.loads(named["extra"])
    return Track(**named)


def record(kind: Kind, key: str, values: Sequence[Any]) -> Record:
    """A record from the columns that :data:`READ` names after key and time."""
    if kind == "tracks":
        return track(values)
    if kind == "covers":
        return Cover(key, *values)
    if kind == "audio":
        return Audio(*values)
    second = key.partition("/")[2]
    if kind == "documents":
        return Document(key.partition("/")[0], second, json.loads(values[0]))
    space = EmbeddingSpace.from_dict(json.loads(values[0]))
    vector = matrix([values[2]], space.dims)[0]
    segments = np.frombuffer(values[3], "<f4").reshape(-1, space.dims)
    return TrackVectors(space, Embedding(second, values[1], vector, segments))


# -- writing -----------------------------------------------------------------------------------
def write(connection: Connection, kind: Kind, changes: Sequence[Row]) -> bool:
    """Write rows of one kind, each key once, that are not there already; say whether any was not.

    Nobody else may write meanwhile: what is known of the rows must stay true.
    """
    found = connection.cursor(binary=True).execute(
        "SELECT key, digest FROM ledger WHERE kind = %s AND key = ANY(%s)",
        (kind, [row.key for row in changes]),
    )
    known: dict[str, bytes] = dict(found.fetchall())
    entries = [(row, bytes.fromhex(rows.entry(row).digest)) for row in changes]
    new = [(row, digest) for row, digest in entries if known.get(row.key) != digest]
    if not new:
        return False
    live = {row.key for row, _ in new if known.get(row.key)}
    if kind == "embeddings":
        _write_spaces(connection, [row for row, _ in new], live)
    covers = _cover_hashes(connection, live) if kind == "covers" else []
    gone = [row.key for row, _ in new if row.record is None and row.key in live]
    _remove(connection, kind, gone)
    _insert(connection, kind, [row.record for row, _ in new if row.record is not None])
    if covers:
        connection.execute(
            "DELETE FROM covers c WHERE cover_hash = ANY(%s) AND NOT EXISTS"
            " (SELECT 1 FROM track_covers t WHERE t.cover_hash = c.cover_hash)",
            (covers,),
        )
    _upsert(
        connection,
        "ledger",
        ("kind", "key"),
        ("digest", "updated_at"),
        [(kind, row.key, digest, Int8(row.updated_at)) for row, digest in new],
    )
    return True


def _insert(connection: Connection, kind: Kind, records: Sequence[Any]) -> None:
    if kind == "tracks":
        columns = (*TRACK_COLUMNS[1:], *(f"{name}_fold" for name in _FOLDED))
        _upsert(connection, "tracks", ("track_id",), columns, map(_track_values, records))
    elif kind == "covers":
        hashes = [hashlib.sha256(item.image + item.thumbnail).digest() for item in records]
        pictures = {
            digest: (digest, item.image, item.thumbnail)
            for digest, item in zip(hashes, records, strict=True)
        }
        _upsert(
            connection, "covers", ("cover_hash",), ("image", "thumbnail"), list(pictures.values())
        )
        links = [(item.track_id, digest) for digest, item in zip(hashes, records, strict=True)]
        _upsert(connection, "track_covers", ("track_id",), ("cover_hash",), links)
    elif kind == "embeddings":
        columns = ("embedding_kind", "model_name", "model_version", "dims", "content_hash")
        _upsert(
            connection,
            "track_embeddings",
            ("space_id", "track_id"),
            (*columns, "vector", "segments"),
            map(_vector_values, records),
        )
    elif kind == "audio":
        values = [(*rows.identity(item)[1:], *dataclasses.astuple(item)) for item in records]
        _upsert(connection, "audio", ("key",), ("content_hash", "suffix", "data"), values)
    else:
        values = [(item.collection, item.key, json.dumps(item.body)) for item in records]
        _upsert(connection, "documents", ("collection", "key"), ("body",), values)


def _track_values(item: Track) -> tuple[Any, ...]:
    values = {name: getattr(item, name) for name in TRACK_COLUMNS}
    values["extra"] = json.dumps(item.extra)
    values["duration"] = float(item.duration)
    for name in ("track_no", "year", "sample_rate", "channels"):
        values[name] = None if values[name] is None else Int8(values[name])
    return (*values.values(), *(folded(values[name]) for name in _FOLDED))


def _vector_values(item: TrackVectors) -> tuple[Any, ...]:
    space, vectors = item.space, item.embedding
    key = ("track", space.model, space.revision, Int4(space.dims), vectors.content_hash)
    segments = np.ascontiguousarray(vectors.segments, "<f4").tobytes()
    return (space.space_id, vectors.track_id, *key, Vector(vectors.vector), segments)


def _write_spaces(connection: Connection, changes: Sequence[Row], live: set[str]) -> None:
    """Make the spaces that are new and count the tracks of each."""
    spaces = {item.record.space for item in changes if isinstance(item.record, TrackVectors)}
    for space in sorted(spaces, key=lambda item: item.space_id):
        connection.execute(
            "INSERT INTO spaces VALUES (%s, %s, %s, %s, %s, 0) ON CONFLICT DO NOTHING",
            (
                space.space_id,
                json.dumps(space.to_dict()),
                space.model,
                space.revision,
                space.dims,
            ),
        )
    more: Counter[str] = Counter()
    for row in changes:
        more[row.key.partition("/")[0]] += (row.record is not None) - (row.key in live)
    for space_id, count in more.items():
        connection.execute(
            "UPDATE spaces SET tracks = tracks + %s WHERE space_id = %s", (count, space_id)
        )


def _cover_hashes(connection: Connection, keys: Iterable[str]) -> list[bytes]:
    found = connection.cursor(binary=True).execute(
        "SELECT DISTINCT cover_hash FROM track_covers WHERE track_id = ANY(%s)", (list(keys),)
    )
    return [row[0] for row in found]


def _remove(connection: Connection, kind: Kind, keys: Sequence[str]) -> None:
    if not keys:
        return
    pairs = {
        "embeddings": ("track_embeddings", "space_id", "track_id"),
        "documents": ("documents", "collection", "key"),
    }
    singles = {
        "tracks": ("tracks", "track_id"),
        "covers": ("track_covers", "track_id"),
        "audio": ("audio", "key"),
    }
    if kind in pairs:
        table, first, second = pairs[kind]
        connection.execute(
            f"DELETE FROM {table} t USING unnest(%s::text[], %s::text[]) AS gone (a, b)"
            f" WHERE t.{first} = gone.a AND t.{second} = gone.b",
            ([key.partition("/")[0] for key in keys], [key.partition("/")[2] for key in keys]),
        )
    else:
        table, column = singles[kind]
        connection.execute(f"DELETE FROM {table} WHERE {column} = ANY(%s)", (list(keys),))


def _upsert(
    connection: Connection,
    table: str,
    key: Sequence[str],
    columns: Sequence[str],
    values: Iterable[Sequence[Any]],
) -> None:
    """Insert rows, whose values are those of the key and then of the columns, or replace them."""
    names = ", ".join((*key, *columns))
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"
    waiting = list(values)
    for start in range(0, len(waiting), _CHUNK):
        part = waiting[start : start + _CHUNK]
        if len(part) < _COPY:
            marks = ", ".join(["%b"] * (len(key) + len(columns)))
            connection.cursor().executemany(
                f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}", part
            )
            continue
        connection.execute(f"CREATE TEMP TABLE incoming (LIKE {table}) ON COMMIT DROP")
        with connection.cursor().copy(
            f"COPY incoming ({names}) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            for row in part:
                copy.write_row(row)
        connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming {conflict}")
        connection.execute("DROP TABLE incoming")
