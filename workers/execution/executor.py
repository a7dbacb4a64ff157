"""The loops of a worker: claim what is notified, sweep what is due, run it, record it, and stop in order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from functools import cache
from uuid import UUID, uuid4

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ClaimCandidate, ClaimedJob, Finish, Release
from shared.domain.store_interface import WorkerStore
from shared.settings.table import Settings
from shared.telemetry import metrics
from workers.answer_memory_budget import AnswerMemory
from workers.execution.attempt import Attempts
from workers.execution.attempt_outcome import Outcome, Released, count_ended, to_record, worn_out
from workers.execution.intake import DueSearch, ReadyQueue, Slots
from workers.execution.leases import HeldJob, LeaseSet
from workers.execution.result_writer import ResultWriter
from workers.loops import cancelled
from workers.provider_interface import CALLS

log = logging.getLogger(__name__)

# Children of metrics, bound once: finding one by its labels costs more than counting.
_claimed, _claim_delay = cache(metrics.JOBS_CLAIMED.labels), cache(metrics.CLAIM_DELAY.labels)

_CLAIM_IDS = 256
"""Most ids in one claim."""
_SWEEP_IDS = 256
_BACKLOG_PAUSE = 0.02
"""Seconds between sweeps in a backlog: slots gather meanwhile, so that a sweep takes many."""


class Executor:
    """One worker's loops over the modalities it serves."""

    def __init__(
        self,
        *,
        store: WorkerStore,
        settings: Settings,
        modalities: Sequence[str],
        attempts: Attempts,
        worker: str,
        memory: AnswerMemory | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._attempts = attempts
        self._worker = worker
        self.on_load: Callable[[], None] = lambda: None
        """Called whenever `full` may have changed."""
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self.ready_queue = ReadyQueue(self._work.set)
        self.leases = LeaseSet(store, settings.lease_seconds)
        self._result_writer = ResultWriter(store, memory or AnswerMemory(settings.unrecorded_bytes))
        self._slots = Slots(settings.slots, self.leases)
        self._stopping = False
        self._claims: set[asyncio.Future[int]] = set()
        self._due = DueSearch(store, modalities, self.leases.renew_interval)
        metrics.SLOTS.set(settings.slots)

    @property
    def _closed(self) -> bool:
        return self._stopping or self._result_writer.full

    @property
    def free_slots(self) -> int:
        return 0 if self._closed else self._slots.free

    @property
    def full(self) -> bool:
        """Whether more notifications would only pile up here instead of at other workers."""
        return not self.free_slots or len(self.ready_queue) >= self._settings.slots

    def _freed(self) -> None:
        """Wake all who wait for slots. Whatever may have made some free, or says whose they are, ends with this."""
        self._work.set()
        self._room.set()
        self.on_load()

    async def claim_notified(self) -> None:
        """Claim what the ready queue holds, as slots allow, until cancelled. One claim at a time: ids gather."""
        while True:
            await self._work.wait()
            ids = [] if self._closed else self.ready_queue.take(min(self._slots.for_notifications, _CLAIM_IDS))
            if ids:
                await self._claim(ids, "notified")
            else:
                self._work.clear()
                self._room.set()

    async def sweep(self) -> None:
        """Look for ever for what is due and was not notified; almost without a pause while there is a backlog."""
        while True:
            backlog = await self.sweep_once()
            interval = self._settings.sweep_interval_seconds * random.uniform(0.75, 1.25)
            await asyncio.sleep(_BACKLOG_PAUSE if backlog else interval)

    async def sweep_once(self) -> bool:
        """Claim what has been due for longer than the grace, once a slot is free. True: there is more of it."""
        self._slots.sweeping = True
        try:
            room = await self._sweep_room()
            due = await self._due.find(room, suspects=not self.leases.has_suspect)
            claims = self._claim_due(due)
        finally:
            self._slots.sweeping = False
            self._freed()
        claimed = sum(await asyncio.gather(*claims))
        # `due` gives a line that has more than its share at least half of the room.
        return 2 * len(due) >= room and claimed > 0

    async def _sweep_room(self) -> int:
        while self._closed or (room := self._slots.for_sweep(len(self.ready_queue))) < 1:
            self._room.clear()
            await self._room.wait()
        return min(room, _SWEEP_IDS)

    def _claim_due(self, due: Sequence[ClaimCandidate]) -> list[asyncio.Future[int]]:
        found = due[: 0 if self._closed else self._slots.for_sweep(len(self.ready_queue))]
        plain = [job.id for job in found if not job.suspect]
        claims = [self._claim(plain, "swept")] if plain else []
        suspects = [job.id for job in found if job.suspect]
        if suspects and not self.leases.has_suspect:
            claims.append(self._claim([random.choice(suspects)], "swept", suspects=True))
        return claims

    def _claim(self, ids: Sequence[UUID], source: str, *, suspects: bool = False) -> asyncio.Future[int]:
        """Reserve slots now; claim and start; how many. A claim comes to its end, also when its waiter is cancelled."""
        fresh = [job_id for job_id in ids if job_id not in self.leases]
        self._slots.reserve(len(fresh), notified=source == "notified")
        claim = asyncio.create_task(self._claim_fresh(fresh, source, suspects=suspects), name="claim-batch")
        self._claims.add(claim)
        claim.add_done_callback(self._claims.discard)
        return asyncio.shield(claim)

    async def _claim_fresh(self, fresh: Sequence[UUID], source: str, *, suspects: bool) -> int:
        started = 0
        try:
            for job in await self._take(fresh, source, suspects=suspects):
                self._start(HeldJob(job, suspects), source)
                started += 1
        finally:
            self._slots.settle(len(fresh), swept=0 if source == "notified" else started)
            self._freed()
        return started

    async def _take(self, fresh: Sequence[UUID], source: str, *, suspects: bool) -> list[ClaimedJob]:
        if not fresh:
            return []
        try:
            jobs = await self._store.claim(fresh, lease=uuid4(), worker=self._worker, suspects=suspects, source=source)
        except StoreUnavailable as error:
            self._due.note_failure("claim", error)
            return []
        metrics.CLAIM_BATCH.observe(len(jobs))
        return jobs

    def _start(self, held: HeldJob, source: str) -> None:
        job = held.job
        _claimed(job.modality, source).inc()
        _claim_delay(job.modality).observe(max(0.0, job.waited))
        if job.taken_over:
            metrics.JOB_CRASHES.labels(job.modality).inc()
        if job.repeats:
            _count_repeated(job)
        self.leases.add(held)
        held.task = asyncio.create_task(self._run(held), name="job")
        # Not in the task's own `finally`: a task that is cancelled before its first step has none.
        held.task.add_done_callback(lambda _: self._ended(held))

    async def _run(self, held: HeldJob) -> None:
        """Run a held job to its record. Cancelled, before the record begins, when the lease is lost or by `stop`."""
        try:
            CALLS.set(held.calls)
            outcome = await self._attempts.execute(held.job)
            held.recording = True
            await self._record(held.job, outcome)
        except Exception:
            log.exception("job %s: its outcome could not be written, the lease will run out", held.job.id)

    def _ended(self, held: HeldJob) -> None:
        # During a stop `_give_back` does this. If nobody does, the lease is renewed until the deadline of the job.
        if held.recording or held.lost or not self._stopping:
            self._drop(held)

    def _drop(self, held: HeldJob) -> None:
        self.leases.drop(held.job)
        self._freed()

    async def _record(self, job: ClaimedJob, outcome: Outcome) -> None:
        record = to_record(job, outcome)
        written = await self._result_writer.record(record)
        if not written:
            log.warning("job %s: the lease was lost, its outcome is thrown away", job.id)
            return
        match record:
            case Finish():
                count_ended(self._store, job, record, outcome)
            case Release() if isinstance(outcome, Released):
                metrics.JOB_RELEASES.labels(job.modality).inc()
            case Release(due_in=due_in):
                self.ready_queue.schedule(job.id, due_in + 0.005)

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Take no more, let short work finish, give the rest back. What fails for one job ends that one alone.

        Leases are renewed all the while by `leases.keep`.
        """
        self._stopping = True
        drain = self._settings.drain_seconds if drain_seconds is None else drain_seconds
        _log_failures("a claim under way", await asyncio.gather(*self._claims, return_exceptions=True))
        tasks = [held.task for held in self.leases.held_jobs() if held.task]
        if tasks:
            log.info("stopping: %d jobs run, waiting up to %.0f s", len(tasks), drain)
            await asyncio.wait(tasks, timeout=drain)
        giving = [asyncio.create_task(self._release(held), name="give-back") for held in self.leases.held_jobs()]
        _log_failures("giving a job back", await asyncio.gather(*giving, return_exceptions=True))

    async def _release(self, held: HeldJob) -> None:
        """Abort a running attempt and release its job, due at once; an outcome on its way is waited for."""
        if held.task is not None:
            await (asyncio.wait([held.task]) if held.recording else cancelled([held.task]))
        if held.recording or held.lost:
            return
        held.recording = True
        job, called = held.job, held.called
        if called:
            _count_repeated(job)
        last = called and job.releases + 1 >= self._settings.max_releases
        await self._record(job, worn_out(job) if last else Released(called))
        self._drop(held)


def _count_repeated(job: ClaimedJob) -> None:
    """Its call was begun and its answer, if there was one, is lost."""
    metrics.PROVIDER_REPEATED.labels(job.targets[job.target].provider).inc()


def _log_failures(what: str, ended: Sequence[object]) -> None:
    for error in ended:
        if isinstance(error, BaseException):
            log.error("%s failed while the worker stops: the lease will run out", what, exc_info=error)
