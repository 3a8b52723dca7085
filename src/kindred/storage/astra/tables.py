"""The tables of a library: columns, keys, indexes; making them and looking them over.

::

    songs              one row a track; its cover's hash and thumbnail stand in it
    embeddings_<dims>  a row for each track and space, found by its vector, with copies of the
                       track's columns that searches filter by; further rows hold its windows
    metadata           everything else in partitions (collection), read whole or by key:
        library            library_id, version
        spaces             space_id -> what a space is
        documents          names of the collections of documents
        documents/<name>   documents
        audio              files that are kept whole
        tombstones         deleted vectors of spaces that nobody has described here
        images/<sha256>    parts of a picture
        <...>/<digest>     parts of what is too big for one row, under its owner's name

A row's digest and time (``updated_at``, microseconds) stand beside what they speak of, so that no
row claims what is not there; a tombstone has the time alone. Parts are written before the row that
counts them, under the digest of their content, so that a row and its parts always match.

Nothing is listed without a filter: songs and vectors have an indexed number (``shard``), by which
they are listed in several finds at once.
"""

from __future__ import annotations

import zlib
from typing import Any

from kindred.errors import StorageError
from kindred.storage.astra.client import DataApi

SONGS, METADATA = "songs", "metadata"
_EMBEDDINGS = "embeddings_"
#: Listings of songs and vectors are so many finds at once.
SHARDS = 16

TEXT_COLUMNS = (
    *("title", "artist", "album", "album_id", "composer", "composer_original", "work", "genre"),
    *("format", "added_at"),
)
NUMBER_COLUMNS = ("track_no", "year", "sample_rate", "channels")
#: The track's columns that ``embeddings_<dims>`` repeats; ``work`` is only ever excluded.
FILTER_TEXTS = ("composer", "artist", "album", "genre", "work")
FILTER_COLUMNS = (*FILTER_TEXTS, "year", "duration")
_INDEXED_FILTERS = tuple(name for name in FILTER_COLUMNS if name != "work")

_COLUMNS: dict[str, dict[str, str]] = {
    SONGS: {
        "song_id": "text",
        "shard": "int",
        "content_hash": "text",
        **dict.fromkeys(TEXT_COLUMNS, "text"),
        **dict.fromkeys(NUMBER_COLUMNS, "bigint"),
        "duration": "double",
        "peaks": "blob",
        "extra": "text",
        "digest": "text",
        "updated_at": "bigint",
        "cover_hash": "text",
        "cover_parts": "int",
        "thumbnail": "blob",
        "cover_digest": "text",
        "cover_updated_at": "bigint",
    },
    METADATA: {
        "collection": "text",
        "key": "text",
        "data": "blob",
        "parts": "int",
        "digest": "text",
        "updated_at": "bigint",
    },
    _EMBEDDINGS: {
        "song_id": "text",
        "model_name": "text",
        "embedding_id": "text",
        "space_id": "text",
        "shard": "int",
        "content_hash": "text",
        "pooled": "blob",
        "segments": "blob",
        "parts": "int",
        "digest": "text",
        "updated_at": "bigint",
        **dict.fromkeys(FILTER_TEXTS, "text"),
        "year": "bigint",
        "duration": "double",
    },
}
_KEYS: dict[str, tuple[list[str], dict[str, int]]] = {
    SONGS: (["song_id"], {}),
    METADATA: (["collection"], {"key": 1}),
    _EMBEDDINGS: (["song_id"], {"model_name": 1, "embedding_id": 1}),
}
_INDEXES = {
    SONGS: ("shard", "content_hash", "cover_hash"),
    METADATA: (),
    _EMBEDDINGS: ("space_id", "shard", *_INDEXED_FILTERS),
}


def shard(song_id: str) -> int:
    """Which of the listings has a song."""
    return zlib.crc32(song_id.encode()) % SHARDS


def embeddings_table(dims: int) -> str:
    """Name of the table of vectors of a length."""
    return f"{_EMBEDDINGS}{dims}"


def dims_of(table: str) -> int | None:
    """Length of a table's vectors; ``None`` for other tables."""
    dims = table.removeprefix(_EMBEDDINGS)
    return int(dims) if table.startswith(_EMBEDDINGS) and dims.isdecimal() else None


def definition(table: str) -> dict[str, Any]:
    """A table's columns and primary key, as ``create_table`` takes them."""
    dims = dims_of(table)
    kind = table if dims is None else _EMBEDDINGS
    columns: dict[str, Any] = {name: {"type": type_} for name, type_ in _COLUMNS[kind].items()}
    if dims is not None:
        columns["vector"] = {"type": "vector", "dimension": dims}
    partition, sort = _KEYS[kind]
    return {"columns": columns, "primaryKey": {"partitionBy": partition, "partitionSort": sort}}


def indexed_columns(table: str) -> tuple[str, ...]:
    """The columns of a table that have an index, vectors included."""
    dims = dims_of(table)
    return _INDEXES[table] if dims is None else (*_INDEXES[_EMBEDDINGS], "vector")


def index_name(table: str, column: str) -> str:
    """Name of a column's index, unique in the keyspace."""
    return f"{table}_{column}"


def make(api: DataApi, table: str) -> None:
    """Make a table and its indexes where they are missing."""
    from astrapy.constants import VectorMetric
    from astrapy.info import TableVectorIndexOptions

    def create() -> None:
        made = api.database.create_table(table, definition=definition(table), if_not_exists=True)
        made._api_commander.client.close()  # we keep one of our own

    api.call(create)
    options = TableVectorIndexOptions(metric=VectorMetric.COSINE)
    for column in indexed_columns(table):

        def index(column: str = column) -> None:
            name, kept = index_name(table, column), api.table(table)
            if column == "vector":
                kept.create_vector_index(name, column=column, options=options, if_not_exists=True)
            else:
                kept.create_index(name, column=column, if_not_exists=True)

        api.call(index)


def check(api: DataApi) -> None:
    """Raise :class:`StorageError` unless every table is there and as we make it."""
    found = {
        table.name: table.definition.as_dict()
        for table in api.call(api.database.list_tables)
        if table.name in (SONGS, METADATA) or dims_of(table.name) is not None
    }
    if missing := [name for name in (SONGS, METADATA) if name not in found]:
        raise StorageError(
            f"{api.place} has no table {' and '.join(missing)}. Run `kindred storage init`."
        )
    for name, got in found.items():
        wanted = definition(name)
        wrong = [
            column
            for column, type_ in wanted["columns"].items()
            if not type_.items() <= got["columns"].get(column, {}).items()
        ]
        if wrong or got["primaryKey"]["partitionBy"] != wanted["primaryKey"]["partitionBy"]:
            raise StorageError(
                f"The table {name} at {api.place} is not as this version of Kindred makes it"
                f" ({', '.join(wrong) or 'its key'}). Set ASTRA_DB_KEYSPACE to an empty keyspace,"
                " run `kindred storage init` and migrate the library into it."
            )
        indexes = {index.definition.column for index in api.call(api.table(name).list_indexes)}
        if bare := [column for column in indexed_columns(name) if column not in indexes]:
            raise StorageError(
                f"The table {name} at {api.place} has no index on {', '.join(bare)}."
                " Run `kindred storage init`."
            )
