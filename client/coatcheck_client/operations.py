"""Each verb of the client as a generator that does no I/O: it yields what it wants done and is sent what came of it.

A driver performs the effects, blocking (`sync`) or awaiting (`aio`), so the verbs exist once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from coatcheck_client.errors import JobFailed, Unreachable, WaitTimeout
from coatcheck_client.job import Job, from_ticket
from coatcheck_client.protocol import Reply, Request, get_request, read_job, read_retry_after, submit_request
from coatcheck_client.schedule import RETRYABLE, poll_delay, retry_delay
from coatcheck_client.submission import Encoded


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; the driver answers with a `Reply`, or with `Unreachable` as a value.

    `timeout` bounds the whole exchange, in seconds; None leaves it to the driver's time-outs for each phase.
    """

    request: Request
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for some seconds."""

    seconds: float


LAST_LOOK = 1.0
"""Seconds that the last poll of a wait may take although its time is over: an answer under way is worth that much."""

T = TypeVar("T")
Effect: TypeAlias = Send | Sleep
Operation: TypeAlias = Generator[Effect, Any, T]


class OutOfTime(Exception):
    """The time given to an exchange is over; `wait` turns it into `WaitTimeout`."""


class Operations:
    """The verbs. `clock` is monotonic, in seconds; `chance` gives a number in [0, 1)."""

    def __init__(
        self,
        retries: int,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._chance = chance

    def submit(self, encoded: Encoded) -> Operation[Job]:
        """Hand the request in. Every try carries the same Idempotency-Key, so however many arrive, it is one job."""
        reply = yield from self._exchange(submit_request(encoded))
        return read_job(encoded.endpoint, reply)

    def get(self, job: Job | str) -> Operation[Job]:
        """Ask once how the job is."""
        job = _known(job)
        reply = yield from self._exchange(get_request(job.endpoint, job.id))
        return read_job(job.endpoint, reply)

    def wait(self, job: Job | str, timeout: float | None) -> Operation[Job]:
        """Poll until the job ended; `WaitTimeout` after `timeout` seconds, with one last look at that moment."""
        job = _known(job)
        end = None if timeout is None else self._clock() + timeout
        polls = 0
        while not job.ended:
            if polls and self._is_over(end):
                raise WaitTimeout(job)
            delay = poll_delay(polls, job.retry_after, self._chance())
            yield Sleep(delay if end is None else max(0.0, min(delay, end - self._clock())))
            try:
                reply = yield from self._exchange(get_request(job.endpoint, job.id), end)
            except OutOfTime:
                raise WaitTimeout(job) from None
            job = read_job(job.endpoint, reply)
            polls += 1
        return job

    def result(self, job: Job | str, timeout: float | None) -> Operation[Any]:
        """Wait for the job and give its result; `JobFailed` when it has none."""
        job = yield from self.wait(job, timeout)
        if job.status == "failed":
            raise JobFailed(job)
        return job.result

    def _exchange(self, request: Request, end: float | None = None) -> Operation[Reply]:
        """Send until an answer counts, at most `retries` times again; `OutOfTime` when `end` comes first."""
        for retries in range(self._retries + 1):
            answer: Reply | Unreachable = yield Send(request, self._time_left(end))
            if isinstance(answer, Reply) and answer.status not in RETRYABLE:
                return answer
            hint = read_retry_after(answer) if isinstance(answer, Reply) else None
            delay = retry_delay(retries, hint, self._chance())
            if end is not None and self._clock() + (delay or 0.0) >= end:
                raise OutOfTime
            if delay is None or retries == self._retries:
                break
            yield Sleep(delay)
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    def _is_over(self, end: float | None) -> bool:
        return end is not None and self._clock() >= end

    def _time_left(self, end: float | None) -> float | None:
        return None if end is None else max(LAST_LOOK, end - self._clock())


def _known(job: Job | str) -> Job:
    return from_ticket(job) if isinstance(job, str) else job
