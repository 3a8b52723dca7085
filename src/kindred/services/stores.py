"""The stores a library can be kept in: looked over, made ready, moved and synchronised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kindred.config import Settings
from kindred.errors import ConfigError, KindredError
from kindred.storage.backend import LibraryStore, StorageBackend
from kindred.storage.check import Check, check_store
from kindred.storage.factory import is_configured, local_side, open_store
from kindred.storage.local import LocalBackend
from kindred.work import Progress

if TYPE_CHECKING:
    from kindred.storage.replicate import Conflict, Drift, Plan, Report, SameAnswers, Verification

Prefer = Literal["a", "b"]
#: What the stores are called, and what makes each known to Kindred.
STORES = {
    "local": ("This computer", ""),
    "postgres": ("Postgres", "DATABASE_URL=postgresql://user:password@host:5432/database"),
    "astra": (
        "Astra DB",
        "ASTRA_DB_API_ENDPOINT=https://ID-REGION.apps.astra.datastax.com\n"
        "ASTRA_DB_APPLICATION_TOKEN=AstraCS:...",
    ),
}


@dataclass(frozen=True)
class StoreState:
    """A store as it stands; ``problem`` says why it cannot be read, ``size`` is in bytes."""

    name: str
    title: str
    configured: bool
    active: bool
    place: str = ""
    problem: str = ""
    tracks: int = 0
    spaces: list[tuple[str, int, int]] = field(default_factory=list)
    """Model, dimensions and number of vectors."""
    size: int | None = None
    latency_ms: float = 0.0


@dataclass(frozen=True)
class Moved:
    """What a migration or synchronisation did, and how it was found to be right."""

    report: Report
    verification: Verification
    answers: dict[str, SameAnswers]
    files: int = 0
    """Files on record that were carried to this machine's side of the other store."""

    @property
    def right(self) -> bool:
        """Whether everything was copied and reads back the same."""
        done = not (self.report.cancelled or self.report.refused or self.report.later)
        return done and (self.verification.equal or bool(self.report.kept))

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "report": self.report.to_dict(),
            "verification": self.verification.to_dict(),
            "answers": {space: vars(found) for space, found in self.answers.items()},
            "files": self.files,
            "right": self.right,
        }

    def lines(self) -> list[str]:
        """All of it in words."""
        lines = [*self.report.lines(), *self.verification.lines()]
        for space, found in self.answers.items():
            lines.append(
                f"{space}: {found.questions} tracks asked on both sides, {found.overlap:.1%} of"
                f" the ten nearest alike, similarities within {found.difference:.1e}"
            )
        if self.files:
            lines.append(f"{self.files:,} files on record play from the other side too")
        return lines


def make_ready(settings: Settings, name: str) -> str:
    """Make a store's schema where it is missing, again without harm; return its place."""
    with open_store(settings, name, make=True) as store:
        store.init()
        store.check_schema()
        return store.place


