"""The worker's loops over the store in memory: claim, sweep, renew, record."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec

from shared.domain.job import Status
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually
from tests.unit.workers.execution.executors import SETTINGS, ended, make_executor, running, submitted
from tests.unit.workers.execution.test_attempt import Hanging, Scripted, failing
from workers.provider_interface import Answer, Call


async def test_a_notified_job_runs_without_any_sweep(store: FakeStore) -> None:
    job = await submitted(store)
    async with running(make_executor(store, {"openai": Scripted()}), sweeping=False) as executor:
        executor.ready_queue.put([job.id])
        assert (await ended(store, job)).status is Status.COMPLETED
        assert len(executor.leases) == 0


async def test_a_job_nobody_rang_for_is_swept(store: FakeStore) -> None:
    job = await submitted(store)
    async with running(make_executor(store, {"openai": Scripted()})):
        assert (await ended(store, job)).status is Status.COMPLETED


async def test_a_failing_job_is_retried_until_its_budget_is_spent(store: FakeStore) -> None:
    provider = failing(503)
    job = await submitted(store)
    async with running(make_executor(store, {"openai": provider})):
        view = await ended(store, job)
    assert (view.status, view.status_code) == (Status.FAILED, 503)
    assert len(provider.calls) == SETTINGS.max_failures


async def test_a_backlog_larger_than_the_slots_is_worked_off(store: FakeStore) -> None:
    jobs = [await submitted(store) for _ in range(50)]
    async with running(make_executor(store, {"openai": Scripted()})):
        for job in jobs:
            assert (await ended(store, job)).status is Status.COMPLETED


async def test_no_more_jobs_are_held_than_there_are_slots(store: FakeStore) -> None:
    jobs = [await submitted(store) for _ in range(20)]
    provider = Hanging()
    async with running(make_executor(store, {"openai": provider})) as executor:
        executor.ready_queue.put([job.id for job in jobs])
        await eventually(lambda: len(provider.calls) == SETTINGS.slots)
        assert executor.full
        assert len(executor.leases) == SETTINGS.slots
        await executor.stop()


async def test_a_held_job_outlives_its_first_lease(store: FakeStore) -> None:
    settings = msgspec.structs.replace(SETTINGS, lease_seconds=1.0)
    provider = Hanging()
    job = await submitted(store)
    async with running(make_executor(store, {"openai": provider}, settings)) as executor:
        await eventually(lambda: len(provider.calls) == 1)
        claimed_until = store.jobs[job.id].wake_at
        assert claimed_until is not None
        await eventually(lambda: store.now() > claimed_until)
        assert await store.claim([job.id], lease=uuid4(), worker="thief", suspects=False) == []
        assert len(provider.calls) == 1
        await executor.stop()


async def test_a_lost_lease_aborts_the_attempt(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)
    async with running(make_executor(store, {"openai": provider}), sweeping=False) as executor:
        executor.ready_queue.put([job.id])
        await eventually(lambda: len(provider.calls) == 1)
        store.jobs[job.id].lease = uuid4()
        await executor.leases.renew()
        await eventually(lambda: len(executor.leases) == 0)


async def test_suspects_run_one_at_a_time_beside_others(store: FakeStore) -> None:
    suspects = [await submitted(store) for _ in range(3)]
    for job in suspects:
        store.jobs[job.id].crashes = 3
    provider = Hanging()
    async with running(make_executor(store, {"openai": provider})) as executor:
        await eventually(lambda: executor.leases.has_suspect)
        plain = await submitted(store)
        await eventually(lambda: plain.id in executor.leases)
        assert sum(held.suspect for held in executor.leases.held_jobs()) == 1
        await executor.stop()


async def test_a_job_that_cannot_be_recorded_does_not_block_its_neighbours(store: FakeStore) -> None:
    bad, good = await submitted(store), await submitted(store)
    store.faults.reject[bad.id] = ValueError("too large")
    async with running(make_executor(store, {"openai": Scripted()})):
        assert (await ended(store, good)).status is Status.COMPLETED
    assert store.jobs[bad.id].status is not Status.COMPLETED


async def test_a_job_whose_task_is_cancelled_by_something_below_frees_its_slot_and_its_lease(store: FakeStore) -> None:
    class Cancelled(Scripted):
        async def call(self, call: Call) -> Answer:
            await super().call(call)
            raise asyncio.CancelledError

    provider = Cancelled()
    await submitted(store)
    async with running(make_executor(store, {"openai": provider}), sweeping=False) as executor:
        executor.ready_queue.put(list(store.jobs))
        await eventually(lambda: len(provider.calls) == 1 and len(executor.leases) == 0)
