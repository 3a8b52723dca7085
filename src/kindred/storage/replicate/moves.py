"""What has to move between two libraries so that they agree, decided row by row.

A row that one side alone has changed since both agreed on it is copied, its deletion too. Where
both sides changed it to different content, or nothing is known of an agreement, it is a conflict:

- A row wins over its deletion; else the later time wins; else the greater digest, so that two
  machines decide alike. ``prefer`` overrules all of that.
- The version that loses is kept with both libraries (:mod:`.conflict`) before it is replaced.
- A row that is missing without a tombstone was never deleted: it is copied.

``direction`` is ``"both"`` to synchronise, or ``"a->b"`` to migrate: nothing is written to A then,
what B alone has stays, and where B was changed and A is not the later version, B stays as it is.

Covers and vectors go the way of their track. Where a track survives its deletion, so do they and
its kept audio; where a track is deleted, what the other side has added to it goes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from kindred.storage.backend import LibraryStore
from kindred.storage.records import KINDS, Entry, Kind
from kindred.storage.replicate.state import Difference

Side = Literal["a", "b"]
Direction = Literal["both", "a->b"]


class Move(NamedTuple):
    """What is done with a row: ``to`` is the side that is written; a kept row has none."""

    what: Literal["add", "replace", "delete", "keep"]
    to: Side | None
    conflict: bool = False


def decide(
    a: Entry | None,
    b: Entry | None,
    agreed: str | None,
    *,
    direction: Direction = "both",
    prefer: Side | None = None,
) -> Move | None:
    """What has to be done with one row; ``None`` for nothing.

    Parameters
    ----------
    a, b : Entry, optional
        The row on both sides; ``None`` where it never was.
    agreed : str, optional
        The digest that both had last, empty for a deleted row.
    """
    mine, theirs = a.digest if a else "", b.digest if b else ""
    if mine == theirs:
        return None
    winner: Side
    conflict = False
    if a is None or b is None:
        winner = "b" if a is None else "a"
    elif agreed in (mine, theirs):
        winner = "b" if agreed == mine else "a"
        new, old = (b, a) if winner == "b" else (a, b)
        # A clock that is behind, or a library that came back from a backup: what the change
        # replaces may be the newer version, so that it is kept too.
        conflict = not new.deleted and not old.deleted and new.updated_at < old.updated_at
    else:
        conflict = True
        winner = prefer or ("a" if _rank(a) > _rank(b) else "b")
    if direction == "a->b" and winner == "b":
        if a is None:
            return None
        if prefer != "a":
            return Move("keep", None, conflict=True)
        winner, conflict = "a", True
    won, lost = (mine, theirs) if winner == "a" else (theirs, mine)
    return Move("delete" if not won else "replace" if lost else "add", other(winner), conflict)


def other(side: Side) -> Side:
    """The side opposite."""
    return "b" if side == "a" else "a"


def shared_kinds(a: LibraryStore, b: LibraryStore) -> list[Kind]:
    """The kinds that both stores keep: one may have been told to keep no audio."""
    audio = all(store.store_audio for store in (a, b))
    return [kind for kind in KINDS if kind != "audio" or audio]


def track_of(kind: Kind, key: str) -> str:
    """The track that a cover's or a vector's key belongs to; empty for other kinds."""
    if kind == "embeddings":
        return key.partition("/")[2]
    return key if kind == "covers" else ""


@dataclass
class TracksInTheEnd:
    """What becomes of the tracks, which decides over what belongs to them."""

    stores: dict[Side, LibraryStore]
    dead: dict[Side, set[str]]
    """Tracks that a side has deleted in the end."""
    saved: set[str]
    """Tracks that one side does not have now, and that stay on the other."""

    def note(self, row: Difference, move: Move) -> None:
        """Take in what is done with a track."""
        if move.to is not None and move.what == "delete":
            self.dead[move.to].add(row.key)
        elif move.to is not None:
            self.dead[move.to].discard(row.key)
        if move.what == "add" or (move.what == "keep" and row.a is not None and row.a.deleted):
            self.saved.add(row.key)

    def orphaned(self, kind: Kind, key: str, move: Move) -> bool:
        """Whether a row would come to a side that has its track deleted."""
        if move.to is None or move.what not in ("add", "replace"):
            return False
        return track_of(kind, key) in self.dead[move.to]

    def spares(self, kind: Kind, key: str, move: Move) -> bool:
        """Whether a row would be deleted that belongs to a track that stays."""
        if move.to is None or move.what != "delete" or kind == "documents":
            return False
        track_id = track_of(kind, key)
        if kind == "audio":
            track = self.stores[move.to].find_track_by_hash(key.partition(".")[0])
            track_id = track.track_id if track else ""
        return track_id in self.saved and track_id not in self.dead[move.to]


def _rank(entry: Entry) -> tuple[bool, int, str]:
    return (not entry.deleted, entry.updated_at, entry.digest)
