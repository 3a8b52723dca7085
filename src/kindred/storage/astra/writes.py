"""Writing rows, in an order that a kill at any moment leaves true (see :mod:`.backend`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.astra import codecs
from kindred.storage.astra.batching import Document
from kindred.storage.astra.client import DataApi
from kindred.storage.astra.ledger import AUDIO, TOMBSTONES, Ledger, Source
from kindred.storage.astra.tables import FILTER_COLUMNS, METADATA, SONGS, embeddings_table
from kindred.storage.records import Audio, Cover, Entry, Kind, Row
from kindred.storage.records import Document as LibraryDocument


@dataclass(frozen=True)
class Change:
    """A row that differs from what is stored, and what is stored (``None``: nothing, ever)."""

    row: Row
    entry: Entry
    old: Document | None

    @property
    def replaces(self) -> bool:
        """Whether there is a row now that is not a tombstone."""
        return self.old is not None and not self.old["entry"].deleted


class Writes:
    """Writes the rows of one kind that differ from what is stored."""

    def __init__(self, api: DataApi, ledger: Ledger) -> None:
        self._api, self._ledger = api, ledger

    def changes(self, kind: Kind, wanted: Sequence[Row]) -> list[Change]:
        """What is not stored yet; of several rows under one key the last counts."""
        latest = {row.key: row for row in wanted}
        heads = self._ledger.heads(kind, list(latest))
        changes = []
        for key, row in latest.items():
            old, entry = heads.get(key), rows.entry(row)
            if old is None or old["entry"].digest != entry.digest:
                changes.append(Change(row, entry, old))
        return changes

    def write(self, kind: Kind, changes: Sequence[Change]) -> None:
        """Write what has changed."""
        if kind == "tracks":
            self._tracks(changes)
        elif kind == "covers":
            self._covers(changes)
        else:
            by_key = {change.row.key: change for change in changes}
            for source, names in self._ledger.sources(kind, by_key):
                part = {name: by_key[f"{source.before}{name}"] for name in names}
                if source.space is not None:
                    self._vectors(source.space, part)
                else:
                    self._data(source, part)

    def _tracks(self, changes: Sequence[Change]) -> None:
        songs = [codecs.track_document(change.row, change.entry) for change in changes]
        wanted = {song["song_id"]: codecs.filter_columns(song) for song in songs}
        for space in self._ledger.spaces().values():
            table, key = embeddings_table(space.dims), codecs.embedding_key(space)
            found = self._api.find_in(
                table, "song_id", wanted, ("song_id", "digest", *FILTER_COLUMNS), key
            )
            stale = [
                {"song_id": head["song_id"], **key, **wanted[head["song_id"]]}
                for head in found
                if head["digest"]
                and any(head[name] != value for name, value in wanted[head["song_id"]].items())
            ]
            self._api.insert(table, stale)
        self._api.insert(SONGS, songs)

    def _covers(self, changes: Sequence[Change]) -> None:
        images: dict[str, bytes] = {}
        for change in changes:
            if isinstance(cover := change.row.record, Cover):
                images.setdefault(codecs.image_hash(cover.image), cover.image)
        self._api.insert(METADATA, self._missing_parts(images))
        self._api.insert(
            SONGS, [codecs.cover_document(change.row, change.entry) for change in changes]
        )
        replaced = {change.old["cover_hash"] for change in changes if change.old}
        gone = sorted(filter(None, replaced - images.keys()))
        used = self._api.each(self._is_used, gone)
        self._api.delete(
            METADATA,
            (
                {"collection": codecs.image_collection(cover_hash)}
                for cover_hash, is_used in zip(gone, used, strict=True)
                if not is_used
            ),
        )

    def _is_used(self, cover_hash: str) -> bool:
        return any(True for _ in self._api.find(SONGS, {"cover_hash": cover_hash}, ("song_id",)))

    def _missing_parts(self, images: dict[str, bytes]) -> list[Document]:
        """The parts of pictures that are not stored yet."""
        wanted = {
            (part["collection"], part["key"]): part
            for cover_hash, image in images.items()
            for part in codecs.part_documents(codecs.image_collection(cover_hash), image)
        }
        partitions = [{"collection": codecs.image_collection(item)} for item in images]
        for part in self._api.find_all(METADATA, partitions, ("collection", "key")):
            wanted.pop((part["collection"], part["key"]), None)
        return list(wanted.values())

    def _vectors(self, space: EmbeddingSpace, changes: dict[str, Change]) -> None:
        table = embeddings_table(space.dims)
        columns = ("song_id", "digest", *FILTER_COLUMNS)
        songs = {
            song["song_id"]: song for song in self._api.find_in(SONGS, "song_id", changes, columns)
        }
        parts: list[Document] = []
        heads: list[Document] = []
        for song_id, change in changes.items():
            song = None if change.entry.deleted else songs.get(song_id)
            own, head = codecs.vectors_documents(
                space, song_id, change.row, change.entry, codecs.filter_columns(song)
            )
            parts += own
            heads.append(head)
        self._api.insert(table, parts)
        self._api.insert(table, heads)
        self._api.delete(
            table,
            (
                codecs.window_parts_filter(space, song_id, change.old["digest"])
                for song_id, change in changes.items()
                if change.old is not None and change.replaces and change.old["parts"]
            ),
        )

    def _data(self, source: Source, changes: dict[str, Change]) -> None:
        collection = source.key["collection"]
        if source not in (AUDIO, TOMBSTONES):
            self._ledger.add_collections([source.before[:-1]])
        parts: list[Document] = []
        heads: list[Document] = []
        for name, change in changes.items():
            own, head = codecs.data_documents(collection, name, _data_of(change.row), change.entry)
            parts += own
            heads.append(head)
        self._api.insert(METADATA, parts)
        self._api.insert(METADATA, heads)
        self._api.delete(
            METADATA,
            (
                {"collection": codecs.parts_collection(collection, name, change.old["digest"])}
                for name, change in changes.items()
                if change.old is not None and change.replaces and change.old["parts"]
            ),
        )


def _data_of(row: Row) -> bytes | None:
    """What ``metadata`` keeps of a record."""
    if isinstance(row.record, Audio):
        return row.record.data
    if isinstance(row.record, LibraryDocument):
        return json.dumps(row.record.body).encode()
    return None
