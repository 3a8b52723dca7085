"""Reading whole rows, put together from their parts."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from kindred.storage import rows
from kindred.storage.astra import codecs
from kindred.storage.astra.batching import Document, chunks
from kindred.storage.astra.client import DataApi
from kindred.storage.astra.ledger import AUDIO, TOMBSTONES, Ledger, Source, documents_in
from kindred.storage.astra.tables import METADATA
from kindred.storage.records import Audio, Cover, Kind, Record, Row
from kindred.storage.records import Document as LibraryDocument

_log = logging.getLogger(__name__)
#: Parts read in one request.
_PARTS = 8


class Reads:
    """Reads rows that are there; tombstones are none."""

    def __init__(self, api: DataApi, ledger: Ledger) -> None:
        self._api, self._ledger = api, ledger

    def read(self, kind: Kind, keys: Sequence[str]) -> list[Row]:
        """Rows in the order asked for."""
        found, torn = self._once(kind, keys)
        found |= self._again(kind, torn)
        return [found[key] for key in keys if key in found]

    def documents(self, collection: str) -> list[Row]:
        """The documents of a collection, by key."""
        source = documents_in(collection)
        found: dict[str, Row] = {}
        documents = self._api.find_all(METADATA, source.listing, codecs.DATA_COLUMNS)
        torn = self._data(found, source, documents)
        found |= self._again("documents", torn)
        return [found[key] for key in sorted(found)]

    def _again(self, kind: Kind, torn: Sequence[str]) -> dict[str, Row]:
        """Rows that were replaced while they were read."""
        if not torn:
            return {}
        found, torn = self._once(kind, torn)
        for key in torn:
            _log.warning("%s %s at %s is not whole and is passed over.", kind, key, self._api.place)
        return found

    def _once(self, kind: Kind, keys: Sequence[str]) -> tuple[dict[str, Row], list[str]]:
        """Rows by key, and the keys of those whose parts did not belong to them."""
        found: dict[str, Row] = {}
        torn: list[str] = []
        for source, names in self._ledger.sources(kind, keys):
            if kind == "tracks":
                for document in self._find(source, names, codecs.TRACK_COLUMNS):
                    if document["digest"]:
                        _add(found, codecs.track_of(document), document["updated_at"])
            elif kind == "covers":
                torn += self._covers(found, self._find(source, names, codecs.COVER_COLUMNS))
            elif source.space is not None:
                torn += self._vectors(
                    found, source, self._find(source, names, codecs.VECTOR_COLUMNS)
                )
            elif source != TOMBSTONES:
                torn += self._data(found, source, self._find(source, names, codecs.DATA_COLUMNS))
        return found, torn

    def _find(
        self, source: Source, names: Sequence[str], columns: tuple[str, ...]
    ) -> list[Document]:
        return self._api.find_in(source.table, source.column, names, columns, source.key)

    def _covers(self, found: dict[str, Row], documents: list[Document]) -> list[str]:
        documents = [document for document in documents if document["cover_digest"]]
        images = self._parts(
            {codecs.image_collection(doc["cover_hash"]): doc["cover_parts"] for doc in documents}
        )
        torn = []
        for document in documents:
            image = images.get(codecs.image_collection(document["cover_hash"]))
            if image is None:
                torn.append(document["song_id"])
            else:
                cover = Cover(document["song_id"], image, document["thumbnail"] or b"")
                _add(found, cover, document["cover_updated_at"])
        return torn

    def _vectors(
        self, found: dict[str, Row], source: Source, documents: list[Document]
    ) -> list[str]:
        space = source.space
        assert space is not None
        documents = [document for document in documents if document["digest"]]
        wheres = [
            codecs.window_parts_filter(space, document["song_id"], document["digest"])
            for document in documents
            if document["parts"]
        ]
        parts: dict[str, dict[str, bytes]] = {}
        columns = ("song_id", "embedding_id", "segments")
        for part in self._api.find_all(source.table, wheres, columns):
            parts.setdefault(part["song_id"], {})[part["embedding_id"]] = part["segments"]
        torn = []
        for document in documents:
            own = parts.get(document["song_id"], {})
            if len(own) != document["parts"]:
                torn.append(f"{source.before}{document['song_id']}")
                continue
            windows = document["segments"] or b"".join(own[name] for name in sorted(own))
            _add(found, codecs.vectors_of(space, document, windows), document["updated_at"])
        return torn

    def _data(self, found: dict[str, Row], source: Source, documents: list[Document]) -> list[str]:
        documents = [document for document in documents if document["digest"]]

        def parts_of(document: Document) -> str:
            collection = source.key["collection"]
            return codecs.parts_collection(collection, document["key"], document["digest"])

        wholes = self._parts({parts_of(doc): doc["parts"] for doc in documents if doc["parts"]})
        torn = []
        for document in documents:
            key, data = document["key"], document["data"] or b""
            if document["parts"]:
                whole = wholes.get(parts_of(document))
                if whole is None:
                    torn.append(f"{source.before}{key}")
                    continue
                data = whole
            _add(found, _record(source, key, data), document["updated_at"])
        return torn

    def _parts(self, counts: dict[str, int]) -> dict[str, bytes]:
        """Partitions of parts put together; those that miss some are left out."""
        wheres = (
            {"collection": collection, "key": {"$in": keys}}
            for collection, count in counts.items()
            for keys in chunks(codecs.part_keys(count), _PARTS)
        )
        parts: dict[str, dict[str, bytes]] = {collection: {} for collection in counts}
        for part in self._api.find_all(METADATA, wheres, ("collection", "key", "data")):
            parts[part["collection"]][part["key"]] = part["data"]
        return {
            collection: b"".join(own[key] for key in sorted(own))
            for collection, own in parts.items()
            if len(own) == counts[collection]
        }


def _add(found: dict[str, Row], record: Record, updated_at: int) -> None:
    row = rows.make(record, updated_at)
    found[row.key] = row


def _record(source: Source, key: str, data: bytes) -> Audio | LibraryDocument:
    if source == AUDIO:
        stem, dot, suffix = key.partition(".")
        return Audio(stem, dot + suffix, data)
    return LibraryDocument(source.before[:-1], key, json.loads(data))
