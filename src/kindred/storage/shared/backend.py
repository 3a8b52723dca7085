"""A remote library as this machine uses it: bearable when it fails.

Reads
    The library answers, and else this machine's copy (:mod:`kindred.storage.shared.reads`), which
    :meth:`SharedBackend.status` says.
Writes
    Go into the outbox and the copy, then to the library. A call returns normally when its write has
    to wait, and raises when the library refuses it (:mod:`kindred.storage.shared.delivery`).
Machine
    Files, quarantine, jobs and downloaded audio never leave this machine
    (:mod:`kindred.storage.shared.machine`).

Calls are retried where their store has not done so, and a circuit breaker keeps everybody from
asking a store that is away (:mod:`kindred.storage.retry`). One thread sends what waits and asks
whether the library is back, another brings the copy up to date; both run only while there is need.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.backend import LibraryStore, StorageBackend, StorageStatus, check_vectors
from kindred.storage.local import LocalBackend
from kindred.storage.records import Document, Row
from kindred.storage.replicate.conflict import COLLECTION as CONFLICTS
from kindred.storage.retry import Breaker, or_away
from kindred.storage.shared.cache import Cache
from kindred.storage.shared.delivery import Delivery
from kindred.storage.shared.errand import Errand
from kindred.storage.shared.machine import OnThisMachine
from kindred.storage.shared.mirror import Progress
from kindred.storage.shared.outbox import Change, ParcelNote

logger = logging.getLogger(__name__)

#: Seconds until somebody looks again while another process delivers, and until a thread is left.
_LOOK_AGAIN, _LEAVE = 1.0, 2.0


class SharedBackend(OnThisMachine, StorageBackend):
    """A library in ``remote``, with this machine's side of it in ``local``.

    Closing it closes both and the cache.

    Parameters
    ----------
    cache : Cache
        What was read is kept there; its bound is also that of the copy's vectors.
    patience : float
        Seconds in which a call may be retried, and a write waits for another that is being sent.
    background : bool
        Whether threads deliver, ask whether the library is back, and refresh the copy. Without,
        whoever reads or writes delivers and asks, and only :meth:`refresh` refreshes.
    """

    def __init__(
        self,
        remote: LibraryStore,
        local: LocalBackend,
        *,
        cache: Cache,
        breaker: Breaker | None = None,
        patience: float = 10.0,
        background: bool = True,
    ) -> None:
        super().__init__(
            remote,
            local,
            cache=cache,
            breaker=breaker or Breaker(deadline=patience),
            background=background,
        )
        self.home, self.audio_folder = local.home, local.audio_folder
        self._patience = patience
        self._delivery = Delivery(
            remote, self._outbox, self._mirror, self._breaker, sent=self._reading.forget
        )
        self._conflicts = (-1, 0)
        self._courier = Errand("kindred outbox", self._look)
        self._refresher = Errand("kindred copy", self._bring_up_to_date)
        if not self._outbox.is_empty():  # left by a process that ended
            self._leave_for_later()

    def close(self) -> None:
        for errand in (self._courier, self._refresher):
            errand.stop(_LEAVE)
        for store in (self.local, self.remote, self.cache):
            store.close()

    # -- writing ---------------------------------------------------------------------------
    def write_rows(self, changes: Sequence[Row]) -> None:
        check_vectors(changes)
        self._write([Change(row) for row in changes])

    def append_document(self, document: Document) -> bool:
        """Insert a document unless there is one; one that another machine sent before stays."""
        row = rows.make(document)
        if row.key in self.entries("documents", [row.key]):
            return False
        self._write([Change(row, only_new=True)])
        return True

    def _write(self, changes: list[Change]) -> None:
        if self._mine.batch is not None:
            self._mine.batch += changes
        elif changes:
            self._identify()
            late = self._must_wait()
            self._send(self._outbox.keep(changes, late=late), late)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Group writes; files and jobs written inside belong to the group too."""
        if self._mine.batch is not None:  # joins the batch around it
            yield
            return
        self._identify()
        changes: list[Change] = []
        self._mine.batch = changes
        number, late = None, False
        try:
            with self._outbox.writing():
                yield
                if changes:
                    late = self._must_wait()
                    number = self._outbox.keep(changes, late=late)
        finally:
            self._mine.batch = None
        if number is not None:
            self._send(number, late)

    def _identify(self) -> None:
        """See whose library it is before anything is kept for it."""
        try:
            self._delivery.identify()
        except StorageUnavailable:  # then before it is sent
            self._reading.forget()

    def _must_wait(self) -> bool:
        """Whether a write can only wait: the library is away, or a thread sends others first."""
        state = self._breaker.state
        if not self._background:
            return state == "open"
        return state != "closed" or self._outbox.is_late()

    def _send(self, number: int, late: bool) -> None:
        """Send a parcel, or leave it; raise if the library refuses it."""
        if late:
            self._reading.forget()
            self._gone()
            return
        try:
            self._delivery.deliver(upto=number, wait=self._patience)
        except BaseException as error:
            self._leave_for_later()
            if not isinstance(error, StorageUnavailable):
                raise
        if reason := self._outbox.reason(number):
            raise StorageError(reason)

    def _leave_for_later(self) -> None:
        self._outbox.mark_late()
        self._reading.forget()
        self._gone()

    def delete_tracks(self, track_ids: Iterable[str]) -> None:
        wanted = list(track_ids)
        with self.batch():
            self._delete_audio(wanted)
            super().delete_tracks(wanted)

    # -- what runs beside ------------------------------------------------------------------
    def _look(self) -> float | None:
        """Deliver, or ask whether the library is back; seconds until the next time."""
        try:
            self._delivery.deliver()
            if self._breaker.state != "closed":
                self._breaker.call(lambda: or_away(self.remote.version))
        except StorageUnavailable as error:
            logger.info("%s: %s", self._title, error)
        if self._breaker.state == "closed" and self._outbox.is_empty():
            return None
        return self._breaker.rest() or _LOOK_AGAIN

    def _bring_up_to_date(self) -> float | None:
        if rest := self._mirror.rest():
            return rest
        try:
            self._delivery.identify()
            self._breaker.call(lambda: self._mirror.refresh(cancelled=self._refresher.stopping))
        except StorageUnavailable:
            self._courier.start()
        return None

    def _catch_up(self) -> None:
        if self._background or self._mine.batch is not None:
            return
        try:
            self._delivery.deliver()
        except StorageUnavailable:
            self._reading.forget()

    def _gone(self) -> None:
        if self._background:
            self._courier.start()

    def _outdated(self) -> None:
        if self._background:
            self._refresher.start()

    # -- for people ------------------------------------------------------------------------
    def status(self) -> StorageStatus:
        waiting = self._outbox.count(late=True)
        fault = self._breaker.fault.rstrip(".")
        online = not fault
        changes = "1 change" if waiting == 1 else f"{waiting:,} changes"
        said = []
        if not online:
            said.append(f"{self._title} does not answer: {fault}.")
            said.append(f"Shown is {self._copy()}.")
            if waiting:
                said.append(f"{changes} made here will be sent once it does.")
        elif waiting:
            said.append(f"{changes} made here are being sent to {self._title}.")
            if self._mirror.made_at:
                said.append(f"Until then, {self._copy()} is shown.")
        if refused := self._outbox.refused():
            said.append(
                f"{self._title} refused {len(refused)} of the writes made here, the last one:"
                f" {refused[-1].reason.rstrip('.')}. They are kept until they are sent again or"
                " discarded."
            )
        if lost := self._lost():
            said.append(
                f"{'1 version' if lost == 1 else f'{lost:,} versions'} that lost against others"
                " wait under Storage to be settled."
            )
        if self.cache.fault:
            said.append(f"{self.cache.fault.rstrip('.')}.")
        return StorageStatus(online, " ".join(said), waiting)

    def _lost(self) -> int:
        """Number of conflicts, counted anew when the copy has changed."""
        version = self.local.version()
        if self._conflicts[0] != version:
            found = self.local.entries("documents").items()
            count = sum(not e.deleted and key.startswith(f"{CONFLICTS}/") for key, e in found)
            self._conflicts = (version, count)
        return self._conflicts[1]

    def waiting(self) -> list[ParcelNote]:
        """Writes that the library has still to receive, in order."""
        return self._outbox.waiting()

    def refused(self) -> list[ParcelNote]:
        """Writes that the library did not take, with its reasons."""
        return self._outbox.refused()

    def deliver(self, *, progress: Progress | None = None) -> None:
        """Send what waits now, whether or not the library answered before.

        Raises
        ------
        StorageUnavailable
            When it does not answer; what is left waits on.
        """
        self._breaker.reset()
        self._delivery.deliver(wait=self._patience, progress=progress)

    def retry_refused(self, number: int) -> None:
        """Send a refused write again, after what waits now.

        Raises
        ------
        StorageError
            When there is none under this number, or it is refused again.
        """
        again = self._outbox.take_back(number)
        self._breaker.reset()
        self._delivery.deliver(upto=again, wait=self._patience)
        if reason := self._outbox.reason(again):
            raise StorageError(reason)

    def discard_refused(self, number: int) -> None:
        """Forget a refused write; raise :class:`StorageError` when there is none."""
        if not self._outbox.reason(number):
            raise StorageError(f"No write was refused under the number {number}.")
        self._outbox.remove([number])

    def refresh(
        self,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Bring this machine's copy up to date; return whether it is whole now.

        Raises
        ------
        StorageUnavailable
            When the library does not answer.
        """
        self._breaker.reset()
        self._delivery.identify()
        return self._breaker.call(
            lambda: self._mirror.refresh(progress=progress, cancelled=cancelled)
        )
