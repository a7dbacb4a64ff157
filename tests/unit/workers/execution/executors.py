"""Executors on a store in memory, and the jobs that they run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from shared.domain.job import JobView, NewJob
from shared.settings.table import Settings
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually, new_job
from tests.unit.workers.execution.test_attempt import Scripted
from workers.execution.attempt import Attempts
from workers.execution.executor import Executor
from workers.execution.provider_pauses import Pauses
from workers.execution.retry import RetryPolicy
from workers.provider_interface import CALLS, Answer, Call

SETTINGS = Settings(
    slots=4,
    lease_seconds=1.0,
    sweep_interval_seconds=0.02,
    sweep_grace_seconds=0.01,
    drain_seconds=0.1,
    max_crashes=5,
    max_releases=3,
)


def make_executor(store: FakeStore, providers: Mapping[str, Scripted], settings: Settings = SETTINGS) -> Executor:
    attempts = Attempts(
        store=store,
        providers=providers,
        pauses=Pauses(store, providers, longest=300.0),
        policy=RetryPolicy(settings.max_failures, base=0.01, cap=0.02),
        call_seconds=5.0,
        result_bytes=100_000,
        body_bytes=1_000_000,
        worker="w",
    )
    return Executor(store=store, settings=settings, modalities=["embeddings"], attempts=attempts, worker="w")


@contextlib.asynccontextmanager
async def running(executor: Executor, *, sweeping: bool = True) -> AsyncIterator[Executor]:
    loops = [executor.claim_notified(), executor.leases.keep(), *([executor.sweep()] if sweeping else [])]
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield executor
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def submitted(store: FakeStore, **fields: object) -> NewJob:
    job = new_job(store.now(), **fields)  # type: ignore[arg-type]
    await store.submit([(job, None)])
    return job


async def ended(store: FakeStore, job: NewJob) -> JobView:
    async def probe() -> JobView | None:
        view = (await store.collect([job.id]))[job.id]
        return view if view.status.terminal else None

    return await eventually(probe)


class Full(Scripted):
    """Its own bound on calls at a time is reached: no call begins."""

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        await CALLS.get().put_off()
        await asyncio.Event().wait()
        raise AssertionError
