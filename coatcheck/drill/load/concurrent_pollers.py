"""A crowd that waits for one and the same job: everybody must see the same end, and be answered in time."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from collections.abc import Sequence

from coatcheck.drill.load.answers import envelope_of, seen, wrong_answer
from coatcheck.drill.load.http import HttpClient
from coatcheck.drill.model.percentiles import spread
from coatcheck.drill.model.requests import make_request, marker_of
from coatcheck.drill.model.ticket import TERMINAL, Ticket

_LATENCY_MILLISECONDS = 8000
_ARRIVAL_SECONDS = 5.0
"""Over so long the crowd comes in; all of it is there before the job ends."""
_GIVE_UP_SECONDS = 90.0
_REFUSALS = (429, 503)


class ConcurrentPollers:
    """`count` pollers, each over a connection of its own, as often as Retry-After asks."""

    def __init__(self, urls: Sequence[str], count: int, seed: int) -> None:
        self._urls = urls
        self._count = count
        self._rng = random.Random(seed)
        self._took: list[float] = []
        self._ends: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._unanswered = 0
        self._wrong = 0
        marker = marker_of(f"{seed}-{time.time_ns()}", 0)
        self._request = make_request("embedding", f"upstream/latency={_LATENCY_MILLISECONDS}", marker)
        self._ticket = Ticket(marker, path=self._request.path, carries=self._request.carries)

    async def run(self) -> None:
        """Submit the job and wait with everybody until it has ended. Raises OSError if it cannot be submitted."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is one here and two at its proxy
        api = HttpClient(self._urls[0])
        answer = await api.request("POST", self._request.path, self._request.body)
        api.close()
        if not answer.good:
            raise ConnectionRefusedError(f"the submit was answered {answer.status}")
        job_id = envelope_of(answer).id
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._poller(job_id, number))

    async def _poller(self, job_id: str, number: int) -> None:
        api = HttpClient(self._urls[number % len(self._urls)])
        await asyncio.sleep(_ARRIVAL_SECONDS * number / self._count)
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        pause: float | None = 0.0
        while pause is not None and time.monotonic() < give_up:
            await asyncio.sleep(pause * self._rng.uniform(1.0, 1.5))
            pause = await self._poll(api, job_id)
        api.close()

    async def _poll(self, api: HttpClient, job_id: str) -> float | None:
        """Ask once; how long to wait before the next time, None after the end."""
        began = time.monotonic()
        try:
            answer = await api.request("GET", f"{self._ticket.path}/{job_id}")
        except OSError:
            self._unanswered += 1
            return 1.0
        self._took.append(time.monotonic() - began)
        self._statuses[answer.status] += 1
        if answer.good:
            status, digest = seen(answer)
            self._wrong += bool(wrong_answer(self._ticket, job_id, answer))
            if status in TERMINAL:
                self._ends[digest] += 1
                return None
        return answer.retry_after(1.0)

    def figures(self) -> dict[str, float]:
        return {
            "herd_saw_the_end": self._ends.total(),
            "herd_ends": len(self._ends),
            "herd_wrong": self._wrong,
            "herd_odd": sum(count for status, count in self._statuses.items() if status not in (200, 202, *_REFUSALS)),
            "herd_refused": sum(self._statuses[status] for status in _REFUSALS),
            "herd_unanswered": self._unanswered,
            "herd_polls": len(self._took),
            **spread("herd_poll", self._took),
        }
