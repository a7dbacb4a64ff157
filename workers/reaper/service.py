"""The reaper process: ends what is overdue and counts what waits. Any number may run, without a leader."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from functools import partial

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ExpiredJob, ExpiryResult
from shared.domain.store_interface import Backlog, ReaperStore
from shared.mongo.connection.client import connect
from shared.mongo.mongo_store import MongoStore
from shared.mongo.reports import MongoReportStore
from shared.settings.table import Settings
from shared.telemetry import metrics
from shared.telemetry.health import Health
from shared.telemetry.process_report import keep_reporting, process_name
from workers.loops import Loop, background, heartbeat, until_stopped
from workers.provider_interface import ProviderError
from workers.result_shapes import shape_error

log = logging.getLogger(__name__)

for _reason in ("deadline", "crashes"):
    metrics.JOBS_EXPIRED.labels(_reason)  # there from the start at 0, or no rate would show the first job that is ended
for _outcome in ("ok", "failed"):
    metrics.REAPER_RUNS.labels(_outcome)

_MONGO_WAIT_SECONDS = 3600.0
_EXPIRE_LIMIT = 1000
STALE_SECONDS = 30.0
"""So long at least counts are shown; older ones would be taken for what is. A pass that ends much takes a third."""
_STALE_INTERVALS = 3
_LOOK_SECONDS = 1.0
_LONG_COUNT_SECONDS = 30.0
_ORPHANS_BATCH = 500
_PAUSE_SECONDS = 1.0
"""Between two batches, so that a reaper reads no more than 500 small entries and as many jobs a second for this."""
_REST_SECONDS = 300.0
"""Between two rounds through all chunks, and after an error."""


class Reaper:
    """Pass after pass. It remembers what it declared full, so that an idle reaper writes nothing."""

    def __init__(
        self,
        store: ReaperStore,
        max_pending: int,
        health: Health | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._health = health or Health("reaper")
        self._clock = clock
        self._counted_at = clock()
        self._limiter = BacklogLimiter(store, max_pending)
        self._declared: set[str] = set()

    async def run_once(self) -> dict[str, int]:
        """End overdue jobs, refresh the gauges, declare what is full, and return how many ended by reason."""
        ended = await self._store.expire(_EXPIRE_LIMIT, explain)
        for reason, count in ended.items():
            metrics.JOBS_EXPIRED.labels(reason).inc(count)
            log.warning("%d jobs ended: %s", count, reason)
        backlogs = await self._store.backlog()
        for backlog in backlogs:
            metrics.JOBS.labels(backlog.modality, backlog.status).set(backlog.count)
            if backlog.status == "pending":
                metrics.OLDEST_PENDING_AGE.labels(backlog.modality).set(backlog.waits)
                metrics.OLDEST_DUE_AGE.labels(backlog.modality).set(backlog.oldest_age)
        self._counted_at = self._clock()
        now_full = await self._limiter.among(backlogs)
        if now_full or self._declared:
            await self._store.publish_backpressure(now_full)
        self._declared = now_full
        return ended

    async def keep(self, interval: float) -> None:
        """Run for ever, with jitter so that several reapers drift apart."""
        while True:
            try:
                await self.run_once()
                metrics.REAPER_RUNS.labels("ok").inc()
                self._health.report("pass", None)
            except StoreUnavailable as error:
                metrics.REAPER_RUNS.labels("failed").inc()
                self._health.report("pass", f"the last one failed: {error}")
                log.warning("reaper pass failed: %s", error)
            await asyncio.sleep(interval * random.uniform(0.75, 1.25))

    async def forget_old_counts(self, interval: float) -> None:
        """Take back for ever what no pass has confirmed for long, whatever keeps the passes from it."""
        while True:
            self.look_at_age(max(STALE_SECONDS, _STALE_INTERVALS * interval))
            await asyncio.sleep(_LOOK_SECONDS)

    def look_at_age(self, longest: float = STALE_SECONDS) -> None:
        """Have no gauges in place of old ones, and say so."""
        age = self._clock() - self._counted_at
        old = age > longest
        self._health.report("counts", f"none for {age:.0f} s" if old else None)
        if old:
            for gauge in (metrics.JOBS, metrics.OLDEST_PENDING_AGE, metrics.OLDEST_DUE_AGE):
                gauge.clear()


class BacklogLimiter:
    """Which modalities have `max_pending` jobs waiting. A long count takes a second: it is not made at each pass."""

    def __init__(self, store: ReaperStore, max_pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._max_pending = max_pending
        self._clock = clock
        self._counted: dict[str, tuple[float, bool]] = {}

    async def among(self, backlogs: Iterable[Backlog]) -> set[str]:
        return {each.modality for each in backlogs if each.status == "pending" and await self._is_full(each)}

    async def _is_full(self, backlog: Backlog) -> bool:
        if not backlog.capped or not 0 < backlog.count < self._max_pending:
            return 0 < self._max_pending <= backlog.count
        asked_at, known = self._counted.get(backlog.modality, (-math.inf, False))
        if self._clock() - asked_at < _LONG_COUNT_SECONDS:
            return known
        is_full = await self._store.at_least(backlog.modality, self._max_pending)
        self._counted[backlog.modality] = self._clock(), is_full
        return is_full


def explain(job: ExpiredJob) -> ExpiryResult:
    """Why an overdue job ends and what its client reads. Past the deadline: 504; else its workers kept dying: 500."""
    if job.past_deadline:
        message = "the job's deadline passed " + ("before it succeeded" if job.started else "before a worker took it")
        reason, error = "deadline", ProviderError(message, 504, "provider_timeout")
    else:
        message = (
            f"the job was given up after {job.crashes} leases ran out: each time its worker died or hung during a call"
        )
        reason, error = "crashes", ProviderError(message, 500, "bifrost_internal")
    body = shape_error(job.request_type, error, job.target, model_requested=job.target.model)
    return ExpiryResult(reason, error.status_code, body)


async def remove_orphans(store: ReaperStore) -> None:
    """The last resort for bodies: delete chunks that a killed process left behind, for ever. Any number may do it."""
    while True:
        seconds = await _next_batch(store)
        await asyncio.sleep(seconds * random.uniform(0.75, 1.25))


async def _next_batch(store: ReaperStore) -> float:
    """Look at one batch of chunks; seconds until the next one."""
    try:
        removed = await store.remove_orphans(_ORPHANS_BATCH)
    except StoreUnavailable as error:
        log.warning("orphaned chunks were not looked for: %s", error)
        return _REST_SECONDS
    if removed.chunks:
        metrics.ORPHANS_REMOVED.inc(removed.chunks)
        log.info("%d chunks without a job were deleted: a process was killed between two writes", removed.chunks)
    return _REST_SECONDS if removed.finished else _PAUSE_SECONDS


async def run_reaper(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    async with (
        background("alive", partial(heartbeat, health.waiting)),
        connect(settings, role="reaper", wait=_MONGO_WAIT_SECONDS) as database,
    ):
        store = MongoStore(database, settings)
        reaper = Reaper(store, settings.max_pending_jobs, health)
        interval = settings.reaper_interval_seconds
        log.info("reaper runs every %.1f s", interval)
        loops: dict[str, Loop] = {
            "passes": partial(reaper.keep, interval),
            "old-counts": partial(reaper.forget_old_counts, interval),
            "orphans": partial(remove_orphans, store),
            "beat": partial(heartbeat, health.heartbeat),
            "report": partial(keep_reporting, MongoReportStore(database), process_name(), "reaper"),
        }
        await until_stopped(loops, stop)
    log.info("reaper stopped")
