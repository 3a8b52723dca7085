"""Work is shared out, told when done, and ends when it is to end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kindred.errors import KindredError
from kindred.processes import shared_out


def double(number: int) -> int:
    if number == 99:
        raise KindredError("99 is not doubled")
    return 2 * number


def die(number: int) -> int:
    os._exit(9)


def sleep_and_write(path: str) -> str:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_comes_with_its_result(workers: int) -> None:
    assert dict(shared_out(double, range(5), workers=workers)) == {n: 2 * n for n in range(5)}
    assert list(shared_out(double, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_work_is_the_caller_s(workers: int) -> None:
    with pytest.raises(KindredError, match="99 is not doubled"):
        list(shared_out(double, [99, 98], workers=workers))


def test_a_killed_process_is_said() -> None:
    with pytest.raises(KindredError, match="killed, perhaps for want of memory"):
        list(shared_out(die, [1, 2], workers=2))


def test_cancelling_ends_the_processes_in_the_middle_of_an_item(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a", "b")]

    def both_at_work() -> bool:
        return all(Path(file).exists() and Path(file).read_text() for file in files)

    assert list(shared_out(sleep_and_write, files, workers=2, cancelled=both_at_work)) == []
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(Path(file).read_text()), 0)


def test_nothing_is_begun_when_cancelled_in_one_process() -> None:
    assert list(shared_out(double, [1], workers=1, cancelled=lambda: True)) == []
