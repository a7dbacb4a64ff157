"""The loops of a worker: claim what is rung, sweep what is due, run it, record it, and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from functools import cache
from uuid import UUID, uuid4

from shared.errors import StoreUnavailable
from shared.job import ClaimedJob, DueJob, Finish, Release
from shared.metrics import (
    CLAIM_BATCH,
    CLAIM_DELAY,
    JOB_CRASHES,
    JOB_DURATION,
    JOB_RELEASES,
    JOBS_CLAIMED,
    JOBS_FINISHED,
    PROVIDER_REPEATED,
    SLOTS,
)
from shared.settings import Settings
from shared.store import FleetStore
from workers.fleet.attempt import Attempts
from workers.fleet.held import Held, Hold
from workers.fleet.inbox import Inbox
from workers.fleet.outcome import Dead, GiveBack, Outcome, Succeeded, died, to_record
from workers.fleet.recorder import Recorder
from workers.loops import cancelled
from workers.providers.base import ProviderError

log = logging.getLogger(__name__)
job_log = logging.getLogger("coatcheck.jobs")

# Children of metrics, bound once: finding one by its labels costs more than counting.
_claimed, _claim_delay = cache(JOBS_CLAIMED.labels), cache(CLAIM_DELAY.labels)
_finished, _duration = cache(JOBS_FINISHED.labels), cache(JOB_DURATION.labels)

_CLAIM_IDS = 256
"""Most ids in one claim."""
_SWEEP_IDS = 256
_FIND_BACK_SECONDS = 3.0
"""After an outage the workers' drivers find the database again one after the other, within about this time."""
_SLOW_SECONDS = 2.0
_BACKLOG_PAUSE = 0.02
"""Seconds between sweeps in a backlog: slots gather meanwhile, so that a sweep takes many."""


