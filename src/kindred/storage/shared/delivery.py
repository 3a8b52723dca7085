"""Hands what waits in the outbox to the remote library: in order, once in effect.

One thread of one process hands over at a time. Sending a parcel twice changes nothing, since a row
that is there already is left alone; so after a kill, or an answer that was lost, it is sent again.

A late row does not overwrite what somebody else has written since: the library's version stays, and
ours is kept with it as a conflict
(:mod:`kindred.storage.replicate.conflict`). A row that is only to be inserted gives way
to any other under its key. A track that is kept so keeps its cover, vectors and audio, and nothing
is added to one that was deleted since.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from filelock import FileLock, Timeout

from kindred.errors import KindredError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Entry, Kind, Row, Track
from kindred.storage.replicate.conflict import Version, document
from kindred.storage.replicate.moves import track_of
from kindred.storage.retry import Breaker, or_away
from kindred.storage.shared.mirror import Mirror, Progress
from kindred.storage.shared.outbox import Change, DamagedParcel, Outbox, Parcel

logger = logging.getLogger(__name__)

#: Where a version was that gave way, as a conflict names it.
OUTBOX = "outbox"


class Delivery:
    """Sends an outbox to a store.

    Parameters
    ----------
    sent : callable
        Called whenever the library may have changed.
    """

    def __init__(
        self,
        remote: LibraryStore,
        outbox: Outbox,
        mirror: Mirror,
        breaker: Breaker,
        *,
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        self.remote, self.outbox, self.mirror, self.breaker = remote, outbox, mirror, breaker
        self._sent = sent
        self._identified = False
        self._lock = FileLock(outbox.local.database.with_suffix(".deliver.lock"))

    def identify(self) -> None:
        """Once per process: see whether it is the library that the copy and the outbox are of.

        What waits for another library is set aside.
        """
        if self._identified:
            return
        ask = self.remote.library_id
        known = bool(self.mirror.library_id)
        library_id = self.breaker.call(lambda: or_away(ask) if known else ask())
        saved = self.mirror.follow(library_id)
        if saved:
            for note in self.outbox.waiting():
                self.outbox.set_aside(
                    note.number,
                    f"It was meant for the library that was at {self.remote.place} before. This"
                    f" machine's copy of that is now {saved}.",
                )
        self._identified = True

    def deliver(
        self, *, upto: int | None = None, wait: float = 0.0, progress: Progress | None = None
    ) -> None:
        """Send what waits, up to a parcel if said so.

        Parameters
        ----------
        wait : float
            Seconds to wait for whoever is delivering now.
        progress : callable, optional
            Called with changes sent, changes in all and "".

        Raises
        ------
        StorageUnavailable
            When the store stops answering, or somebody else goes on delivering; the rest waits.
        """
        with self._turn(wait):
            self.identify()
            total = self.outbox.count()
            while parcels := self._next(upto):
                self._hand_over(parcels)
                if progress:
                    left = self.outbox.count()
                    progress(max(0, total - left), max(total, left), "")

    @contextmanager
    def _turn(self, wait: float) -> Iterator[None]:
        try:
            self._lock.acquire(timeout=wait, poll_interval=0.01)
        except Timeout as error:
            raise StorageUnavailable(
                f"Changes are being sent to {self.remote.place} just now; wait for that to end."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def _next(self, upto: int | None) -> list[Parcel]:
        while True:
            try:
                return self.outbox.next(upto=upto)
            except DamagedParcel as error:
                logger.error("%s", error)
                self._refuse(error.number, str(error))

    def _hand_over(self, parcels: list[Parcel]) -> None:
        try:
            given_way = self.breaker.call(lambda: self._send(parcels))
        except StorageUnavailable:
            raise
        except KindredError as error:
            self.breaker.call(lambda: or_away(self.remote.version))  # does it refuse everything?
            if len(parcels) == 1:
                self._refuse(parcels[0].number, str(error))
            else:  # find out which
                for parcel in parcels:
                    self._hand_over([parcel])
            return
        finally:
            self._sent()
        with self.outbox.writing():
            self.outbox.remove([parcel.number for parcel in parcels])
            if given_way.rows:
                self.outbox.local.write_rows(given_way.notes)
                self.mirror.spoil()
        if given_way.rows:
            self._restore(given_way.rows)

    def _refuse(self, number: int, reason: str) -> None:
        with self.outbox.writing():
            self.outbox.set_aside(number, reason)
            self.mirror.spoil()
        self._restore(
            [key for note in self.outbox.refused() if note.number == number for key in note.keys]
        )

    def _restore(self, keys: Sequence[tuple[Kind, str]]) -> None:
        try:
            self.breaker.call(lambda: self.mirror.restore(keys))
        except KindredError as error:  # the copy is marked: the next refresh does it
            logger.info("the copy is put right later: %s", error)

    def _send(self, parcels: list[Parcel]) -> _Conflicts:
        """Write parcels to the store, and return what gave way to others."""
        try:
            conflicts = _Conflicts(self.remote, self.mirror.library_id, *_merged(parcels))
            with self.remote.batch():
                self.remote.write_rows(conflicts.winners + conflicts.notes)
        except KindredError:
            raise
        except Exception as error:  # a fault of ours or a library's: what waits must not be lost
            logger.exception("delivery to %s", self.remote.place)
            raise StorageUnavailable(f"{type(error).__name__}: {error}") from error
        return conflicts


def _merged(parcels: Sequence[Parcel]) -> tuple[list[Change], set[tuple[Kind, str]]]:
    """The last change of every row, in order, and the rows that others may have changed since."""
    last: dict[tuple[Kind, str], Change] = {}
    late = set()
    for parcel in parcels:
        for change in parcel.changes:
            key = (change.row.kind, change.row.key)
            before = last.pop(key, None)
            last[key] = Change(change.row, (before or change).only_new)
            if parcel.late:
                late.add(key)
    return list(last.values()), late


class _Conflicts:
    """Which changes give way to what others have written since.

    ``rows`` gave way, ``winners`` are to be written, and so are ``notes``: a document for each
    version that gave way.
    """

    def __init__(
        self,
        remote: LibraryStore,
        library_id: str,
        changes: list[Change],
        late: set[tuple[Kind, str]],
    ) -> None:
        self._library, self._store = library_id, remote.name
        self.theirs: dict[tuple[Kind, str], Entry] = {}
        self._look_up(
            remote,
            [(c.row.kind, c.row.key) for c in changes if c.only_new]
            + [
                item
                for c in changes
                if (c.row.kind, c.row.key) in late
                for item in [(c.row.kind, c.row.key), *_owner(c.row)]
            ],
        )
        self._written = {c.row.key for c in changes if c.row.kind == "tracks"}
        # Tracks that we would have deleted and that somebody has changed since.
        self._spared = {
            c.row.key
            for c in changes
            if c.row.kind == "tracks" and c.row.record is None and self._gives_way(c)
        }
        kept = remote.read_rows("tracks", list(self._spared)) if self._spared else []
        self._spared_audio = {r.record.content_hash for r in kept if isinstance(r.record, Track)}
        lost = [c.row for c in changes if self._loses(c)]
        self.rows = [(row.kind, row.key) for row in lost]
        gone = set(self.rows)
        self.winners = [c.row for c in changes if (c.row.kind, c.row.key) not in gone]
        self.notes = [self._note(row) for row in lost if _worth_noting(row)]

    def _look_up(self, remote: LibraryStore, wanted: list[tuple[Kind, str]]) -> None:
        by_kind: dict[Kind, dict[str, None]] = {}
        for kind, key in wanted:
            by_kind.setdefault(kind, {})[key] = None
        for kind, keys in by_kind.items():
            for key, entry in remote.entries(kind, list(keys)).items():
                self.theirs[kind, key] = entry

    def _gives_way(self, change: Change) -> bool:
        """Whether the library has another version of the row, which stays."""
        theirs, ours = self.theirs.get((change.row.kind, change.row.key)), rows.entry(change.row)
        if theirs is None or theirs.digest == ours.digest:
            return False
        return theirs.updated_at > ours.updated_at or (change.only_new and not theirs.deleted)

    def _loses(self, change: Change) -> bool:
        row = change.row
        if self._gives_way(change) or self._is_spared(row):
            return True
        for owner in _owner(row):
            track = self.theirs.get(owner)
            if track is not None and track.deleted and track.updated_at > row.updated_at:
                return row.record is not None and owner[1] not in self._written
        return False

    def _is_spared(self, row: Row) -> bool:
        """Whether a row would be deleted with a track that stays."""
        if row.record is not None or not self._spared:
            return False
        if row.kind == "audio":
            return row.key.partition(".")[0] in self._spared_audio
        return any(key in self._spared for _, key in _owner(row))

    def _note(self, row: Row) -> Row:
        """A version that gives way, as a document; the same one if it is made again."""
        ours = rows.entry(row)
        theirs = self.theirs.get((row.kind, row.key), Entry("", 0))
        winner = Version(self._library, self._store, theirs.digest, theirs.updated_at)
        loser = Version(self._library, OUTBOX, ours.digest, ours.updated_at)
        return rows.make(document(winner, loser, row), row.updated_at)


def _worth_noting(row: Row) -> bool:
    """Whether a version that gives way is to be kept.

    The deletion of what belongs to a track follows the track, and the file of kept audio stays on
    this machine.
    """
    if row.record is None:
        return row.kind in ("tracks", "documents")
    return row.kind != "audio"


def _owner(row: Row) -> list[tuple[Kind, str]]:
    """The track that a cover or vectors belong to."""
    track_id = track_of(row.kind, row.key)
    return [("tracks", track_id)] if track_id else []
