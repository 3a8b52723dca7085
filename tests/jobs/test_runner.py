"""Jobs: what is shown while they work, stopping, dying, failing and resuming."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kindred.errors import JobError, LibraryError
from kindred.jobs.runner import JobControl, Jobs
from kindred.services import Services, build
from kindred.storage.local import LocalBackend
from kindred.storage.records import JobRecord
from tests.conftest import tone


@pytest.fixture
def services(home: Path) -> Iterator[Services]:
    built = build()
    yield built
    built.close()


def queued(jobs: Jobs, kind: str) -> str:
    jobs.storage.put_job(
        JobRecord("j1", kind, "queued", {"n": 3}, updated_at="2020-01-01T00:00+00:00")
    )
    return "j1"


@pytest.fixture
def jobs(home: Path) -> Iterator[Jobs]:
    def count(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        for number in range(params["n"]):
            control.progress(number + 1, params["n"], f"file {number}")
        return {"counted": params["n"]}

    def refuse(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        raise LibraryError("There is no such folder.")

    def crash(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        raise ZeroDivisionError("a mistake of ours")

    def obey(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        jobs.cancel("j1")
        control.progress(3, 3, "")
        return {"cancelled": control.cancelled()}

    functions = {"count": count, "refuse": refuse, "crash": crash, "obey": obey}
    jobs = Jobs(LocalBackend(home), home, functions)
    yield jobs
    jobs.storage.close()


def test_a_job_reports_and_ends(jobs: Jobs) -> None:
    done = jobs.run(queued(jobs, "count"))
    assert (done.state, done.done, done.total, done.result) == ("done", 3, 3, {"counted": 3})


def test_a_refusal_is_kept_in_words(jobs: Jobs) -> None:
    failed = jobs.run(queued(jobs, "refuse"))
    assert (failed.state, failed.message) == ("failed", "There is no such folder.")


def test_a_mistake_of_ours_is_kept_and_raised(jobs: Jobs) -> None:
    with pytest.raises(ZeroDivisionError):
        jobs.run(queued(jobs, "crash"))
    assert jobs.get("j1").state == "failed"
    assert "ZeroDivisionError" in jobs.get("j1").message


def test_a_job_asked_to_stop(jobs: Jobs) -> None:
    assert jobs.run(queued(jobs, "obey")).state == "cancelled"


def test_a_job_whose_process_died_is_interrupted(jobs: Jobs) -> None:
    queued(jobs, "count")
    assert jobs.get("j1").state == "interrupted"


def test_unknown_jobs_and_kinds(jobs: Jobs) -> None:
    with pytest.raises(JobError, match="no job"):
        jobs.run("nothing")
    with pytest.raises(JobError, match="unknown kind"):
        jobs.run(queued(jobs, "dance"))


def wait(services: Services, job_id: str, *states: str) -> JobRecord:
    deadline = time.monotonic() + 90
    while (job := services.jobs.get(job_id)).state not in states:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


@pytest.mark.slow
def test_an_ingest_job_is_killed_seen_and_resumed(services: Services, tmp_path: Path) -> None:
    for number in range(120):
        tone(tmp_path / "music" / f"{number}.wav", hz=200 + 3 * number, seconds=12)
    job = services.jobs.start("ingest", {"paths": [str(tmp_path / "music")]})
    with pytest.raises(JobError, match="already"):
        services.jobs.start("ingest", {})
    deadline = time.monotonic() + 90
    while services.storage.count_tracks() < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(services.jobs.get(job.job_id).pid, signal.SIGKILL)
    wait(services, job.job_id, "interrupted")
    kept = services.storage.count_tracks()
    assert 3 <= kept < 120
    services.jobs.resume(job.job_id)
    done = wait(services, job.job_id, "done")
    assert done.result["added"] == 120 - kept
    assert services.storage.count_tracks() == 120
