"""Clients of a drill: each submits its share, polls through every fault, and writes down what it was told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import msgspec

from coatcheck.drill.http import Answer, HttpClient
from coatcheck.drill.sightings import NO_ANSWER, Sightings
from coatcheck.drill.verdict import TERMINAL, Ticket

PATH = "/v1/async/embeddings"
"""Where the load is submitted."""
_FIRST_POLL_SECONDS = 0.25
_LONGEST_POLL_SECONDS = 2.0
_MOST_AT_ONCE = 128
"""Requests under way: a crowd that waits through an outage shall not eat the cores that must mend it."""
_LOOK_AGAIN = (0.5, 4.0)
"""Every fourth client looks again so long after the end, for answers that flap."""
_LOOK_AGAIN_SHARE = 4
_FINAL_TRIES = 10

MODELS = ("upstream/latency={latency}",)
LATENCIES = (5, 50, 100, 300, 1000)
CLIENTS = 32


class _Complaint(msgspec.Struct):
    message: str = ""


class _Wrong(msgspec.Struct):
    error: _Complaint = msgspec.field(default_factory=_Complaint)


class _Envelope(msgspec.Struct):
    id: str
    status: str
    error: _Wrong | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`count` clients share `jobs` requests, spread over `seconds`.

    `models` take turns; in each `{latency}` is replaced, in milliseconds. `storm` seconds of 429s come first. If the
    database `forgets`, nobody asks again for a job that is gone.
    """

    jobs: int
    seconds: float
    seed: int
    count: int = CLIENTS
    models: Sequence[str] = MODELS
    latencies: Sequence[int] = LATENCIES
    storm: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    forgets: bool = False


