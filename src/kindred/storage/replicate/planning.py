"""What would have to move between two libraries: compared, counted and put in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kindred.storage.backend import LibraryStore
from kindred.storage.records import Kind, Track
from kindred.storage.replicate.moves import (
    Direction,
    Move,
    Side,
    TracksInTheEnd,
    decide,
    other,
    shared_kinds,
)
from kindred.storage.replicate.patience import Patience
from kindred.storage.replicate.state import Difference, Drift, EntriesOf, SyncState

_NAMES = 10


@dataclass
class Plan:
    """What would change.

    Attributes
    ----------
    places : dict
        The sides' places in words.
    moves : dict
        For every kind and move, the keys of its rows.
    titles : dict
        Up to ten titles of the tracks of each move.
    counts : dict
        For every kind, how far the sides are apart.
    spared : dict
        Rows that stay although one side has deleted them.
    orphans : dict
        Rows that go because their track was deleted.
    """

    direction: Direction
    prefer: Side | None
    places: dict[Side, str]
    moves: dict[Kind, dict[Move, list[str]]] = field(default_factory=dict)
    titles: dict[Move, list[str]] = field(default_factory=dict)
    counts: dict[Kind, Drift] = field(default_factory=dict)
    spared: dict[Kind, set[str]] = field(default_factory=dict)
    orphans: dict[Kind, set[str]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows would be written."""
        return sum(
            len(keys)
            for moves in self.moves.values()
            for move, keys in moves.items()
            if move.to is not None
        )

    def move(self, kind: Kind, row: Difference) -> Move | None:
        """What this plan does with a row; ``None`` for nothing."""
        move = decide(row.a, row.b, row.agreed, direction=self.direction, prefer=self.prefer)
        if move is None or move.to is None:
            return move
        if kind == "audio" and move.conflict and move.what != "add":
            return Move("keep", None, conflict=True)  # too large to be kept as a lost version
        back: Side | None = other(move.to)
        if back == "a" and self.direction == "a->b":
            back = None
        orphan = row.key in self.orphans.get(kind, ())
        if orphan and move.what != "delete":
            return Move("delete" if back else "keep", back, conflict=back is not None)
        if not orphan and move.what == "delete" and row.key in self.spared.get(kind, ()):
            return Move("add" if back else "keep", back)
        return move

    def to_dict(self) -> dict[str, Any]:
        """The plan ready for JSON, without the keys."""
        return {
            "direction": self.direction,
            "prefer": self.prefer,
            "places": dict(self.places),
            "rows": self.rows,
            "moves": [
                {"kind": kind, **move._asdict(), "rows": len(keys)}
                for kind, moves in self.moves.items()
                for move, keys in moves.items()
            ],
            "counts": {kind: drift._asdict() for kind, drift in self.counts.items()},
            "tracks": [
                {**move._asdict(), "titles": titles} for move, titles in self.titles.items()
            ],
        }

    def lines(self) -> list[str]:
        """The plan in words."""
        lines = []
        sides: list[tuple[Side, str]] = [("a", "A"), ("b", "B")]
        for side, letter in sides:
            lines.append(f"{letter}: {self.places[side]}")
            for kind in self.counts:
                moves = {m: k for m, k in self.moves.get(kind, {}).items() if m.to == side}
                parts = [_counted(what, moves) for what in ("add", "replace", "delete")]
                if any(parts):
                    lines.append(f"  {kind}: {', '.join(part for part in parts if part)}")
                if kind == "tracks":
                    lines += [self._named(move, len(keys)) for move, keys in moves.items()]
        for kind, moves in self.moves.items():
            kept = sum(len(keys) for move, keys in moves.items() if move.to is None)
            if kept:
                lines.append(f"{kind}: {kept:,} differ and stay as they are on both sides")
                if kind == "tracks":
                    lines += [self._named(m, len(k)) for m, k in moves.items() if m.to is None]
        return lines if self.rows else [*lines, "Nothing has to be written."]

    def _named(self, move: Move, count: int) -> str:
        names = "; ".join(self.titles.get(move) or ["deleted there"])
        more = f" and {count - _NAMES:,} more" if count > _NAMES else ""
        conflict = ", changed on both sides" if move.conflict else ""
        return f"    {move.what}{conflict}: {names}{more}"


def plan(
    a: LibraryStore,
    b: LibraryStore,
    *,
    base: SyncState,
    direction: Direction = "both",
    prefer: Side | None = None,
    patience: Patience = Patience(),
) -> Plan:
    """Compare two libraries and say what would change; neither is written.

    Parameters
    ----------
    base : SyncState
        What the two agreed on; what is found alike is noted there.
    direction : str
        ``"both"``, or ``"a->b"`` for a migration.
    prefer : str, optional
        The side that wins every conflict.
    """
    made = Plan(direction, prefer, {"a": a.place, "b": b.place})
    stores: dict[Side, LibraryStore] = {"a": a, "b": b}
    tracks = TracksInTheEnd(stores, {"a": set(), "b": set()}, set())
    for kind in shared_kinds(a, b):
        base.compare(kind, _entries(a, kind, patience), _entries(b, kind, patience))
        made.counts[kind] = base.drift()
        made.spared[kind] = base.spared(kind)
        made.orphans[kind] = set()
        if kind == "tracks":
            tracks.dead = {"a": base.deleted("a"), "b": base.deleted("b")}
        moves: dict[Move, list[str]] = {}
        for row in base.differences(kind):
            move = made.move(kind, row)
            if move is None:
                continue
            if kind == "tracks":
                tracks.note(row, move)
            elif tracks.orphaned(kind, row.key, move):
                made.orphans[kind].add(row.key)
                move = made.move(kind, row)
            elif patience(partial(tracks.spares, kind, row.key, move)):
                made.spared[kind].add(row.key)
                move = made.move(kind, row)
            if move is not None:
                moves.setdefault(move, []).append(row.key)
        if moves:
            made.moves[kind] = moves
    for move, keys in made.moves.get("tracks", {}).items():
        has_it: Side = "b" if move.to is None else move.to
        if move.what != "delete" and move.to is not None:
            has_it = other(move.to)
        made.titles[move] = patience(partial(_titles, stores[has_it], keys[:_NAMES]))
    return made


def drift(
    a: LibraryStore, b: LibraryStore, *, base: SyncState, patience: Patience = Patience()
) -> dict[Kind, Drift]:
    """How far two libraries are apart, for every kind."""
    counts: dict[Kind, Drift] = {}
    for kind in shared_kinds(a, b):
        base.compare(kind, _entries(a, kind, patience), _entries(b, kind, patience))
        counts[kind] = base.drift()
    return counts


def _entries(store: LibraryStore, kind: Kind, patience: Patience) -> EntriesOf:
    return lambda: patience(lambda: store.entries(kind))


def _counted(what: str, moves: dict[Move, list[str]]) -> str:
    count = sum(len(keys) for move, keys in moves.items() if move.what == what)
    conflicts = sum(len(k) for move, k in moves.items() if move.what == what and move.conflict)
    if not count:
        return ""
    note = f" ({conflicts:,} changed on both sides)" if conflicts else ""
    return f"{count:,} to {what}{note}"


def _titles(store: LibraryStore, keys: Sequence[str]) -> list[str]:
    found = (row.record for row in store.read_rows("tracks", keys))
    return [item.title or item.track_id for item in found if isinstance(item, Track)]
