"""The keeper process: ends what is overdue and counts what waits. Any number may run, without a leader."""

from __future__ import annotations

import asyncio
import logging
import random

from shared.admin import Health
from shared.errors import StoreUnavailable
from shared.metrics import JOBS, JOBS_EXPIRED, KEEPER_RUNS, OLDEST_PENDING_AGE
from shared.mongo.client import connect
from shared.mongo.reports import ReportVerbs
from shared.mongo.store import MongoStore
from shared.report import keep_reporting, process_name
from shared.settings import Settings
from shared.store import KeeperStore
from workers.keeper.explain import explain
from workers.keeper.fullness import Fullness
from workers.loops import background, beat, stay_alive, until_stopped

log = logging.getLogger(__name__)

for _reason in ("deadline", "crashes"):
    JOBS_EXPIRED.labels(_reason)  # there from the start at 0, or no rate would show the first job that is ended
for _outcome in ("ok", "failed"):
    KEEPER_RUNS.labels(_outcome)

_MONGO_WAIT_SECONDS = 3600.0
_EXPIRE_LIMIT = 1000


class Keeper:
    """Pass after pass. It remembers what it declared full, so that an idle keeper writes nothing."""

    def __init__(self, store: KeeperStore, max_pending: int) -> None:
        self._store = store
        self._fullness = Fullness(store, max_pending)
        self._declared: set[str] = set()

    async def run_once(self) -> dict[str, int]:
        """End overdue jobs, refresh the gauges, declare what is full, and return how many ended by reason."""
        ended = await _expire(self._store)
        backlogs = await self._store.backlog()
        for backlog in backlogs:
            JOBS.labels(backlog.modality, backlog.status).set(backlog.count)
            if backlog.status == "pending":
                OLDEST_PENDING_AGE.labels(backlog.modality).set(backlog.oldest_age)
        now_full = await self._fullness.among(backlogs)
        if now_full or self._declared:
            await self._store.declare_full(now_full)
        self._declared = now_full
        return ended

    async def keep(self, interval: float) -> None:
        """Run for ever, with jitter so that several keepers drift apart."""
        while True:
            try:
                await self.run_once()
                KEEPER_RUNS.labels("ok").inc()
            except StoreUnavailable as error:
                KEEPER_RUNS.labels("failed").inc()
                log.warning("keeper pass failed: %s", error)
            await asyncio.sleep(interval * random.uniform(0.75, 1.25))


async def _expire(store: KeeperStore) -> dict[str, int]:
    ended = await store.expire(_EXPIRE_LIMIT, explain)
    for reason, count in ended.items():
        JOBS_EXPIRED.labels(reason).inc(count)
        log.warning("%d jobs ended: %s", count, reason)
    return ended


async def run_keeper(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Keep until `stop` is set."""
    async with (
        background(stay_alive(health)),
        connect(settings, role="keeper", wait=_MONGO_WAIT_SECONDS) as database,
    ):
        keeper = Keeper(MongoStore(database, settings), settings.max_pending_jobs)
        log.info("keeper runs every %.1f s", settings.keeper_interval_seconds)
        reporting = keep_reporting(ReportVerbs(database), process_name(), "keeper")
        await until_stopped([keeper.keep(settings.keeper_interval_seconds), beat(health), reporting], stop)
    log.info("keeper stopped")
