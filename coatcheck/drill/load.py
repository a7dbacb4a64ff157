"""Clients of a drill: each submits its share, polls through every fault, and writes down what it was told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from coatcheck_client import AsyncCoatcheck, Job
from coatcheck_client.errors import ApiError, CoatcheckError

from coatcheck.drill.cluster import PROVIDER
from coatcheck.drill.verdict import Ticket

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 0.2
_LATENCIES_MS = (5, 50, 100, 300, 1000)


class Clients:
    """`count` clients that share `jobs` requests, spread over `seconds`; the provider storms for `storm` seconds.

    Every client writes its own append-only log below `directory`, one JSON line for each thing it was told.
    """

    def __init__(
        self, urls: Sequence[str], directory: Path, *, jobs: int, seconds: float, count: int, seed: int, storm: float
    ) -> None:
        self._apis = [AsyncCoatcheck(url, retries=0, timeout=10.0, trust_env=False) for url in urls]
        self._directory = directory
        self._jobs = jobs
        self._seconds = seconds
        self._count = min(count, jobs)
        self._rng = random.Random(seed)
        self._script = f",until={time.time() + storm}" if storm else ""
        self.run_id = f"{seed}-{time.time_ns()}"
        self.tickets: list[Ticket] = []

    @property
    def accepted(self) -> int:
        """Jobs that were answered with 202 so far."""
        return sum(bool(ticket.ids) for ticket in self.tickets)

    @property
    def ended(self) -> int:
        """Jobs that a client has seen ended so far."""
        return sum(ticket.ended_at > 0 for ticket in self.tickets)

    async def run(self, give_up: float) -> None:
        """Submit everything and poll until all ended or `give_up` seconds have passed."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                log = (self._directory / f"client{number}.jsonl").open("a", buffering=1)
                group.create_task(self._client(number, started, started + give_up, log))

    async def _client(self, number: int, started: float, give_up: float, log: TextIO) -> None:
        with log:
            async with asyncio.TaskGroup() as group:
                for position in range(number, self._jobs, self._count):
                    await asyncio.sleep(started + self._seconds * position / self._jobs - time.monotonic())
                    group.create_task(self._one(position, give_up, log))

    async def _one(self, position: int, give_up: float, log: TextIO) -> None:
        ticket = Ticket(key=f"drill-{self.run_id}-{position}")
        self.tickets.append(ticket)
        model = f"{PROVIDER}/latency={self._rng.choice(_LATENCIES_MS)}{self._script}"
        body = {"model": model, "input": f"request {position}"}
        job: Job | None = None
        while job is None and time.monotonic() < give_up:
            job = await self._submit(ticket, body, log)
        while job is not None and not job.ended and time.monotonic() < give_up:
            await asyncio.sleep(_POLL_SECONDS)
            job = await self._poll(ticket, job, log)

    async def _submit(self, ticket: Ticket, body: dict[str, Any], log: TextIO) -> Job | None:
        """One try. Tries of one request carry the same key, so that an answer lost on the way makes no second job."""
        try:
            job = await self._api().submit("embeddings", body, idempotency_key=ticket.key)
        except CoatcheckError as error:
            _write(log, "submit failed", ticket, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            return None
        ticket.ids.append(job.id)
        ticket.accepted_at = time.monotonic()
        _write(log, "accepted", ticket, id=job.id)
        return job

    async def _poll(self, ticket: Ticket, job: Job, log: TextIO) -> Job:
        try:
            now = await self._api().get(job)
        except ApiError as error:
            if error.status == 404:  # an accepted job that is gone: exactly what must never be seen
                ticket.seen.append(("missing", ""))
            _write(log, "poll failed", ticket, error=str(error))
            return job
        except CoatcheckError as error:
            _write(log, "poll failed", ticket, error=str(error))
            return job
        ticket.seen.append((now.status, digest(now) if now.ended else ""))
        if now.ended:
            ticket.ended_at = time.monotonic()
            _write(log, "ended", ticket, id=now.id, status=now.status, digest=digest(now))
        return now

    async def collect_again(self) -> dict[str, tuple[str, str]]:
        """Ask once more for every accepted job: (status, digest) by id; what is not there is "missing"."""
        ids = [job_id for ticket in self.tickets for job_id in set(ticket.ids)]
        turn = asyncio.Semaphore(64)

        async def one(job_id: str) -> tuple[str, str]:
            async with turn:
                try:
                    job = await self._api().get(f"embeddings/{job_id}")
                except ApiError:
                    return "missing", ""
                return job.status, digest(job) if job.ended else ""

        return dict(zip(ids, await asyncio.gather(*map(one, ids)), strict=True))

    def _api(self) -> AsyncCoatcheck:
        return self._rng.choice(self._apis)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(api.close() for api in self._apis))


def digest(job: Job) -> str:
    """A fingerprint of everything that the API says about an ended job."""
    return hashlib.sha256(json.dumps(job.envelope, sort_keys=True).encode()).hexdigest()


def _write(log: TextIO, event: str, ticket: Ticket, **more: str) -> None:
    log.write(json.dumps({"time": time.time(), "event": event, "key": ticket.key, **more}) + "\n")
