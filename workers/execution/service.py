"""A worker process: store, providers, consumer and loops, put together, and stopped in an order that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from functools import partial
from uuid import UUID

from shared.kafka.consumer import NotificationListener
from shared.mongo.connection.client import connect
from shared.mongo.mongo_store import MongoStore
from shared.mongo.reports import MongoReportStore
from shared.providers.config import NO_PROVIDER
from shared.settings.table import Settings
from shared.telemetry import metrics
from shared.telemetry.health import Health
from shared.telemetry.process_report import keep_reporting, process_name
from workers.answer_memory_budget import AnswerMemory
from workers.execution.attempt import Attempts
from workers.execution.executor import Executor
from workers.execution.provider_pauses import Pauses
from workers.execution.retry import RetryPolicy
from workers.loops import Loop, background, heartbeat, until_stopped
from workers.provider_registry import open_providers

log = logging.getLogger(__name__)

_MONGO_WAIT_SECONDS = 3600.0
_PAUSE_REFRESH_SECONDS = 1.0
_RECORD_GRACE_SECONDS = 10.0
"""How long a stopping worker waits for outcomes that the database does not take; then their leases run out."""


def _report(modalities: Sequence[str], providers: Collection[str], health: Health) -> None:
    """Have counters of mishaps at 0 from the start: no rate shows the first event of a series that begins with it."""
    for modality in modalities:
        for counter in (metrics.JOB_CRASHES, metrics.JOB_FAILURES, metrics.JOB_RELEASES):
            counter.labels(modality)
        for outcome in ("completed", "failed"):
            metrics.JOBS_FINISHED.labels(modality, outcome)
    for provider in providers:
        metrics.PROVIDER_REPEATED.labels(provider)
    if not providers:  # a worker that fails whatever it takes must not pass for one that is ready
        log.error("%s. Until then this worker fails every job that it takes", NO_PROVIDER)
        health.report("providers", NO_PROVIDER)


async def run_worker(settings: Settings, modalities: Sequence[str], stop: asyncio.Event, health: Health) -> None:
    """Serve `modalities` until `stop` is set; return when everything held is recorded or given back."""
    worker = process_name()
    memory = AnswerMemory(settings.unrecorded_bytes)
    memory.show()
    async with (
        background("alive", partial(heartbeat, health.waiting)),
        connect(settings, role="worker", wait=_MONGO_WAIT_SECONDS, health=health) as database,
        open_providers(settings, memory=memory) as providers,
    ):
        _report(modalities, providers, health)
        store = MongoStore(database, settings)
        pauses = Pauses(store, providers, settings.max_pause_seconds)
        attempts = Attempts(
            store=store,
            providers=providers,
            pauses=pauses,
            policy=RetryPolicy(settings.max_failures, settings.retry_base_seconds, settings.retry_cap_seconds),
            call_seconds=settings.attempt_timeout_seconds,
            result_bytes=settings.max_result_bytes,
            body_bytes=settings.max_held_body_bytes,
            worker=worker,
        )
        executor = Executor(
            store=store, settings=settings, modalities=modalities, attempts=attempts, worker=worker, memory=memory
        )
        log.info("worker %s serves %s with %d slots", worker, ", ".join(modalities), settings.slots)
        loops: dict[str, Loop] = {
            "claim": executor.claim_notified,
            "sweep": executor.sweep,
            "pauses": partial(pauses.keep_fresh, _PAUSE_REFRESH_SECONDS),
            "beat": partial(heartbeat, health.heartbeat),
            "report": partial(keep_reporting, MongoReportStore(database), worker, "worker", modalities),
        }
        # A worker whose leases run out must not go on: others call for the same jobs.
        async with background("leases", executor.leases.keep, give_up_after=settings.lease_seconds) as leases:
            listener, drain = _listen(settings, modalities, executor), 0.0
            try:
                await until_stopped(loops, stop, beside=[leases])
                drain = settings.drain_seconds
            finally:
                await listener.stop()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(drain + _RECORD_GRACE_SECONDS):
                        await executor.stop(drain)
    log.info("worker %s stopped", worker)


def _listen(settings: Settings, modalities: Sequence[str], executor: Executor) -> NotificationListener:
    """Put notifications into the ready queue, and hold them back while the slots are full."""

    def on_ids(_modality: str, ids: Sequence[UUID]) -> None:
        executor.ready_queue.put(ids)
        listener.set_paused(executor.full)

    listener = NotificationListener(settings, modalities, on_ids, asyncio.get_running_loop())
    metrics.NOTIFICATION_PARTITIONS.set_function(lambda: listener.partitions)
    executor.on_load = lambda: listener.set_paused(executor.full)
    listener.start()
    return listener
