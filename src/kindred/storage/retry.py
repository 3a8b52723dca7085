"""Retries of what may be retried, and a circuit breaker for a store that stays away.

Only :class:`~kindred.errors.StorageUnavailable` is ever retried: the request did not arrive, or its
answer was lost, and every request of Kindred's may be sent twice. A store sets two attributes on
that error where it knows more: ``asleep`` (True: a database that takes minutes to wake, which
retries only disturb) and ``retry_after`` (seconds, as in an answer 429 or 503). What was retried in
vain is marked, so that nobody further out does it all again.

Waits grow exponentially with full jitter: M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog (2015). The breaker: M. Nygard, "Release It!" (2nd ed., 2018), chapter 5.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_random_exponential

from kindred.errors import StorageError, StorageUnavailable

T = TypeVar("T")
#: A request is sent at most this often.
ATTEMPTS = 5
#: Seconds: the first wait lies between 0 and the first number, no wait is above the second.
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0


def is_asleep(error: BaseException) -> bool:
    """Whether an error says that the database takes minutes to wake."""
    return getattr(error, "asleep", False) is True


def may_retry(error: BaseException) -> bool:
    """Whether the same call may work if it is sent again now."""
    return (
        isinstance(error, StorageUnavailable)
        and not is_asleep(error)
        and not getattr(error, "was_retried", False)
    )


def retrying(
    call: Callable[[], T],
    *,
    deadline: float,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Make a call, again where it may be retried.

    Parameters
    ----------
    call : callable
        Must be safe to make twice.
    deadline : float
        Seconds in all, waits included, after which no further attempt begins.
    attempts : int
        Calls at most.

    Raises
    ------
    StorageUnavailable
        What the last attempt raised. Any other error passes at once.
    """
    start = clock()

    def spent(state: RetryCallState) -> bool:
        late = clock() - start + state.upcoming_sleep >= deadline
        return late or state.attempt_number >= attempts

    attempt = Retrying(
        sleep=sleep, stop=spent, wait=_wait, retry=retry_if_exception(may_retry), reraise=True
    )
    try:
        return attempt(call)
    except StorageUnavailable as error:
        vars(error)["was_retried"] = True
        raise


_backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: jitter, and what the server asked for before it."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    return (float(asked) if asked else 0.0) + float(_backoff(state))


def or_away(call: Callable[[], T]) -> T:
    """Make a call of a store that has worked before: if it refuses, it cannot be used now.

    Such is an expired password, or a database that was deleted: what waits can be sent once
    somebody has mended it.

    Raises
    ------
    StorageUnavailable
        In place of :class:`~kindred.errors.StorageError`, and not to be retried.
    """
    try:
        return call()
    except StorageUnavailable:
        raise
    except StorageError as error:
        away = StorageUnavailable(str(error))
        vars(away)["was_retried"] = True
        raise away from error


State = Literal["closed", "open", "half-open"]


class Breaker:
    """Keeps calls from a store that does not answer.

    Closed, it lets calls pass, and retries them. After a few failures in a row, or a single one of
    a sleeping database or that took long, it opens: calls fail at once with the failure that opened
    it. After a cool-down one call, the probe, may pass; the breaker closes if it succeeds and else
    stays open for longer. Safe between threads; no lock is held during a call.

    Parameters
    ----------
    failures : int
        Each stands for a call that was retried in vain, so few are enough.
    cool_down, longest : float
        Seconds it stays open at first, and at most; doubled by every probe that fails.
    attempts, deadline
        As of :func:`retrying`; a probe is made once. A call took long that took half the deadline.
    clock, sleep : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        failures: int = 2,
        cool_down: float = 5.0,
        longest: float = 60.0,
        attempts: int = 3,
        deadline: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.failures, self.cool_down, self.longest = failures, cool_down, longest
        self.attempts, self.deadline = attempts, deadline
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._failed = 0
        self._wait = cool_down
        self._until: float | None = None  # open until then; None while closed
        self._probing = False
        self._fault = ""

    @property
    def state(self) -> State:
        """Closed, open, or half-open: the cool-down is over and the probe not yet back."""
        with self._lock:
            if self._until is None:
                return "closed"
            return "half-open" if self._probing or self._clock() >= self._until else "open"

    @property
    def fault(self) -> str:
        """What the store last failed with; empty while it answers."""
        return self._fault

    def rest(self) -> float:
        """Seconds until a probe may pass; 0 when it may now."""
        with self._lock:
            return max(0.0, self._until - self._clock()) if self._until is not None else 0.0

    def reset(self) -> None:
        """Let the next call pass, as somebody has reason to believe that it will work."""
        with self._lock:
            if self._until is not None:
                self._until = self._clock()

    def call(self, function: Callable[[], T], *, probe: bool = True) -> T:
        """Make a call, or fail at once while open.

        Parameters
        ----------
        probe : bool
            Whether this call may be the probe.

        Raises
        ------
        StorageUnavailable
            When the breaker is open, or what the call raised.
        """
        probing, start = self._enter(probe), self._clock()
        try:
            value = retrying(
                function,
                deadline=self.deadline,
                attempts=1 if probing else self.attempts,
                sleep=self._sleep,
                clock=self._clock,
            )
        except StorageUnavailable as error:
            took_long = self._clock() - start >= self.deadline / 2
            self._failure(error, probing, at_once=took_long or is_asleep(error))
            raise
        except Exception:  # the store answered, if with a refusal
            self._success(probing)
            raise
        except BaseException:  # somebody stopped us: nothing was learnt
            if probing:
                self._probing = False
            raise
        self._success(probing)
        return value

    def _enter(self, probe: bool) -> bool:
        """Whether the call that begins is the probe."""
        with self._lock:
            if self._until is None:
                return False
            if not probe or self._probing or self._clock() < self._until:
                raise StorageUnavailable(self._fault)
            self._probing = True
            return True

    def _failure(self, error: StorageUnavailable, probing: bool, *, at_once: bool) -> None:
        with self._lock:
            self._fault = str(error)
            if probing:
                self._probing = False
                self._wait = min(2 * self._wait, self.longest)
                self._until = self._clock() + self._wait
            elif self._until is None:
                self._failed += 1
                if at_once or self._failed >= self.failures:
                    self._until = self._clock() + self._wait

    def _success(self, probing: bool) -> None:
        with self._lock:
            if probing or self._until is None:  # else it began before the breaker opened
                self._until, self._probing, self._fault = None, False, ""
                self._failed, self._wait = 0, self.cool_down