class Stores:
    """What can be done with stores as a whole.

    A store is named ``local``, ``postgres``, ``astra``, or by the folder of a local library.

    Parameters
    ----------
    settings : Settings
    storage : StorageBackend
        The library in use.
    """

    def __init__(self, settings: Settings, storage: StorageBackend) -> None:
        self.settings, self.storage = settings, storage

    def overview(self) -> list[StoreState]:
        """Every store as it stands; never raises for one that cannot be read."""
        return [self.state(name) for name in STORES]

    def state(self, name: str) -> StoreState:
        """One store as it stands."""
        active = self.settings.storage_backend == name
        configured = is_configured(self.settings, name)
        known: dict[str, Any] = {"name": name, "title": STORES[name][0], "active": active}
        if not configured:
            return StoreState(configured=False, **known)
        try:
            with open_store(self.settings, name) as store:
                known["place"] = store.place
                store.check_schema()
                start = time.perf_counter()
                store.version()
                latency = 1_000 * (time.perf_counter() - start)
                spaces = [(space.model, space.dims, count) for space, count in store.spaces()]
                return StoreState(
                    configured=True,
                    tracks=store.count_tracks(),
                    spaces=spaces,
                    size=store.size(),
                    latency_ms=latency,
                    **known,
                )
        except KindredError as error:
            return StoreState(configured=True, problem=str(error), **known)

    def check(self, name: str) -> list[Check]:
        """Look a store over: settings, credentials, schema, dimensions, latency."""
        return check_store(self.settings, name)

    def init(self, name: str) -> str:
        """Make a store's schema where it is missing; return its place."""
        return make_ready(self.settings, name)

    # -- two stores ------------------------------------------------------------------------
    @contextmanager
    def _pair(self, a: str, b: str) -> Iterator[tuple[LibraryStore, LibraryStore]]:
        if a == b:
            raise ConfigError(f"{a} and {b} are one store. Name two.")
        self._send_what_waits(a, b)
        with open_store(self.settings, a) as first, open_store(self.settings, b) as second:
            first.check_schema()
            second.check_schema()
            yield first, second

    def _send_what_waits(self, *names: str) -> None:
        """Let writes that wait in the outbox go first: they are part of the library."""
        from kindred.storage.shared.backend import SharedBackend

        if self.storage.name in names and isinstance(self.storage, SharedBackend):
            self.storage.deliver()

    def plan(self, a: str, b: str, *, migrate: bool = False, prefer: Prefer | None = None) -> Plan:
        """What a synchronisation, or a migration from A to B, would change."""
        from kindred.storage.replicate import SyncState, plan

        with (
            self._pair(a, b) as (first, second),
            SyncState.between(self.settings.library, first, second) as base,
        ):
            direction: Literal["a->b", "both"] = "a->b" if migrate else "both"
            return plan(first, second, base=base, direction=direction, prefer=prefer)

    def drift(self, a: str, b: str) -> dict[str, Drift]:
        """How far two stores are apart, by kind of row."""
        from kindred.storage.replicate import SyncState, drift

        with (
            self._pair(a, b) as (first, second),
            SyncState.between(self.settings.library, first, second) as base,
        ):
            return {str(kind): found for kind, found in drift(first, second, base=base).items()}

    def move(
        self,
        a: str,
        b: str,
        *,
        migrate: bool = False,
        prefer: Prefer | None = None,
        progress: Progress = lambda done, total, words: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Moved:
        """Migrate A to B, or synchronise both; read everything back; again does what is left.

        Raises
        ------
        StorageUnavailable
            When a store stays away; what was done stays done.
        StorageError, ConfigError
        """
        from kindred.storage.replicate import Patience, same_answers, synchronise, verify

        direction: Literal["a->b", "both"] = "a->b" if migrate else "both"
        with self._pair(a, b) as (first, second):
            report = synchronise(
                first,
                second,
                home=self.settings.library,
                direction=direction,
                prefer=prefer,
                progress=progress,
                cancelled=cancelled,
            )
            verification = verify(
                first,
                second,
                direction=direction,
                progress=progress,
                patience=Patience(cancelled=cancelled),
            )
            answers = {}
            if not cancelled():
                answers = {
                    f"{space.model} ({space.dims} dimensions)": same_answers(first, second, space)
                    for space, count in first.spaces()
                    if count
                }
            files = 0
            if not cancelled():
                files = self._carry(first, second) if migrate else _adopted(first, second)
        return Moved(report, verification, answers, files)

    def _carry(self, source: LibraryStore, target: LibraryStore) -> int:
        """Have the files on record known on this machine's side of the other store too."""
        from kindred.storage.replicate import carry_machine

        there = {key for key, entry in target.entries("tracks").items() if not entry.deleted}
        with self._side(source) as one, self._side(target) as other:
            return carry_machine(one, other, tracks=there)

    @contextmanager
    def _side(self, store: LibraryStore) -> Iterator[LocalBackend]:
        if isinstance(store, LocalBackend):
            yield store
            return
        with local_side(self.settings, store) as side:
            yield side

    # -- conflicts -------------------------------------------------------------------------
    def conflicts(self) -> list[Conflict]:
        """Versions of rows that lost against others and were kept."""
        from kindred.storage.replicate import conflicts

        return conflicts(self.storage)

    def resolve(self, conflict_id: str, *, keep: Literal["winner", "loser"]) -> None:
        """Settle a conflict for one of its versions."""
        from kindred.storage.replicate import resolve

        resolve(self.storage, conflict_id, keep=keep)


def _adopted(*stores: LibraryStore) -> int:
    """Put audio that came with the rows of a local library on record, so that it plays."""
    from kindred.storage.replicate import adopt_audio

    return sum(adopt_audio(store) for store in stores if isinstance(store, LocalBackend))
