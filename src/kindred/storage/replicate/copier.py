"""Does what a plan says, a batch at a time.

What others refer to is copied first and deleted last, so that no reader meets vectors without
their track. Every batch is decided once more on what both sides have at that moment: a row that
somebody has changed meanwhile is left to the next round. A version that loses is kept with both
libraries before it is replaced. Killed at any moment, planning again finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kindred.errors import SpaceMismatch, StorageError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.records import KINDS, Audio, Cover, Entry, Kind, Row, TrackVectors
from kindred.storage.replicate import conflict
from kindred.storage.replicate.moves import Direction, Move, Side, other
from kindred.storage.replicate.patience import Patience
from kindred.storage.replicate.planning import Plan, plan
from kindred.storage.replicate.report import Report
from kindred.storage.replicate.state import Difference, SyncState

#: Called with rows done, rows in all and what is being done.
Progress = Callable[[int, int, str], None]
#: Rows in a batch at most. A file of audio may have 200 MB and goes alone.
_ROWS: dict[Kind, int] = {
    "tracks": 500, "covers": 100, "embeddings": 100, "audio": 1, "documents": 500,
}  # fmt: skip
#: Bytes aimed at in a batch, and rows in the first, while their size is not known.
_BYTES, _FIRST_ROWS = 8_000_000, 10
_ROUNDS = 4
_REFUSED = 20


def synchronise(
    a: LibraryStore,
    b: LibraryStore,
    *,
    home: Path,
    direction: Direction = "both",
    prefer: Side | None = None,
    progress: Progress = lambda done, total, words: None,
    cancelled: Callable[[], bool] = lambda: False,
    patience: Patience = Patience(),
) -> Report:
    """Plan and apply until nothing is left to do; again does what is left of a run that ended.

    Parameters
    ----------
    home : Path
        This machine's library folder, where the agreement of the two libraries is kept.
    direction : str
        ``"both"``, or ``"a->b"`` for a migration.
    prefer : str, optional
        The side that wins every conflict.
    cancelled : callable
        Asked between batches whether to stop.

    Raises
    ------
    StorageUnavailable
        When a store stays away for longer than ``patience``; what was done stays done.
    StorageError
        When a store refuses more than a few rows.
    """
    at = (0, 0)

    def told(done: int, total: int, words: str) -> None:
        nonlocal at
        at = (done, total)
        progress(done, total, words)

    patience = replace(patience, cancelled=cancelled, notice=lambda words: progress(*at, words))
    report = Report()
    with patience(lambda: SyncState.between(home, a, b)) as base:
        for _ in range(_ROUNDS):
            before = report.rows
            told(0, 0, "comparing")
            try:
                made = plan(a, b, base=base, direction=direction, prefer=prefer, patience=patience)
                apply(made, a, b, base=base, progress=told, patience=patience, report=report)
            except StorageUnavailable:
                if not cancelled():
                    raise
                report.cancelled = True
            if report.cancelled or report.rows == before:
                break
    return report


def apply(
    made: Plan,
    a: LibraryStore,
    b: LibraryStore,
    *,
    base: SyncState,
    progress: Progress = lambda done, total, words: None,
    patience: Patience = Patience(),
    report: Report | None = None,
) -> Report:
    """Write what a plan says; raises as :func:`synchronise` does.

    Parameters
    ----------
    base : SyncState
        Takes note of every row that is confirmed.
    patience : Patience
        Waits for a store that is away; its ``cancelled`` stops the work between batches.
    report : Report, optional
        Of earlier rounds, to be gone on with.
    """
    report = report or Report()
    report.later = report.kept = 0
    report.refused.clear()
    for kind, keys in made.spared.items():
        base.spare(kind, keys)
    copier = _Copier(made, {"a": a, "b": b}, base, patience, report)
    done = 0
    for kind, move, moved in _steps(made):
        if move.to is None:
            report.kept += len(moved)
            continue
        words = f"{'deleting' if move.what == 'delete' else 'copying'} {kind}"
        start, size = 0, min(_ROWS[kind], _FIRST_ROWS)
        while start < len(moved):
            progress(done, made.rows, words)
            if patience.cancelled():
                report.cancelled = True
                return report
            batch = moved[start : start + size]
            largest = copier.carry(kind, move, batch)
            start, done = start + len(batch), done + len(batch)
            size = max(1, min(_ROWS[kind], _BYTES // max(largest, 1)))
    if not report.later:
        base.finish()
    progress(done, made.rows, "done")
    return report


def _steps(made: Plan) -> list[tuple[Kind, Move, list[str]]]:
    """What is copied, in the order of kinds, then what is deleted, in reverse."""
    steps = [(kind, *item) for kind in KINDS for item in made.moves.get(kind, {}).items()]
    copies = [step for step in steps if step[1].what != "delete"]
    return copies + [step for step in reversed(steps) if step[1].what == "delete"]


@dataclass
class _Outcome:
    """What became of the rows of a batch."""

    alike: dict[str, str]
    later: int
    damaged: list[str]
    notes: int
    sizes: list[int]


@dataclass
class _Copier:
    made: Plan
    stores: dict[Side, LibraryStore]
    base: SyncState
    patience: Patience
    report: Report

    def carry(self, kind: Kind, move: Move, keys: Sequence[str]) -> int:
        """Do one move for some rows; return the bytes of the largest."""
        report = self.report
        try:
            outcome = self.patience(lambda: self._carry(kind, move, keys))
        except StorageUnavailable:
            raise
        except (StorageError, SpaceMismatch) as error:
            if len(report.refused) >= _REFUSED:
                raise
            if len(keys) == 1:
                report.refused.append(f"{kind} {keys[0]}: {error}")
                return 0
            # One row that is refused does not hold up the others.
            middle = len(keys) // 2
            return max(self.carry(kind, move, part) for part in (keys[:middle], keys[middle:]))
        self.base.agree(kind, outcome.alike)
        name = f"{kind} {move.what} {move.to}"
        report.written[name] = report.written.get(name, 0) + len(outcome.alike)
        report.conflicts += outcome.notes
        report.later += outcome.later
        report.size += sum(outcome.sizes)
        report.refused += [
            f"{kind} {key}: its content does not have its digest; it is damaged."
            for key in outcome.damaged
        ]
        return max(outcome.sizes, default=0)

    def _carry(self, kind: Kind, move: Move, keys: Sequence[str]) -> _Outcome:
        assert move.to is not None
        source, target = self.stores[other(move.to)], self.stores[move.to]
        offered = source.entries(kind, keys)
        changes, damaged = (
            ([_gone(kind, key, offered.get(key)) for key in keys], [])
            if move.what == "delete"
            else _read(source, kind, keys, offered)
        )
        agreed = self.base.agreed(kind, keys)
        notes: list[Row] = []
        with target.batch():
            target.write_rows([])  # where writers take turns, ours begins before we look
            present = target.entries(kind, keys)
            ours, theirs = (present, offered) if move.to == "a" else (offered, present)

            def wanted(key: str) -> bool:
                now = Difference(key, ours.get(key), theirs.get(key), agreed.get(key))
                return self.made.move(kind, now) == move

            ready = [row for row in changes if wanted(row.key)]
            if move.conflict:
                notes = list(self._notes(kind, move.to, ready, offered, present))
                for store in (source, target) if self.made.direction == "both" else (target,):
                    store.write_rows(notes)
            target.write_rows(ready)
        alike = {row.key: rows.entry(row).digest for row in ready}
        # Written by an earlier attempt whose answer was lost, or by somebody else.
        alike |= {key: mine for key in keys if (mine := _digest(ours, key)) == _digest(theirs, key)}
        later = len(set(keys) - alike.keys() - set(damaged))
        return _Outcome(alike, later, damaged, len(notes), [_size(row) for row in ready])

    def _notes(
        self,
        kind: Kind,
        to: Side,
        ready: Sequence[Row],
        offered: Mapping[str, Entry],
        present: Mapping[str, Entry],
    ) -> Iterator[Row]:
        """The versions that are about to be lost, as documents."""
        source, target = self.stores[other(to)], self.stores[to]
        keys = [row.key for row in ready if not row.key.startswith(f"{conflict.COLLECTION}/")]
        lost = {row.key: row for row in target.read_rows(kind, keys)}
        for row in ready:
            loser = lost.get(row.key)
            if loser is None:
                if kind not in ("tracks", "documents") or row.key not in keys:
                    continue
                loser = _gone(kind, row.key, present.get(row.key))
            winner = conflict.version(source, offered.get(row.key))
            losing = conflict.version(target, present.get(row.key))
            yield rows.make(conflict.document(winner, losing, loser))


def _read(
    store: LibraryStore, kind: Kind, keys: Sequence[str], entries: Mapping[str, Entry]
) -> tuple[list[Row], list[str]]:
    """Rows whose content has the digest that the store says, and the keys of damaged ones."""
    found = {row.key: row for row in store.read_rows(kind, keys)}
    whole = [row for key, row in found.items() if rows.entry(row).digest == _digest(entries, key)]
    odd = [key for key in keys if key not in {row.key for row in whole} and _digest(entries, key)]
    # One that is being changed right now has another digest a moment later.
    again = store.entries(kind, odd) if odd else {}
    return whole, [key for key in odd if _digest(again, key) == _digest(entries, key)]


def _gone(kind: Kind, key: str, entry: Entry | None) -> Row:
    """A tombstone, as old as a side's own where it has one."""
    return rows.tombstone(kind, key, entry.updated_at if entry and entry.deleted else None)


def _digest(entries: Mapping[str, Entry], key: str) -> str:
    return entries[key].digest if key in entries else ""


def _size(row: Row) -> int:
    """Bytes of a row, roughly."""
    record = row.record
    if isinstance(record, Audio):
        return len(record.data)
    if isinstance(record, Cover):
        return len(record.image) + len(record.thumbnail)
    if isinstance(record, TrackVectors):
        return record.embedding.vector.nbytes + record.embedding.segments.nbytes
    return len(rows.pack(row))
