"""Retries and the circuit breaker, on clocks of their own."""

from __future__ import annotations

import threading

import pytest

from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import retry
from kindred.storage.retry import Breaker, or_away, retrying


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def away(message: str = "no route", **attributes: object) -> StorageUnavailable:
    error = StorageUnavailable(message)
    vars(error).update(attributes)
    return error


class Flaky:
    """Raises what it was given, one error a call, then answers."""

    def __init__(self, *errors: BaseException, takes: float = 0.0, clock: Clock | None = None):
        self.errors, self.calls, self.takes, self.clock = list(errors), 0, takes, clock

    def __call__(self) -> str:
        self.calls += 1
        if self.clock:
            self.clock.now += self.takes
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


# -- retries -----------------------------------------------------------------------------------
def test_what_may_be_retried_is(clock: Clock) -> None:
    call = Flaky(away(), away())
    assert retrying(call, deadline=60, sleep=clock.sleep, clock=clock) == "answer"
    assert call.calls == 3
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    "error",
    [
        StorageError("the row is too wide"),
        away("Resuming your database", asleep=True),
        ValueError("a fault of ours"),
        KeyboardInterrupt(),
    ],
)
def test_what_may_not_be_retried_passes_at_once(clock: Clock, error: BaseException) -> None:
    call = Flaky(error)
    with pytest.raises(type(error)) as raised:
        retrying(call, deadline=60, sleep=clock.sleep, clock=clock)
    assert raised.value is error
    assert (call.calls, clock.slept) == (1, [])


def test_the_last_error_is_the_one_that_is_raised(clock: Clock) -> None:
    errors = [away(str(number)) for number in range(99)]
    call = Flaky(*errors)
    with pytest.raises(StorageUnavailable, match=f"^{retry.ATTEMPTS - 1}$"):
        retrying(call, deadline=1e9, sleep=clock.sleep, clock=clock)
    assert call.calls == retry.ATTEMPTS


def test_waits_have_full_jitter_below_a_doubling_bound() -> None:
    waits: list[list[float]] = []
    for _ in range(400):
        clock = Clock()
        with pytest.raises(StorageUnavailable):
            retrying(Flaky(*[away()] * 8), deadline=1e9, attempts=8, sleep=clock.sleep, clock=clock)
        waits.append(clock.slept)
    for attempt, slept in enumerate(zip(*waits, strict=True)):
        bound = min(retry.FIRST_WAIT * 2**attempt, retry.LONGEST_WAIT)
        assert 0 <= min(slept) < 0.05 * bound
        assert 0.95 * bound < max(slept) <= bound
        assert sum(slept) / len(slept) == pytest.approx(bound / 2, rel=0.15)


def test_the_deadline_counts_the_calls_and_the_waits(clock: Clock) -> None:
    call = Flaky(*[away()] * 99, takes=3.0, clock=clock)
    with pytest.raises(StorageUnavailable):
        retrying(call, deadline=10, attempts=99, sleep=clock.sleep, clock=clock)
    assert clock.now - 1_000 <= 10 + 3  # no attempt begins after the deadline
    assert 2 <= call.calls <= 4


def test_no_wait_goes_beyond_the_deadline(clock: Clock) -> None:
    call = Flaky(away(retry_after=30))
    with pytest.raises(StorageUnavailable):
        retrying(call, deadline=10, sleep=clock.sleep, clock=clock)
    assert (call.calls, clock.slept) == (1, [])


def test_a_server_that_names_a_time_gets_it(clock: Clock) -> None:
    call = Flaky(away("429", retry_after=7), away("503"))
    assert retrying(call, deadline=60, sleep=clock.sleep, clock=clock) == "answer"
    first, second = clock.slept
    assert 7 <= first <= 7 + retry.FIRST_WAIT
    assert second <= 2 * retry.FIRST_WAIT


def test_what_was_retried_in_vain_is_not_retried_further_out(clock: Clock) -> None:
    call = Flaky(*[away()] * 99)

    def inner() -> str:
        return retrying(call, deadline=1e9, attempts=3, sleep=clock.sleep, clock=clock)

    with pytest.raises(StorageUnavailable):
        retrying(inner, deadline=1e9, attempts=5, sleep=clock.sleep, clock=clock)
    assert call.calls == 3


def test_a_store_that_refuses_everything_is_away_and_not_retried(clock: Clock) -> None:
    call = Flaky(StorageError("the password has expired"))
    with pytest.raises(StorageUnavailable, match="the password has expired"):
        retrying(lambda: or_away(call), deadline=60, sleep=clock.sleep, clock=clock)
    assert (call.calls, clock.slept) == (1, [])
    assert or_away(call) == "answer"
    with pytest.raises(ValueError, match="ours"):
        or_away(Flaky(ValueError("ours")))


# -- the breaker -------------------------------------------------------------------------------
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, cool_down=5, longest=40, attempts=1, clock=clock)


