"""Each verb of the client as a generator without I/O: it yields what a driver shall do and is sent what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from coatcheck_client.errors import ApiError, JobFailed, Unreachable, WaitTimeout
from coatcheck_client.job import Job, follow_up, from_ticket
from coatcheck_client.protocol import Reply, Request, get_request, read_job, read_retry_after
from coatcheck_client.submission import Encoded

FIRST_POLL = 0.05
"""Seconds before the first poll when the server gives no hint."""
LONGEST_POLL = 5.0
"""Seconds between polls of a long job when the server gives no hint."""
POLL_GROWTH = 1.6
"""Each wait is this much longer than the one before, so a result is seen late by a fraction of its own duration."""
SOON = 1.0
"""The smallest hint that Retry-After can give, in seconds."""
LONGEST_HINT = 300.0
"""A Retry-After beyond this many seconds is cut: a poll costs little, and a proxy's mistake must not stop a caller."""
LAST_LOOK = 1.0
"""Seconds that the last poll of a wait may take although its time is over: an answer under way is worth that much."""
MAX_FOLLOWED = 100
"""Times that one job was requeued: a bound against a server that leads in circles."""

FIRST_RETRY = 0.2
"""Seconds: ceiling of the wait before the first retry; doubles with each."""
LONGEST_RETRY = 10.0
"""Seconds: ceiling of a retry's wait that the client chooses itself."""
LONGEST_RETRY_HINT = 60.0
"""A refusal that asks for a longer wait than this many seconds is handed to the caller."""
RETRYABLE = frozenset({408, 429, 502, 503, 504})
"""Answers after which the same request may be sent again."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; what comes of it is a `Reply` or an `Unreachable`. `timeout`: seconds for the whole exchange."""

    request: Request
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


T = TypeVar("T")
Effect: TypeAlias = Send | Sleep
Operation: TypeAlias = Generator[Effect, Any, T]


class OutOfTime(Exception):
    """The time given to an exchange is over; `wait` turns it into `WaitTimeout`."""


class Operations:
    """The verbs. `clock` is monotonic, in seconds; `chance` gives a number in [0, 1)."""

    def __init__(
        self, retries: int, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._chance = chance

    def submit(self, encoded: Encoded) -> Operation[Job]:
        """Hand the request in. Every try carries the same Idempotency-Key, so however many arrive, it is one job."""
        request = Request("POST", encoded.endpoint.path, encoded.headers, encoded.content)
        reply = yield from self._exchange(request)
        return read_job(encoded.endpoint, reply)

    def get(self, job: Job | str) -> Operation[Job]:
        job = _known(job)
        reply = yield from self._exchange(get_request(job.endpoint, job.id))
        return read_job(job.endpoint, reply)

    def wait(self, job: Job | str, timeout: float | None) -> Operation[Job]:
        """Poll until the job ended; `WaitTimeout` after `timeout` seconds, with one last look at that moment. A failed
        job that an operator requeued leads to the one that it is now, and so on."""
        end = None if timeout is None else self._clock() + timeout
        ended = yield from self._wait(_known(job), end)
        for _ in range(MAX_FOLLOWED):
            follows = follow_up(ended)
            if follows is None:
                break
            try:
                ended = yield from self._wait(follows, end)
            except ApiError as error:
                if error.status != 404:
                    raise
                break  # the new one has expired: the failure of the old one is all that is left to tell
        return ended

    def _wait(self, job: Job, end: float | None) -> Operation[Job]:
        polls = 0
        while not job.ended:
            if polls and end is not None and self._clock() >= end:
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
        if not job.succeeded:
            raise JobFailed(job)
        return job.result

    def _exchange(self, request: Request, end: float | None = None) -> Operation[Reply]:
        """Send until an answer counts, at most `retries` times again; `OutOfTime` when `end` comes first."""
        for retries in range(self._retries + 1):
            time_left = None if end is None else max(LAST_LOOK, end - self._clock())
            answer: Reply | Unreachable = yield Send(request, time_left)
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


def _known(job: Job | str) -> Job:
    return from_ticket(job) if isinstance(job, str) else job


def poll_delay(polls: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait before the next poll, after `polls` polls of this job; `chance` is in [0, 1).

    Retry-After counts whole seconds, so a hint of one means "soon": polls start early and come at most that far apart.
    A longer hint is a lower bound; jitter only ever adds to it, by at most a tenth."""
    own = min(LONGEST_POLL, FIRST_POLL * POLL_GROWTH ** min(polls, 64))
    if retry_after and retry_after > SOON:
        return max(min(retry_after, LONGEST_HINT), own) * (1 + chance / 10)
    return min(own, retry_after or own) * (0.5 + chance / 2)


def retry_delay(retries: int, retry_after: float | None, chance: float) -> float | None:
    """Seconds to wait before retry number `retries` (from 0), or None when the server asks for too long a wait."""
    own = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(retries, 64)) * chance
    if retry_after is not None and retry_after > LONGEST_RETRY_HINT:
        return None
    return own + (retry_after or 0.0)