class Fleet:
    """One worker's loops over the modalities it serves."""

    def __init__(
        self,
        *,
        store: FleetStore,
        settings: Settings,
        modalities: Sequence[str],
        attempts: Attempts,
        worker: str,
    ) -> None:
        self._store = store
        self._settings = settings
        self._modalities = modalities
        self._attempts = attempts
        self._worker = worker
        self.on_load: Callable[[], None] = lambda: None
        """Called whenever `full` may have changed."""
        self._work = asyncio.Event()
        self.inbox = Inbox(self._work.set)
        self.held = Held(store, settings.lease_seconds)
        self._recorder = Recorder(store, settings.unrecorded_bytes)
        self._stopping = False
        self._reserved = 0
        self._claims: set[asyncio.Future[int]] = set()
        self._backlog = False
        self._store_failed = False
        self._slow_before = False
        self._takeovers_from = 0.0
        SLOTS.set(settings.slots)

    @property
    def free_slots(self) -> int:
        """How many more jobs may be claimed now."""
        if self._stopping or self._recorder.full:
            return 0
        return max(0, self._settings.slots - len(self.held) - self._reserved)

    @property
    def full(self) -> bool:
        """Whether more bells would only pile up here instead of at other workers."""
        return not self.free_slots or len(self.inbox) >= self._settings.slots

    async def claim_rung(self) -> None:
        """Claim for ever what the inbox holds, as slots allow. One claim at a time: ids gather meanwhile."""
        while True:
            await self._work.wait()
            free = self.free_slots
            if not free or not len(self.inbox):
                self._work.clear()
                continue
            await self._claim(self.inbox.take(min(free, _CLAIM_IDS)), "rung")

    async def sweep(self) -> None:
        """Look for ever for what is due and was not rung; almost without a pause while there is a backlog."""
        while True:
            backlog = await self.sweep_once()
            if backlog:
                await asyncio.sleep(_BACKLOG_PAUSE)
            else:
                await asyncio.sleep(self._settings.sweep_interval_seconds * random.uniform(0.75, 1.25))

    async def sweep_once(self) -> bool:
        """Claim what has been due for longer than the grace. True: there is more than the slots could take."""
        free = min(self.free_slots - len(self.inbox), _SWEEP_IDS)
        if free <= 0:
            return self._backlog
        due = await self._due(free)
        plain = [job.id for job in due if not job.suspect]
        suspects = [job.id for job in due if job.suspect]
        claimed = await self._claim(plain, "swept") if plain else 0
        if suspects and not self.held.has_suspect:
            claimed += await self._claim([random.choice(suspects)], "swept", suspects=True)
        self._backlog = len(due) == free and claimed > 0
        return self._backlog

    async def _due(self, limit: int) -> list[DueJob]:
        """What may be claimed now. After an outage those who held jobs get time to renew before any are taken over."""
        began = time.monotonic()
        takeovers = not self._store_failed and began >= self._takeovers_from
        # Leases are taken well after their end, and not by all workers at once.
        takeover_after = self.held.renew_interval * random.uniform(0.5, 1.5) if takeovers else math.inf
        try:
            due = await self._store.due(self._modalities, limit=limit, takeover_after=takeover_after)
        except StoreUnavailable as error:
            self._note_failure("sweep", error)
            return []
        # A slow one may have waited for the end of an outage. A database that is always slow is no reason to wait for.
        slow = time.monotonic() - began > max(self.held.renew_interval, _SLOW_SECONDS)
        hung, self._slow_before = slow and not self._slow_before, slow
        if self._store_failed or hung:
            self._store_failed = False
            self._takeovers_from = time.monotonic() + 1.5 * self.held.renew_interval + _FIND_BACK_SECONDS
        return [] if hung and takeovers else due

    def _note_failure(self, what: str, error: StoreUnavailable) -> None:
        log.warning("%s failed: %s", what, error)
        self._store_failed = True

    async def _claim(self, ids: Sequence[UUID], source: str, *, suspects: bool = False) -> int:
        """Claim and start; how many. A stop lets a claim under way come to its end: what it took must be held."""
        fresh = [job_id for job_id in ids if job_id not in self.held]
        if not fresh:
            return 0
        claim = asyncio.ensure_future(self._claim_fresh(fresh, source, suspects=suspects))
        self._claims.add(claim)
        claim.add_done_callback(self._claims.discard)
        return await asyncio.shield(claim)

    async def _claim_fresh(self, fresh: Sequence[UUID], source: str, *, suspects: bool) -> int:
        self._reserved += len(fresh)
        try:
            jobs = await self._store.claim(fresh, lease=uuid4(), worker=self._worker, suspects=suspects, source=source)
        except StoreUnavailable as error:
            self._note_failure("claim", error)
            return 0
        finally:
            self._reserved -= len(fresh)
        CLAIM_BATCH.observe(len(jobs))
        for job in jobs:
            self._start(Hold(job, suspects), source)
        self.on_load()
        return len(jobs)

    def _start(self, hold: Hold, source: str) -> None:
        job = hold.job
        _claimed(job.modality, source).inc()
        _claim_delay(job.modality).observe(max(0.0, job.waited))
        if job.taken_over:
            JOB_CRASHES.labels(job.modality).inc()
        self.held.add(hold)
        hold.task = asyncio.get_running_loop().create_task(self._run(hold))

    async def _run(self, hold: Hold) -> None:
        """Run a held job to its record. Cancelled, before the record begins, when the lease is lost or by `stop`."""
        try:
            outcome = await self._attempts.execute(hold.job)
            hold.recording = True
            await self._record(hold.job, outcome)
        except Exception:
            log.exception("job %s: its outcome could not be written, the lease will run out", hold.job.id)
        finally:
            if hold.recording or hold.lost:
                self._let_go(hold)

    def _let_go(self, hold: Hold) -> None:
        self.held.drop(hold.job)
        self._work.set()
        self.on_load()

    async def _record(self, job: ClaimedJob, outcome: Outcome) -> None:
        record = to_record(job, outcome)
        written = await self._recorder.record(record)
        if not written:
            log.warning("job %s: the lease was lost, its outcome is thrown away", job.id)
            return
        match record:
            case Finish():
                self._account(job, record, outcome)
            case Release(due_in=due_in, given_back=False):
                self.inbox.put_later(job.id, due_in + 0.005)
            case Release():
                JOB_RELEASES.labels(job.modality).inc()

    def _account(self, job: ClaimedJob, record: Finish, outcome: Outcome) -> None:
        name = "completed" if isinstance(outcome, Succeeded) else "failed"
        _finished(job.modality, name).inc()
        with contextlib.suppress(StoreUnavailable):
            seconds = max(0.0, (self._store.now() - job.created_at).total_seconds())
            _duration(job.modality).observe(seconds)
        if not job_log.isEnabledFor(logging.INFO):
            return
        job_log.info(
            "job %s",
            name,
            extra={
                "job": str(job.id),
                "request_id": job.request_id,
                "request_type": job.request_type,
                "status_code": record.status_code,
                "claims": job.claims,
                "provider": record.notes[-1].provider if record.notes else "",
                "provider_ms": record.notes[-1].milliseconds if record.notes else 0,
            },
        )

    async def stop(self) -> None:
        """Take nothing more, let short work finish, give the rest back, and return when all is written.

        Leases are renewed all the while by `held.keep`.
        """
        self._stopping = True
        await asyncio.gather(*self._claims)
        tasks = [hold.task for hold in self.held.holds() if hold.task]
        if tasks:
            log.info("stopping: %d jobs run, waiting up to %.0f s", len(tasks), self._settings.drain_seconds)
            await asyncio.wait(tasks, timeout=self._settings.drain_seconds)
        await asyncio.gather(*(self._give_back(hold) for hold in self.held.holds()))

    async def _give_back(self, hold: Hold) -> None:
        """Abort a running attempt and release its job, due at once; an outcome on its way is waited for."""
        if hold.task is not None:
            await (asyncio.wait([hold.task]) if hold.recording else cancelled([hold.task]))
        if hold.recording or hold.lost:
            return
        hold.recording = True
        job = hold.job
        PROVIDER_REPEATED.labels(job.targets[job.target].provider).inc()
        await self._record(job, GiveBack() if job.releases + 1 < self._settings.max_releases else _worn_out(job))
        self._let_go(hold)


def _worn_out(job: ClaimedJob) -> Dead:
    error = ProviderError(
        f"the job was given back {job.releases + 1} times by workers that had to stop before it was done",
        status_code=500,
        error_type="bifrost_internal",
    )
    return died(job, job.targets[job.target], error)
