"""A worker process: store, providers, bells and loops, put together, and stopped in an order that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from uuid import UUID

from shared.admin import Health
from shared.kafka.listener import BellListener
from shared.metrics import BELL_PARTITIONS, JOB_CRASHES, JOB_FAILURES, JOB_RELEASES, JOBS_FINISHED, PROVIDER_REPEATED
from shared.mongo.client import connect
from shared.mongo.reports import ReportVerbs
from shared.mongo.store import MongoStore
from shared.report import keep_reporting, process_name
from shared.settings import Settings
from workers.fleet.attempt import Attempts, Bounds
from workers.fleet.fleet import Fleet
from workers.fleet.pauses import Pauses
from workers.fleet.retry import RetryPolicy
from workers.loops import background, beat, stay_alive, until_stopped
from workers.providers.registry import open_providers

log = logging.getLogger(__name__)

_MONGO_WAIT_SECONDS = 3600.0
_PAUSE_REFRESH_SECONDS = 1.0
_RECORD_GRACE_SECONDS = 10.0
"""How long a stopping worker waits for outcomes that the database does not take; then their leases run out."""


def _show_zeros(modalities: Sequence[str], providers: Iterable[str]) -> None:
    """Have counters of mishaps at 0 from the start: no rate shows the first event of a series that begins with it."""
    for modality in modalities:
        for counter in (JOB_CRASHES, JOB_FAILURES, JOB_RELEASES):
            counter.labels(modality)
        for outcome in ("completed", "failed"):
            JOBS_FINISHED.labels(modality, outcome)
    for provider in providers:
        PROVIDER_REPEATED.labels(provider)


async def run_worker(settings: Settings, modalities: Sequence[str], stop: asyncio.Event, health: Health) -> None:
    """Serve `modalities` until `stop` is set; return when everything held is recorded or given back."""
    worker = process_name()
    async with (
        background(stay_alive(health)),
        connect(settings, role="fleet", wait=_MONGO_WAIT_SECONDS) as database,
        open_providers(settings) as providers,
    ):
        _show_zeros(modalities, providers)
        store = MongoStore(database, settings)
        pauses = Pauses(store, providers)
        attempts = Attempts(
            store=store,
            providers=providers,
            pauses=pauses,
            policy=RetryPolicy(settings.max_failures, settings.retry_base_seconds, settings.retry_cap_seconds),
            bounds=Bounds(settings.attempt_timeout_seconds, settings.max_result_bytes, settings.max_held_body_bytes),
            worker=worker,
        )
        fleet = Fleet(store=store, settings=settings, modalities=modalities, attempts=attempts, worker=worker)
        log.info("worker %s serves %s with %d slots", worker, ", ".join(modalities), settings.slots)
        async with background(fleet.held.keep()):
            listener = _listen(settings, modalities, fleet)
            reporting = keep_reporting(ReportVerbs(database), worker, "worker", modalities)
            loops = [fleet.claim_rung(), fleet.sweep(), pauses.keep_fresh(_PAUSE_REFRESH_SECONDS), beat(health)]
            await until_stopped([*loops, reporting], stop)
            await listener.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.drain_seconds + _RECORD_GRACE_SECONDS):
                    await fleet.stop()
    log.info("worker %s stopped", worker)


def _listen(settings: Settings, modalities: Sequence[str], fleet: Fleet) -> BellListener:
    """Put bells into the inbox, and hold them back while the slots are full."""

    def on_ids(_modality: str, ids: Sequence[UUID]) -> None:
        fleet.inbox.put(ids)
        listener.set_paused(fleet.full)

    listener = BellListener(settings, modalities, on_ids, asyncio.get_running_loop())
    BELL_PARTITIONS.set_function(lambda: listener.partitions)
    fleet.on_load = lambda: listener.set_paused(fleet.full)
    listener.start()
    return listener