class Clients:
    """Everybody who uses the API at `urls`. Each client writes an append-only log of JSON lines below `directory`."""

    def __init__(self, urls: Sequence[str], directory: Path, options: LoadOptions) -> None:
        self._apis = [HttpClient(url) for url in urls]
        self._directory = directory
        self._how = options
        self._rng = random.Random(options.seed)
        self._storm = f",until={time.time() + options.storm}" if options.storm else ""
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self.run_id = f"{options.seed}-{time.time_ns()}"
        self.tickets: list[Ticket] = []
        self.sightings = Sightings()
        self.accepted = 0
        self.ended = 0

    async def run(self, give_up: float) -> None:
        """Submit everything and poll until all ended or `give_up` seconds have passed."""
        started = time.monotonic()
        count = min(self._how.count, self._how.jobs)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                log = (self._directory / f"client{number}.jsonl").open("a", buffering=1)
                group.create_task(self._client(number, count, started, started + give_up, log))

    async def _client(self, number: int, count: int, started: float, give_up: float, log: TextIO) -> None:
        how = self._how
        with log:
            async with asyncio.TaskGroup() as group:
                for position in range(number, how.jobs, count):
                    await asyncio.sleep(started + how.seconds * position / how.jobs - time.monotonic())
                    group.create_task(self._one(position, give_up, log))

    async def _one(self, position: int, give_up: float, log: TextIO) -> None:
        ticket = Ticket(key=f"drill-{self.run_id}-{position}")
        self.tickets.append(ticket)
        how = self._how
        model = how.models[position % len(how.models)].format(latency=self._rng.choice(how.latencies)) + self._storm
        body = json.dumps({"model": model, "input": f"request {position}"}).encode()
        job = ""
        while not job and time.monotonic() < give_up:
            job = await self._submit(ticket, body, log)
        if job:
            await self._poll_to_the_end(ticket, job, give_up, log)

    async def _submit(self, ticket: Ticket, body: bytes, log: TextIO) -> str:
        """One try; the id, or empty. Tries of one request carry the same key, so that a lost answer makes no second."""
        headers = {"idempotency-key": ticket.key, **dict(self._how.headers)}
        async with self._request("POST", PATH, body, headers) as answer:
            pass
        took = answer.took
        self.sightings.submitted(time.monotonic() - took, answer.status, took)
        if answer.status not in (200, 202):
            _write(log, "submit failed", ticket, status=str(answer.status), took=f"{took:.3f}")
            await self._wait_as_told(answer, 1.0)
            return ""
        job_id = msgspec.json.decode(answer.body, type=_Envelope).id
        self.accepted += not ticket.ids
        ticket.ids.append(job_id)
        ticket.accepted_at, ticket.accepted_unix = time.monotonic(), time.time()
        _write(log, "accepted", ticket, id=job_id)
        return job_id

    async def _poll_to_the_end(self, ticket: Ticket, job: str, give_up: float, log: TextIO) -> None:
        pause = _FIRST_POLL_SECONDS
        while not ticket.ended_at and time.monotonic() < give_up and not (self._how.forgets and ticket.missing):
            await asyncio.sleep(pause * self._rng.uniform(0.9, 1.1))
            pause = min(_LONGEST_POLL_SECONDS, pause * 1.5)
            await self._poll(ticket, job, log)
        if self._rng.randrange(_LOOK_AGAIN_SHARE) == 0:
            for seconds in _LOOK_AGAIN:
                await asyncio.sleep(seconds)
                await self._poll(ticket, job, log)

    async def _poll(self, ticket: Ticket, job: str, log: TextIO) -> None:
        async with self._request("GET", f"{PATH}/{job}") as answer:
            pass
        self.sightings.polls[answer.status] += 1
        if answer.status == 404:  # an accepted job that is gone: exactly what must never be seen
            ticket.saw("missing", "")
        if answer.status not in (200, 202):
            _write(log, "poll failed", ticket, status=str(answer.status))
            await self._wait_as_told(answer, 0.5)
            return
        status, digest = seen(answer)
        ticket.saw(status, digest)
        if status in TERMINAL and not ticket.ended_at:
            ticket.ended_at = time.monotonic()
            self.ended += 1
            if status == "failed":
                self.sightings.failed(_why(answer))
            _write(log, "ended", ticket, id=job, status=status, digest=digest)

    async def collect_again(self, expired: Collection[str] = ()) -> dict[str, tuple[str, str]]:
        """Ask once more for every accepted job but the `expired`: (status, digest) by id; what is gone is "missing"."""
        ids = [job_id for ticket in self.tickets for job_id in set(ticket.ids) if job_id not in expired]
        found: dict[str, tuple[str, str]] = {}
        waiting = iter(ids)

        async def ask() -> None:
            for job_id in waiting:
                found[job_id] = await self._final(job_id)

        await asyncio.gather(*(ask() for _ in range(64)))
        return found

    async def _final(self, job_id: str) -> tuple[str, str]:
        for _ in range(_FINAL_TRIES):
            async with self._request("GET", f"{PATH}/{job_id}") as answer:
                if answer.status in (200, 202):
                    return seen(answer)
                if answer.status == 404:
                    return "missing", ""
            await self._wait_as_told(answer, 1.0)
        return "unreadable", ""

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> AsyncIterator[Answer]:
        """Ask a random edge. No answer comes out as one with the status NO_ANSWER."""
        async with self._turns:
            api = self._rng.choice(self._apis)
            began = time.monotonic()  # here, for a client that waits for its own turn waits for nobody's answer
            try:
                answer = await api.request(method, path, body, headers)
            except OSError as error:
                answer = Answer(NO_ANSWER, {}, type(error).__name__.encode())
            answer = replace(answer, took=time.monotonic() - began)
        self._look_at(method, answer)
        yield answer

    def _look_at(self, method: str, answer: Answer) -> None:
        """Refusals are 429 and 503 with Retry-After; all other failures are nobody's business but a violation."""
        if answer.status in (NO_ANSWER, 200, 202) or (answer.status == 404 and method == "GET"):
            return
        if answer.status not in (429, 503) or "retry-after" not in answer.headers:
            self.sightings.note_odd(f"{method} answered {answer.status}: {answer.body[:120].decode(errors='replace')}")

    async def _wait_as_told(self, answer: Answer, otherwise: float) -> None:
        told = answer.headers.get("retry-after", "")
        await asyncio.sleep((float(told) if told.isdecimal() else otherwise) * self._rng.uniform(0.5, 1.5))

    def close(self) -> None:
        """Close the connections."""
        for api in self._apis:
            api.close()


def job_id_of(answer: Answer) -> str:
    """The id in the answer to a submit. Raises ConnectionRefusedError if there is none."""
    if answer.status not in (200, 202):
        raise ConnectionRefusedError(f"the submit was answered {answer.status}")
    return msgspec.json.decode(answer.body, type=_Envelope).id


def seen(answer: Answer) -> tuple[str, str]:
    """The status in an answer and, of an ended job, a fingerprint of every byte that the API says about it."""
    status = msgspec.json.decode(answer.body, type=_Envelope).status
    return status, hashlib.blake2b(answer.body, digest_size=16).hexdigest() if status in TERMINAL else ""


def _why(answer: Answer) -> str:
    wrong = msgspec.json.decode(answer.body, type=_Envelope).error
    return wrong.error.message if wrong else ""


def _write(log: TextIO, event: str, ticket: Ticket, **more: str) -> None:
    log.write(json.dumps({"time": time.time(), "event": event, "key": ticket.key, **more}) + "\n")
