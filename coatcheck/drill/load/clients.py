"""Clients of a drill: each submits its share, polls through every fault, and writes down what it was told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from coatcheck.drill.load.answers import envelope_of, seen, wrong_answer
from coatcheck.drill.load.http import Answer, HttpClient
from coatcheck.drill.model.requests import EMBEDDINGS, Kind, Request, make_request, marker_of
from coatcheck.drill.model.ticket import NO_ANSWER, TERMINAL, ClientLog, Ticket
from coatcheck.drill.upstream.odd_answers import ODD_ANSWERS

_FIRST_POLL_SECONDS = 0.25
_LONGEST_POLL_SECONDS = 2.0
_PROGRESS_SECONDS = 2.0
_MOST_AT_ONCE = 128
"""Requests under way: a crowd that waits through an outage shall not eat the cores that must mend it."""
_LOOK_AGAIN = (0.5, 4.0)
"""Every fourth client looks again so long after the end, for answers that flap."""
_LOOK_AGAIN_SHARE = 4
_SUBMIT_AGAIN_SHARE = 8
"""Every eighth client submits once more under its key although it was answered, as if it had not heard it."""
_KEYLESS_SHARE = 7
"""Every seventh request has no Idempotency-Key: if its answer is lost, the next try makes another job, which counts."""
_FINAL_TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`clients` share `jobs` requests, spread over `seconds`. `models` take turns, and with each round through them
    `kinds` do; in each model `{latency}` is replaced, in milliseconds. `told_apart`: the models' answers carry what
    they were asked. For the first `storm` seconds the provider answers 429. If the database `forgets`, nobody asks
    again for a job that is gone, and only what was accepted after that is judged.
    """

    jobs: int = 300
    seconds: float = 20.0
    clients: int = 32
    models: Sequence[str] = ("upstream/latency={latency}",)
    kinds: Sequence[Kind] = EMBEDDINGS
    told_apart: bool = True
    latencies: Sequence[int] = (5, 50, 100, 300, 1000)
    storm: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    forgets: bool = False


