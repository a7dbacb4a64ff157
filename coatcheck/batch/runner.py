"""Runs a batch: a bounded number of jobs in flight, each result written as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import TypeVar

from coatcheck_client import ApiError, AsyncCoatcheck, Job, Unreachable

from coatcheck.batch.journal import Journal
from coatcheck.batch.lines import BatchError, Stopped, ended_line, refused_line
from coatcheck.batch.source import Source

CONNECTIONS = 32
"""Requests on the wire, and so request and result bodies in memory, however many jobs are in flight."""
RETRIES = 30
"""Of one request, some 3 minutes in all: a server may restart under a batch."""
SERVERS_FAULT = frozenset({401, 408, 429, 502, 503, 504})
"""Refusals about the key, the server or the moment: they stop the batch, and no line fails for them."""
NO_SERVER = SERVERS_FAULT | {404, 405}
"""On a submit these mean that there is no such API at this address."""
SURE_AFTER = 3
"""The server itself says so many times that a job is not there, or cannot be read, before it is believed."""
TRIES = 10
"""Of one request, with some two minutes of pauses in between."""
EAGERNESS = 0.9
"""Of the usual duration: a job that was quicker than usual must not hold its place for long."""
LONGEST = 30.0
"""Seconds: a first look comes no later than this, whatever was usual."""
FIRST_AGAIN = 0.2
"""Seconds; doubles with each look."""
MEMORY = 0.05
"""Weight of one more job in the usual duration."""

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


class Meaning(Enum):
    """What an error answer means for a line. Only the server itself can say that it has failed: an answer that somebody
    else wrote, such as a proxy, and an error that may pass say nothing about it."""

    AGAIN = "ask again"
    LINE_FAILED = "the line has failed"
    STOP = "stop the batch"


def after_submit(error: ApiError, tries: int) -> Meaning:
    """What a refusal of a submit means, after so many `tries`: 1 for the first."""
    if error.status in NO_SERVER or error.status < 400:
        return Meaning.STOP
    if is_ours(error) and error.status < 500:
        return Meaning.LINE_FAILED
    if tries < TRIES:
        return Meaning.AGAIN
    return Meaning.LINE_FAILED if is_ours(error) else Meaning.STOP


def after_poll(error: ApiError, tries: int) -> Meaning:
    """What an error in the place of a job means. The line may be paid for: it is written off only for what stays."""
    if error.status in SERVERS_FAULT or error.status < 400:
        return Meaning.STOP
    gone = error.status == 404 and _code(error) != "no_such_route"
    lost = is_ours(error) and (gone or _code(error) == "unreadable")
    if tries < (SURE_AFTER if lost else TRIES):
        return Meaning.AGAIN
    return Meaning.LINE_FAILED if lost else Meaning.STOP


def is_ours(error: ApiError) -> bool:
    """Whether the server wrote the answer: a page of a proxy is not the API's error object."""
    return isinstance(error.body, dict) and "is_bifrost_error" in error.body


def _code(error: ApiError) -> object:
    said = error.body.get("error") if isinstance(error.body, dict) else None
    return said.get("code") if isinstance(said, dict) else None


class FirstPollDelay:
    """Learns from jobs that ended when to ask for one the first time: with a thousand in flight each of them would
    otherwise be asked for many times in vain. `usual` is their running mean duration on the server, in seconds."""

    def __init__(self) -> None:
        self.usual = 0.0

    def learn(self, job: Job) -> None:
        if job.created_at is not None and job.completed_at is not None:
            took = max(timedelta(0), job.completed_at - job.created_at).total_seconds()
            self.usual += (took - self.usual) * MEMORY

    def first_look(self) -> float:
        return min(LONGEST, self.usual * EAGERNESS)


class Runner:
    """One run over the lines that are not done yet. Reads and writes of local files are short and stay on the loop."""

    def __init__(
        self, client: AsyncCoatcheck, source: Source, journal: Journal, slots: int, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._client = client
        self._journal = journal
        self._ttl = source.options.ttl
        self._todo = (line for line in source.lines() if not journal.has(line.custom_id))
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._pace = FirstPollDelay()
        self._sleep = sleep
        self._slots = slots
        self._stopping = False
        self.in_flight = 0

    async def run(self) -> None:
        """Work until every line is done or `stop` was called. `BatchError` when it cannot go on."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._slots):
                    tasks.create_task(self._work())
        except BaseExceptionGroup as group:
            first = group.exceptions[0]
            raise (first if isinstance(first, BatchError) else group) from None

    def stop(self) -> None:
        """Submit no more; `run` returns when what is in flight has ended."""
        self._stopping = True

    async def _work(self) -> None:
        while (accepted := await self._submit_next()) is not None:
            self.in_flight += 1
            await self._collect(*accepted)
            self.in_flight -= 1

    async def _submit_next(self) -> tuple[str, str, Job] | None:
        """Submit lines until one is accepted, its custom_id, key and job; None when none is left. Its body is kept no
        longer. A refused line is written as failed."""
        async with self._turn:
            while not self._stopping and (line := next(self._todo, None)) is not None:
                sent = line.submission(self._journal.run, self._journal.attempt(line.custom_id))
                key = sent.idempotency_key
                submit = partial(self._client.submit, sent.request_type, sent.body, sent.files, idempotency_key=key)
                job = await self._asked(partial(submit, ttl=self._ttl), after_submit, line.custom_id, key)
                if job is not None:
                    return line.custom_id, key, job
        return None

    async def _collect(self, custom_id: str, key: str, accepted: Job) -> None:
        await asyncio.sleep(self._pace.first_look())
        job = await self._asked(partial(self._client.wait, accepted), after_poll, custom_id, key)
        if job is not None:
            self._pace.learn(job)
            write = self._journal.complete if job.succeeded else self._journal.fail
            write(ended_line(custom_id, job))

    async def _asked(
        self, ask: Callable[[], Awaitable[T]], meaning_of: Callable[[ApiError, int], Meaning], custom_id: str, key: str
    ) -> T | None:
        """The answer, asked for until it says something about the line; None when the line has failed with it."""
        tries = 0
        while True:
            tries += 1
            try:
                return await ask()
            except Unreachable as error:
                raise Stopped(str(error)) from None
            except ApiError as error:
                match meaning_of(error, tries):
                    case Meaning.STOP:
                        raise Stopped(f"the server refuses: {error}") from None
                    case Meaning.LINE_FAILED:
                        self._journal.fail(refused_line(custom_id, key, error))
                        return None
            await self._sleep(min(LONGEST, FIRST_AGAIN * 2.0 ** min(tries - 1, 64)))
