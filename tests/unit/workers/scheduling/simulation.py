"""A discrete-event model of workers, database and notifications around the very scheduler that workers run.

Time is simulated: seconds of traffic take a fraction of it, and the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from uuid import UUID

from shared.domain.queue_name import Priority, QueueName
from workers.scheduling.scheduler import Scheduler, Taken
from workers.scheduling.waiting import Entry

ROUND_TRIP = 0.005
NOTIFIED_AFTER = 0.003
GRACE = 1.0
CLAIM = 256
FEW = 4
"""Jobs of each queue that a sweep takes at least."""


@dataclass(eq=False, slots=True)
class Job:
    number: int
    queue: str
    born: float
    priority: Priority
    key: str
    channel: str
    due: float = 0.0
    claims: int = 0
    ended: float | None = None

    @property
    def took(self) -> float:
        assert self.ended is not None
        return self.ended - self.born

    @property
    def entry(self) -> Entry:
        return Entry(self.due, UUID(int=self.number), self.queue)


@dataclass
class Traffic:
    """What is simulated. `call` draws the seconds of a call; `lost` is the share of notifications that get lost."""

    workers: int = 1
    slots: int = 256
    lost: float = 0.0
    cpu: float = 0.0
    """Seconds of a worker's one core per job."""
    weights: dict[str, float] = field(default_factory=dict)
    call: Callable[[Job], float] = lambda _job: random.uniform(0.09, 0.11)
    seed: int = 1


class _Worker:
    def __init__(self, traffic: Traffic) -> None:
        weights = traffic.weights
        self.scheduler = Scheduler(traffic.slots // traffic.workers, weight_of=lambda key: weights.get(key, 1.0))
        self.claiming = False
        self.refilling: set[str] = set()
        self.cpu_free = 0.0


class Simulation:
    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.now = 0.0
        self.ended: list[Job] = []
        self.asked = 0
        self.on_end: Callable[[Job], object] = lambda _job: None
        self._random = random.Random(traffic.seed)
        random.seed(traffic.seed)
        self._numbers = count(1)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._pending: dict[str, dict[UUID, Job]] = defaultdict(dict)
        self._workers = [_Worker(traffic) for _ in range(traffic.workers)]
        for worker in self._workers:
            self.after(self._random.random(), self._sweep_of(worker))

    def after(self, seconds: float, then: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), then))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, then = heapq.heappop(self._events)
            then()
            for worker in self._workers:
                assert worker.scheduler.free >= 0

    def submit(
        self, key: str, channel: str = "p/m", priority: Priority = Priority.NORMAL, *, notified: bool = True
    ) -> Job:
        name = QueueName(priority, key, (channel,)).text
        job = Job(next(self._numbers), name, self.now, priority, key, channel)
        self.after(ROUND_TRIP, lambda: self._inserted(job, notified=notified))
        return job

    def steadily(self, rate: float, submit: Callable[[], object]) -> None:
        """Call `submit` about `rate` times a second, from now on."""

        def next_one() -> None:
            submit()
            self.after(self._random.expovariate(rate), next_one)

        self.after(self._random.expovariate(rate), next_one)

    def pending(self, key: str) -> int:
        return sum(len(jobs) for name, jobs in self._pending.items() if name.split("|")[2] == key)

    def _inserted(self, job: Job, *, notified: bool) -> None:
        job.due = self.now
        self._pending[job.queue][job.entry.id] = job
        if notified and self._random.random() >= self.traffic.lost:
            worker = self._workers[job.number % len(self._workers)]
            self.after(NOTIFIED_AFTER * self._random.uniform(0.5, 1.5), lambda: self._arrived(worker, [job]))

    def _arrived(self, worker: _Worker, jobs: list[Job]) -> None:
        worker.scheduler.put(job.entry for job in jobs if not job.claims)
        self._claim(worker)

    def _claim(self, worker: _Worker) -> None:
        """As the executor does: one claim at a time, of what can run now."""
        if worker.claiming:
            return
        taken = worker.scheduler.take(CLAIM, self.now, self.now)
        self._refill(worker)
        if not taken:
            return
        worker.claiming = True
        self.asked += len(taken)
        won = [(each, self._won(each)) for each in taken]
        self.after(ROUND_TRIP * (1 if len(taken) <= 2 else 2), lambda: self._claimed(worker, won))

    def _won(self, taken: Taken) -> Job | None:
        job = self._pending[taken.entry.queue].pop(taken.entry.id, None)
        if job is not None:
            job.claims += 1
        return job

    def _claimed(self, worker: _Worker, won: list[tuple[Taken, Job | None]]) -> None:
        worker.claiming = False
        for taken, job in won:
            if job is None:
                worker.scheduler.missed(taken)
            else:
                worker.scheduler.claimed(taken, self.now)
                worker.cpu_free = max(worker.cpu_free, self.now) + self.traffic.cpu
                seconds = worker.cpu_free - self.now + self.traffic.call(job)
                self.after(seconds + ROUND_TRIP, self._recorded_of(worker, taken, job))
        self._claim(worker)

    def _recorded_of(self, worker: _Worker, taken: Taken, job: Job) -> Callable[[], None]:
        def recorded() -> None:
            job.ended = self.now
            self.ended.append(job)
            worker.scheduler.ended(taken, self.now)
            self.on_end(job)
            self._claim(worker)

        return recorded

    def _refill(self, worker: _Worker) -> None:
        for name in worker.scheduler.to_refill():
            if name.text not in worker.refilling:
                worker.refilling.add(name.text)
                self.after(2 * ROUND_TRIP, self._refilled_of(worker, name.text))

    def _refilled_of(self, worker: _Worker, name: str) -> Callable[[], None]:
        def refilled() -> None:
            worker.refilling.discard(name)
            unknown = (job for job in self._own(worker, name) if not worker.scheduler.knows(job.entry.id))
            jobs = list(islice(unknown, 128))
            worker.scheduler.put(job.entry for job in jobs)
            if len(jobs) < 128:
                worker.scheduler.refilled([name])
            self._claim(worker)

        return refilled

    def _own(self, worker: _Worker, name: str) -> Iterator[Job]:
        """Each job has a part, and each part a worker, which hears of it, sweeps it and fills queues from it."""
        place, workers = self._workers.index(worker), len(self._workers)
        return (job for job in self._pending[name].values() if job.number % workers == place)

    def _sweep_of(self, worker: _Worker) -> Callable[[], None]:
        """A few of each queue that has due jobs; at once again while there were as many as asked for."""

        def sweep() -> None:
            found, full = [], False
            for name in self._pending:
                due = (job for job in self._own(worker, name) if job.due <= self.now - GRACE)
                some = list(islice((job for job in due if not worker.scheduler.knows(job.entry.id)), FEW))
                found += some
                full = full or len(some) == FEW
            self.after(2 * ROUND_TRIP, lambda: self._arrived(worker, found))
            self.after(0.02 if full else self._random.uniform(0.75, 1.25), sweep)

        return sweep


def percentile(values: list[float], share: float) -> float:
    assert values, "none of these jobs ended"
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
