"""Which rows there are and where: digests and times by key, spaces, collections of documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.astra import codecs, tables
from kindred.storage.astra.batching import Document
from kindred.storage.astra.client import DataApi
from kindred.storage.astra.tables import METADATA, SHARDS, SONGS
from kindred.storage.records import Entry, Kind

_SHARDS: tuple[Document, ...] = tuple({"shard": number} for number in range(SHARDS))


@dataclass(frozen=True)
class Source:
    """Where rows lie whose keys begin alike.

    Attributes
    ----------
    table, column : str
        The column holds what keys have after ``before``.
    key : dict
        The other columns of the primary key.
    listing : tuple of dict
        Filters that find all of the rows, each without a scan.
    prefix : str
        Of the columns ``digest`` and ``updated_at``.
    extra : tuple of str
        What else a write wants to know of the row it replaces.
    space : EmbeddingSpace, optional
        The space whose vectors these are.
    """

    table: str
    column: str
    listing: tuple[Document, ...]
    before: str = ""
    key: Document = field(default_factory=dict)
    prefix: str = ""
    extra: tuple[str, ...] = ()
    space: EmbeddingSpace | None = None


_TRACKS = Source(SONGS, "song_id", _SHARDS)
_COVERS = Source(SONGS, "song_id", _SHARDS, prefix="cover_", extra=("cover_hash",))


def _partition(collection: str, before: str = "") -> Source:
    key: Document = {"collection": collection}
    return Source(METADATA, "key", (key,), before, key, extra=("parts",))


def documents_in(name: str) -> Source:
    """Where the documents of a collection lie."""
    return _partition(f"documents/{name}", f"{name}/")


def vectors_in(space: EmbeddingSpace) -> Source:
    """Where the vectors of a space lie."""
    listing = tuple({"space_id": space.space_id, **shard} for shard in _SHARDS)
    return Source(
        tables.embeddings_table(space.dims),
        "song_id",
        listing,
        f"{space.space_id}/",
        codecs.embedding_key(space),
        extra=("parts",),
        space=space,
    )


AUDIO = _partition("audio")
#: Deleted vectors of spaces that are not described here: their dimensions are not known.
TOMBSTONES = _partition("tombstones")


class Ledger:
    """What is known of rows without reading them."""

    def __init__(self, api: DataApi) -> None:
        self._api = api
        self._spaces: dict[str, EmbeddingSpace] = {}
        self._collections: set[str] = set()

    def spaces(self, wanted: Iterable[str] | None = None) -> dict[str, EmbeddingSpace]:
        """The described spaces by id; looked up unless all that are wanted are known."""
        if wanted is None or not self._spaces.keys() >= set(wanted):
            found = self._api.find(METADATA, {"collection": "spaces"}, ("key", "data"))
            specs = {doc["key"]: json.loads(doc["data"]) for doc in found}
            self._spaces = {
                space_id: EmbeddingSpace.from_dict(specs[space_id]) for space_id in sorted(specs)
            }
        return self._spaces

    def add_spaces(self, spaces: Iterable[EmbeddingSpace]) -> None:
        """Make the tables of new spaces and describe them."""
        by_id = {space.space_id: space for space in spaces}
        for space_id in by_id.keys() - self.spaces(by_id).keys():
            space = by_id[space_id]
            tables.make(self._api, tables.embeddings_table(space.dims))
            self._describe("spaces", space_id, json.dumps(space.to_dict()))
            self._spaces = self._spaces | {space_id: space}

    def collections(self) -> list[str]:
        """Names of the collections of documents."""
        found = self._api.find(METADATA, {"collection": "documents"}, ("key",))
        return [doc["key"] for doc in found]

    def add_collections(self, names: Iterable[str]) -> None:
        """Remember the names of collections."""
        for name in set(names) - self._collections:
            self._describe("documents", name, "{}")
            self._collections.add(name)

    def _describe(self, collection: str, key: str, text: str) -> None:
        entry = Entry("", rows.now())
        _, document = codecs.data_documents(collection, key, text.encode(), entry)
        self._api.insert(METADATA, [document])

    def sources(self, kind: Kind, keys: Iterable[str]) -> list[tuple[Source, list[str]]]:
        """Where some keys of a kind lie, and what each source calls them."""
        keys = list(keys)
        if kind == "tracks":
            return [(_TRACKS, keys)]
        if kind == "covers":
            return [(_COVERS, keys)]
        if kind == "audio":
            return [(AUDIO, keys)]
        groups: dict[str, list[str]] = {}
        for key in keys:
            first, _, rest = key.partition("/")
            groups.setdefault(first, []).append(rest)
        if kind == "documents":
            return [(documents_in(name), names) for name, names in groups.items()]
        spaces = self.spaces(groups)
        strangers = [
            f"{first}/{song_id}"
            for first, song_ids in groups.items()
            if first not in spaces
            for song_id in song_ids
        ]
        found = [
            (vectors_in(spaces[first]), song_ids)
            for first, song_ids in groups.items()
            if first in spaces
        ]
        return [*found, (TOMBSTONES, strangers)] if strangers else found

    def _all(self, kind: Kind) -> list[Source]:
        if kind == "documents":
            return [documents_in(name) for name in self.collections()]
        if kind == "embeddings":  # a space may have been described since its tombstones
            return [TOMBSTONES, *(vectors_in(space) for space in self.spaces().values())]
        return [source for source, _ in self.sources(kind, ())]

    def heads(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Document]:
        """Digest and time of rows, and their ``extra`` columns, by key."""
        asked: list[tuple[Source, list[str] | None]] = (
            [(source, None) for source in self._all(kind)]
            if keys is None
            else [*self.sources(kind, keys)]
        )
        heads: dict[str, Document] = {}
        for source, names in asked:
            prefix = source.prefix
            columns = (source.column, f"{prefix}digest", f"{prefix}updated_at", *source.extra)
            found = (
                self._api.find_all(source.table, source.listing, columns)
                if names is None
                else self._api.find_in(source.table, source.column, names, columns, source.key)
            )
            for document in found:
                if (entry := codecs.entry_of(document, prefix)) is not None:
                    key = f"{source.before}{document[source.column]}"
                    heads[key] = {**document, "entry": entry}
        return heads

    def entries(self, kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
        """What is known of rows, tombstones included, by key."""
        heads = self.heads(kind, keys)
        return {key: heads[key]["entry"] for key in sorted(heads)}
