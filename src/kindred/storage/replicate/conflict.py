"""Versions that lost a conflict, kept as documents of the collection ``conflicts``.

A document's key depends on the row and the two versions alone, so that the same conflict found
twice, by a run that was killed or by another machine, is one document. It moves between libraries
like any other. A deletion that lost is kept for tracks and documents; that of a cover, of vectors
or of audio follows its track.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from kindred.errors import StorageError
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Document, Entry, Kind, Row, Track
from kindred.storage.replicate.moves import track_of

COLLECTION = "conflicts"


@dataclass(frozen=True)
class Version:
    """One side's version of a row: where it was, its digest (empty: deleted) and its time."""

    library: str
    store: str
    digest: str
    updated_at: int


@dataclass(frozen=True)
class Conflict:
    """A row that two libraries had changed, and the version that lost.

    Attributes
    ----------
    conflict_id : str
    kind, key : str
        The row.
    winner, loser : Version
    lost : Row
        The version that lost, whole; a tombstone when it was a deletion.
    """

    conflict_id: str
    kind: Kind
    key: str
    winner: Version
    loser: Version
    lost: Row

    def to_dict(self) -> dict[str, Any]:
        """The conflict ready for JSON, without the content that lost."""
        title = self.lost.record.title if isinstance(self.lost.record, Track) else ""
        return {
            "conflict_id": self.conflict_id,
            "kind": self.kind,
            "key": self.key,
            "title": title,
            "winner": vars(self.winner),
            "loser": vars(self.loser),
        }


def version(store: LibraryStore, entry: Entry | None) -> Version:
    """A side's version of a row."""
    digest, updated_at = (entry.digest, entry.updated_at) if entry else ("", 0)
    return Version(store.library_id(), store.name, digest, updated_at)


def document(winner: Version, loser: Version, lost: Row) -> Document:
    """A conflict as it is kept."""
    parts = (lost.kind, lost.key, winner.digest, loser.digest)
    conflict_id = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    body = {
        "kind": lost.kind,
        "key": lost.key,
        "winner": vars(winner),
        "loser": vars(loser),
        "lost": base64.b64encode(rows.pack(lost)).decode("ascii"),
    }
    return Document(COLLECTION, conflict_id, body)


def conflicts(store: LibraryStore) -> list[Conflict]:
    """Every conflict kept with a library, by id."""
    return [_conflict(item) for item in store.list_documents(COLLECTION)]


def resolve(store: LibraryStore, conflict_id: str, *, keep: Literal["winner", "loser"]) -> None:
    """Settle a conflict: leave the row as it is, or put back the version that lost.

    A row that has changed since the conflict is not overwritten in silence: its version is kept as
    a conflict in its turn.

    Raises
    ------
    StorageError
        When there is no such conflict, or the track that a cover or vectors belong to is gone.
    """
    found = store.get_document(COLLECTION, conflict_id)
    if found is None:
        raise StorageError(
            f"There is no conflict {conflict_id!r}; somebody may have settled it. Look at the list"
            " again."
        )
    if keep == "loser":
        _put_back(store, _conflict(found))
    store.delete_document(COLLECTION, conflict_id)


def _put_back(store: LibraryStore, conflict: Conflict) -> None:
    kind, key, lost = conflict.kind, conflict.key, conflict.lost
    owner = track_of(kind, key)
    if owner and lost.record is not None and not store.get_tracks([owner]):
        raise StorageError(
            f"The track {owner} that this belongs to is gone. Put the track back first."
        )
    now = store.entries(kind, [key]).get(key)
    for row in store.read_rows(kind, [key]):
        if now is not None and now.digest not in (conflict.winner.digest, conflict.loser.digest):
            mine = Version(store.library_id(), store.name, conflict.loser.digest, rows.now())
            store.put_document(document(mine, version(store, now), row))
    # Later than what it replaces, whatever clock that was written by.
    at = max(rows.now(), now.updated_at + 1 if now else 0)
    if lost.record is not None:
        store.write_rows([rows.make(lost.record, at)])
    elif kind == "tracks":
        store.delete_tracks([key])
    else:
        store.write_rows([rows.tombstone(kind, key, at)])


def _conflict(found: Document) -> Conflict:
    body = found.body
    return Conflict(
        found.key,
        body["kind"],
        body["key"],
        Version(**body["winner"]),
        Version(**body["loser"]),
        rows.unpack(base64.b64decode(body["lost"])),
    )
