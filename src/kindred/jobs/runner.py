"""Background jobs: one process each, with their state in the library.

A job runs as ``python -m kindred job ID`` in a session of its own, so it outlives the page and the
server that started it. While it runs it holds a file lock, which the system frees when the process
dies: a job said to be running whose lock is free was interrupted, and can be resumed by starting
it again, because every kind of job does only what is left to do.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from kindred.errors import JobError, KindredError
from kindred.storage.backend import StorageBackend
from kindred.storage.records import JobRecord

logger = logging.getLogger(__name__)

ACTIVE = ("queued", "running")
#: Seconds a queued job has for its process to appear.
_START_GRACE = 30.0
_REPORT_EVERY = 0.3


class JobControl(Protocol):
    """What a job's function is given to speak with the outside."""

    def progress(self, done: int, total: int, message: str) -> None:
        """Report how far the job is."""

    def cancelled(self) -> bool:
        """Whether somebody asked the job to stop."""


#: Does the work and returns what to keep as the result, with ``"cancelled": True`` if cut short.
JobFunction = Callable[[dict[str, Any], JobControl], dict[str, Any]]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Jobs:
    """Starts, watches and runs jobs.

    Parameters
    ----------
    storage : StorageBackend
        Keeps the job records.
    home : Path
        The library folder; locks and logs go to its ``jobs`` folder.
    functions : mapping
        The function of each kind of job.
    """

    def __init__(
        self, storage: StorageBackend, home: Path, functions: Mapping[str, JobFunction]
    ) -> None:
        self.storage = storage
        self.folder = home / "jobs"
        self.home = home
        self.functions = functions

    def start(self, kind: str, params: dict[str, Any]) -> JobRecord:
        """Start a job and return at once.

        Raises
        ------
        JobError
            When one of this kind is already at work, or its process cannot be started.
        """
        for job in self.recent(kind=kind):
            if job.state in ACTIVE:
                raise JobError(f"A job of this kind ({kind}) is already at work. Stop it first.")
        job_id = uuid.uuid4().hex[:12]
        self.storage.put_job(
            JobRecord(job_id, kind, "queued", params, created_at=_now(), updated_at=_now())
        )
        self._spawn(job_id)
        return self.storage.get_job(job_id)

    def resume(self, job_id: str) -> JobRecord:
        """Start a job again that was interrupted, cancelled or failed."""
        if self.get(job_id).state in ACTIVE:
            raise JobError(f"Job {job_id} is at work already.")
        self.storage.update_job(
            job_id,
            lambda job: replace(job, state="queued", cancel_requested=False, updated_at=_now()),
        )
        self._spawn(job_id)
        return self.storage.get_job(job_id)

    def _spawn(self, job_id: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"KINDRED_HOME": str(self.home)}
        try:
            with open(self.folder / f"{job_id}.log", "ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "kindred", "job", job_id],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=environment,
                )
        except OSError as error:
            raise JobError(f"The job's process cannot be started ({error}).") from error
        # Somebody must wait for it, or it stays in the process table after its end.
        threading.Thread(target=process.wait, daemon=True).start()

    def cancel(self, job_id: str) -> JobRecord:
        """Ask a job to stop; it keeps what it has done."""
        return self.storage.update_job(job_id, lambda job: replace(job, cancel_requested=True))

    def get(self, job_id: str) -> JobRecord:
        """Return a job as it is now, noticing one whose process died."""
        return self._checked(self.storage.get_job(job_id))

    def recent(self, *, kind: str | None = None, limit: int = 10) -> list[JobRecord]:
        """Return jobs, newest first, noticing those whose process died."""
        return [self._checked(job) for job in self.storage.list_jobs(kind=kind, limit=limit)]

    def _checked(self, job: JobRecord) -> JobRecord:
        if job.state not in ACTIVE or self._alive(job):
            return job
        # Its last words may have come between our two looks, so look once more before judging.
        return self.storage.update_job(
            job.job_id,
            lambda found: (
                replace(found, state="interrupted", updated_at=_now())
                if found.state in ACTIVE
                else found
            ),
        )

    def _alive(self, job: JobRecord) -> bool:
        if job.state == "queued":
            age = datetime.now(UTC) - datetime.fromisoformat(job.updated_at)
            if age.total_seconds() < _START_GRACE:
                return True
        lock = self._lock(job.job_id)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def _lock(self, job_id: str) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{job_id}.lock")

    def run(self, job_id: str) -> JobRecord:
        """Do a job's work in this process.

        Raises
        ------
        JobError
            When there is no such job or another process is at it.
        """
        job = self.storage.get_job(job_id)
        function = self.functions.get(job.kind)
        if function is None:
            raise JobError(f"Job {job_id} is of an unknown kind ({job.kind}).")
        lock = self._lock(job_id)
        try:
            lock.acquire(timeout=1)
        except Timeout as error:
            raise JobError(f"Job {job_id} is at work in another process.") from error
        try:
            self._finish(job_id, "running", pid=os.getpid(), message="", result={})
            result = function(job.params, _Control(self.storage, job_id))
            state = "cancelled" if result.get("cancelled") else "done"
            return self._finish(job_id, state, result=result)
        except KindredError as error:
            return self._finish(job_id, "failed", message=str(error))
        except Exception as error:
            logger.exception("job %s", job_id)
            self._finish(job_id, "failed", message=f"{type(error).__name__}: {error}")
            raise
        finally:
            lock.release()

    def _finish(self, job_id: str, state: str, **changes: Any) -> JobRecord:
        return self.storage.update_job(
            job_id, lambda job: replace(job, state=state, updated_at=_now(), **changes)
        )


class _Control:
    """Writes progress into the job's record, a few times a second at most."""

    def __init__(self, storage: StorageBackend, job_id: str) -> None:
        self.storage, self.job_id = storage, job_id
        self.last = 0.0
        self.stop = False

    def progress(self, done: int, total: int, message: str) -> None:
        clock = time.monotonic()
        if clock - self.last < _REPORT_EVERY and done < total:
            return
        self.last = clock
        job = self.storage.update_job(
            self.job_id,
            lambda job: replace(
                job, done=done, total=total, message=_printable(message), updated_at=_now()
            ),
        )
        self.stop = job.cancel_requested

    def cancelled(self) -> bool:
        return self.stop


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
