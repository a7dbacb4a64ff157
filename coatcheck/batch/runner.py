"""Runs a batch: a bounded number of jobs in flight, each result written as it comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from coatcheck_client import ApiError, AsyncCoatcheck, Job, Unreachable

from coatcheck.batch.errors import BatchError, Stopped
from coatcheck.batch.journal import Journal
from coatcheck.batch.lines import Line, ended_line, refused_line
from coatcheck.batch.pace import Pace
from coatcheck.batch.source import Source

CONNECTIONS = 32
"""Requests on the wire, and so request and result bodies in memory, however many jobs are in flight."""
RETRIES = 30
"""Of one request, some 3 minutes in all: a server may restart under a batch."""

SERVERS_FAULT = frozenset({401, 408, 429, 502, 503, 504})
"""Refusals about the key, the server or the moment: they stop the batch, and no line fails for them."""
NO_SERVER = SERVERS_FAULT | {404, 405}
"""On a submit these mean that there is no such API at this address."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that became a job. Its body is gone: only what is needed to write the result is kept."""

    custom_id: str
    key: str
    job: Job


class Runner:
    """One run over the lines that are not done yet. Reads and writes of local files are short and stay on the loop."""

    def __init__(self, client: AsyncCoatcheck, source: Source, journal: Journal, slots: int) -> None:
        self._client = client
        self._journal = journal
        self._ttl = source.options.ttl
        self._todo = (line for line in source.lines() if not journal.has(line.custom_id))
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._pace = Pace()
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
            await self._collect(accepted)
            self.in_flight -= 1

    async def _submit_next(self) -> Accepted | None:
        """Submit lines until one is accepted; None when none is left. A refused line is written as failed."""
        async with self._turn:
            while not self._stopping and (line := next(self._todo, None)) is not None:
                accepted = await self._submit(line)
                if accepted is not None:
                    return accepted
        return None

    async def _submit(self, line: Line) -> Accepted | None:
        submission = line.submission(self._journal.run, self._journal.attempt(line.custom_id))
        key = submission.idempotency_key
        try:
            job = await self._client.submit(
                submission.request_type, submission.body, submission.files, idempotency_key=key, ttl=self._ttl
            )
        except Unreachable as error:
            raise Stopped(str(error)) from None
        except ApiError as error:
            self._refused(line.custom_id, key, error, NO_SERVER)
            return None
        return Accepted(line.custom_id, key, job)

    async def _collect(self, accepted: Accepted) -> None:
        await asyncio.sleep(self._pace.first_look())
        try:
            job = await self._client.wait(accepted.job)
        except Unreachable as error:
            raise Stopped(str(error)) from None
        except ApiError as error:
            self._refused(accepted.custom_id, accepted.key, error, SERVERS_FAULT)
            return
        self._pace.learn(job)
        write = self._journal.fail if job.status == "failed" else self._journal.complete
        write(ended_line(accepted.custom_id, job))

    def _refused(self, custom_id: str, key: str, error: ApiError, stops: frozenset[int]) -> None:
        if error.status in stops or error.status < 400:
            raise Stopped(f"the server refuses: {error}") from None
        self._journal.fail(refused_line(custom_id, key, error))