def fail(breaker: Breaker, **attributes: object) -> None:
    with pytest.raises(StorageUnavailable):
        breaker.call(Flaky(away(**attributes)))


def test_it_opens_after_failures_in_a_row_only(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(5):
        fail(one)
        fail(one)
        assert one.call(Flaky()) == "answer"
    assert one.state == "closed"
    for _ in range(3):
        assert one.state == "closed"
        fail(one)
    assert one.state == "open"
    assert one.fault == "no route"


def test_open_it_fails_at_once_with_the_reason(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(3):
        fail(one)
    call = Flaky()
    with pytest.raises(StorageUnavailable, match="no route"):
        one.call(call)
    assert call.calls == 0


def test_a_sleeping_database_opens_it_at_once(clock: Clock) -> None:
    one = breaker(clock)
    fail(one, message="Resuming your database", asleep=True)
    assert one.state == "open"
    assert one.fault == "Resuming your database"


def test_a_call_that_took_long_in_vain_opens_it_at_once(clock: Clock) -> None:
    one = breaker(clock)
    with pytest.raises(StorageUnavailable):
        one.call(Flaky(away(), takes=4.9, clock=clock))
    assert one.state == "closed"
    with pytest.raises(StorageUnavailable):
        one.call(Flaky(away("no answer in 10 s"), takes=5.0, clock=clock))
    assert one.state == "open"


def test_a_refusal_is_an_answer(clock: Clock) -> None:
    one = breaker(clock)
    fail(one)
    fail(one)
    for _ in range(9):
        with pytest.raises(StorageError, match="too wide"):
            one.call(Flaky(StorageError("too wide")))
    fail(one)
    assert one.state == "closed"


def test_the_cool_down_doubles_with_every_probe_in_vain_up_to_its_bound(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(3):
        fail(one)
    for wait in (5, 10, 20, 40, 40, 40):
        assert one.rest() == pytest.approx(wait)
        clock.now += wait - 0.01
        assert one.state == "open"
        clock.now += 0.02
        assert one.state == "half-open"
        assert one.rest() == 0
        fail(one)
    clock.now += 41
    assert one.call(Flaky()) == "answer"
    assert (one.state, one.fault, one.rest()) == ("closed", "", 0.0)
    for _ in range(3):
        fail(one)
    assert one.rest() == pytest.approx(5)  # it begins anew


def test_one_probe_passes_at_a_time_and_only_if_it_may_be_one(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(3):
        fail(one)
    clock.now += 6
    reader = Flaky()
    with pytest.raises(StorageUnavailable):
        one.call(reader, probe=False)
    inside, go_on = threading.Event(), threading.Event()

    def probe() -> None:
        inside.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=one.call, args=(probe,))
    thread.start()
    assert inside.wait(30)
    assert one.state == "half-open"
    with pytest.raises(StorageUnavailable, match="no route"):
        one.call(reader)
    go_on.set()
    thread.join(30)
    assert reader.calls == 0
    assert one.call(reader) == "answer"


def test_a_probe_that_is_interrupted_leaves_room_for_another(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(3):
        fail(one)
    clock.now += 6
    with pytest.raises(KeyboardInterrupt):
        one.call(Flaky(KeyboardInterrupt()))
    assert one.state == "half-open"
    assert one.call(Flaky()) == "answer"


def test_an_old_call_that_ends_late_says_nothing_about_now(clock: Clock) -> None:
    one = breaker(clock)
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        inside.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=one.call, args=(slow,))
    thread.start()
    assert inside.wait(30)
    for _ in range(3):
        fail(one)
    go_on.set()
    thread.join(30)
    assert one.state == "open"


def test_reset_lets_the_next_call_pass_and_it_is_a_probe(clock: Clock) -> None:
    one = breaker(clock)
    for _ in range(3):
        fail(one)
    one.reset()
    assert one.state == "half-open"
    fail(one)
    assert one.rest() == pytest.approx(10)
    one.reset()
    assert one.call(Flaky()) == "answer"
    assert one.state == "closed"


def test_calls_are_retried_while_it_is_closed_and_a_probe_is_made_once(clock: Clock) -> None:
    one = Breaker(failures=1, cool_down=5, attempts=3, clock=clock, sleep=clock.sleep)
    assert one.call(Flaky(away(), away())) == "answer"
    assert one.state == "closed"
    call = Flaky(*[away()] * 3)
    with pytest.raises(StorageUnavailable):
        one.call(call)
    assert (one.state, call.calls) == ("open", 3)
    clock.now += 6
    call = Flaky(away())
    with pytest.raises(StorageUnavailable):
        one.call(call)
    assert call.calls == 1


def test_many_threads_do_not_wait_for_each_other(clock: Clock) -> None:
    one = breaker(clock)
    together = threading.Barrier(16, timeout=30)  # all are inside at once, or it breaks
    threads = [threading.Thread(target=one.call, args=(together.wait,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not together.broken
    assert one.state == "closed"