class Clients:
    """Everybody who uses the API at `urls`. Each client writes an append-only log of JSON lines below `directory`."""

    def __init__(self, urls: Sequence[str], directory: Path, load: Load, seed: int) -> None:
        self._apis = [HttpClient(url) for url in urls]
        self._directory = directory
        self._load = load
        self._rng = random.Random(seed)
        self._storm = f",until={time.time() + load.storm}" if load.storm else ""
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._run_id = f"{seed}-{time.time_ns()}"
        self.tickets: list[Ticket] = []
        self.client_log = ClientLog()
        self.accepted = 0
        self.ended = 0

    async def run(self, patience: float) -> None:
        """Submit everything and poll until all ended or `patience` seconds have passed since the last submit."""
        started = time.monotonic()
        give_up = started + self._load.seconds + patience
        count = min(self._load.clients, self._load.jobs)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                log = (self._directory / f"client{number}.jsonl").open("a", buffering=1)
                group.create_task(self._client(range(number, self._load.jobs, count), started, give_up, log))

    async def say_progress(self, say: Callable[[str], None]) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            seconds = time.monotonic() - started
            say(f"{seconds:5.1f} s  accepted {self.accepted}/{self._load.jobs}  ended {self.ended}")

    async def _client(self, positions: range, started: float, give_up: float, log: TextIO) -> None:
        with log:
            async with asyncio.TaskGroup() as group:
                for position in positions:
                    at = started + self._load.seconds * position / self._load.jobs
                    await asyncio.sleep(at - time.monotonic())
                    group.create_task(self._one(position, give_up, log))

    async def _one(self, position: int, give_up: float, log: TextIO) -> None:
        request = self._request_of(position)
        keyed = position % _KEYLESS_SHARE != 0
        ticket = Ticket(marker_of(self._run_id, position), path=request.path, carries=request.carries, keyed=keyed)
        self.tickets.append(ticket)
        job = ""
        while not job and time.monotonic() < give_up:
            job = await self._submit(ticket, request, log)
        if job and ticket.keyed and self._rng.randrange(_SUBMIT_AGAIN_SHARE) == 0:
            await self._submit(ticket, request, log)
        if job:
            await self._poll_to_the_end(ticket, job, give_up, log)

    def _request_of(self, position: int) -> Request:
        load = self._load
        model = load.models[position % len(load.models)]
        kind = load.kinds[position // len(load.models) % len(load.kinds)]
        name = model.format(latency=self._rng.choice(load.latencies)) + self._storm
        told_apart = load.told_apart and model.partition("/")[2] not in ODD_ANSWERS
        return make_request(kind, name, marker_of(self._run_id, position), told_apart=told_apart)

    async def _submit(self, ticket: Ticket, request: Request, log: TextIO) -> str:
        """One try; the id, or empty. Tries with a key carry the same one, so that a lost answer makes no second job."""
        headers = {"x-request-id": ticket.key, "content-type": request.content_type, **dict(self._load.headers)}
        if ticket.keyed:
            headers["idempotency-key"] = ticket.key
        answer = await self._request("POST", request.path, request.body, headers)
        self.client_log.submits.append((answer.status, answer.took))
        if not answer.good:
            _write(log, "submit failed", ticket, status=str(answer.status), took=f"{answer.took:.3f}")
            await self._wait_as_told(answer, 1.0)
            return ""
        job_id = envelope_of(answer).id
        ticket.wrong = ticket.wrong or wrong_answer(ticket, job_id, answer)
        if not ticket.ids:
            self.accepted += 1
            ticket.accepted_at, ticket.accepted_unix = time.monotonic(), time.time()
        ticket.ids.append(job_id)
        _write(log, "accepted", ticket, id=job_id)
        return job_id

    async def _poll_to_the_end(self, ticket: Ticket, job: str, give_up: float, log: TextIO) -> None:
        pause = _FIRST_POLL_SECONDS
        while not ticket.ended_at and time.monotonic() < give_up and not (self._load.forgets and ticket.missing):
            await asyncio.sleep(pause * self._rng.uniform(0.9, 1.1))
            pause = min(_LONGEST_POLL_SECONDS, pause * 1.5)
            await self._poll(ticket, job, log)
        if self._rng.randrange(_LOOK_AGAIN_SHARE) == 0:
            for seconds in _LOOK_AGAIN:
                await asyncio.sleep(seconds)
                await self._poll(ticket, job, log)

    async def _poll(self, ticket: Ticket, job: str, log: TextIO) -> None:
        answer = await self._request("GET", f"{ticket.path}/{job}")
        self.client_log.polls[answer.status] += 1
        if answer.status == 404:  # an accepted job is gone: a violation
            ticket.saw("missing", "")
        if not answer.good:
            _write(log, "poll failed", ticket, status=str(answer.status))
            await self._wait_as_told(answer, 0.5)
            return
        status, digest = seen(answer)
        ticket.saw(status, digest)
        ticket.wrong = ticket.wrong or wrong_answer(ticket, job, answer)
        if status in TERMINAL and not ticket.ended_at:
            ticket.ended_at = time.monotonic()
            self.ended += 1
            if status == "failed":
                self.client_log.note_failed(envelope_of(answer).why)
            _write(log, "ended", ticket, id=job, status=status, digest=digest)

    async def collect_again(self, expired: Collection[str] = ()) -> dict[str, tuple[str, str]]:
        """Ask once more for every accepted job but the `expired`: (status, digest) by id; what is gone is "missing"."""
        waiting = iter([(job, ticket) for ticket in self.tickets for job in set(ticket.ids) if job not in expired])
        found: dict[str, tuple[str, str]] = {}

        async def ask() -> None:
            for job_id, ticket in waiting:
                found[job_id] = await self._final(ticket, job_id)

        await asyncio.gather(*(ask() for _ in range(64)))
        return found

    async def _final(self, ticket: Ticket, job_id: str) -> tuple[str, str]:
        for _ in range(_FINAL_TRIES):
            answer = await self._request("GET", f"{ticket.path}/{job_id}")
            if answer.good:
                ticket.wrong = ticket.wrong or wrong_answer(ticket, job_id, answer)
                return seen(answer)
            if answer.status == 404:
                return "missing", ""
            await self._wait_as_told(answer, 1.0)
        return "unreadable", ""

    async def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask a random edge. No answer comes out as one with the status NO_ANSWER."""
        async with self._turns:
            api = self._rng.choice(self._apis)
            began = time.monotonic()  # behind the semaphore: waiting for a turn is no part of the response time
            try:
                answer = await api.request(method, path, body, headers)
            except OSError as error:
                answer = Answer(NO_ANSWER, {}, type(error).__name__.encode())
            answer = replace(answer, took=time.monotonic() - began)
        self._look_at(method, answer)
        return answer

    def _look_at(self, method: str, answer: Answer) -> None:
        """Refusals are 429 and 503 with Retry-After; all other failures are nobody's business but a violation."""
        if answer.good or answer.status == NO_ANSWER or (answer.status == 404 and method == "GET"):
            return
        if answer.status not in (429, 503) or "retry-after" not in answer.headers:
            self.client_log.note_odd(f"{method} answered {answer.status}: {answer.body[:120].decode(errors='replace')}")

    async def _wait_as_told(self, answer: Answer, otherwise: float) -> None:
        await asyncio.sleep(answer.retry_after(otherwise) * self._rng.uniform(0.5, 1.5))

    def close(self) -> None:
        for api in self._apis:
            api.close()


@contextmanager
def log_directory(name: str) -> Iterator[Path]:
    """The directory of this name, made if need be; without a name a temporary one, which goes at the end."""
    with ExitStack() as stack:
        directory = Path(name or stack.enter_context(TemporaryDirectory(prefix="drill-")))
        directory.mkdir(parents=True, exist_ok=True)
        yield directory


def _write(log: TextIO, event: str, ticket: Ticket, **more: str) -> None:
    log.write(json.dumps({"time": time.time(), "event": event, "key": ticket.key, **more}) + "\n")
