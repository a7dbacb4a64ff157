"""Jobs whose workers died: what counts as a crash, and what is written down before the next call."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec

from shared.domain.errors import StoreUnavailable
from shared.domain.job import NewJob, Status
from shared.telemetry.metrics import PROVIDER_REPEATED
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually
from tests.unit.workers.execution.executors import SETTINGS, Full, ended, make_executor, submitted
from tests.unit.workers.execution.test_attempt import Hanging, Scripted
from workers.execution.executor import Executor
from workers.provider_interface import Answer, Call


def ran_out(store: FakeStore, *jobs: NewJob) -> None:
    """Their leases are over."""
    for job in jobs:
        store.jobs[job.id].wake_at = store.now()


async def dies(executor: Executor, store: FakeStore) -> None:
    """Like a killed process: nothing is recorded nor renewed any more."""
    tasks = [held.task for held in executor.leases.held_jobs() if held.task]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for stored in store.jobs.values():
        if stored.running:
            stored.wake_at = store.now()


async def claimed_again(store: FakeStore, provider: Scripted, job: NewJob) -> Executor:
    """A new worker that has taken the job and asked its provider."""
    asked = len(provider.calls)
    executor = make_executor(store, {"openai": provider})
    suspect = store.jobs[job.id].crashes_if_over >= 3
    await executor._claim([job.id], "swept", suspects=suspect)
    await eventually(lambda: len(provider.calls) > asked)
    return executor


async def test_a_job_that_waits_for_its_call_whenever_its_worker_dies_spends_no_crash_and_repeats_nothing(
    store: FakeStore,
) -> None:
    provider, job = Full(), await submitted(store)
    repeated = PROVIDER_REPEATED.labels("openai")._value.get()
    for _ in range(2 * SETTINGS.max_crashes):
        executor = await claimed_again(store, provider, job)
        await executor.leases.renew()
        await dies(executor, store)
    stored = store.jobs[job.id]
    assert (stored.status, stored.crashes_if_over) == (Status.PROCESSING, 0)
    assert PROVIDER_REPEATED.labels("openai")._value.get() == repeated


async def test_a_payload_that_kills_its_worker_at_once_is_out_of_crashes_after_as_many_deaths_as_allowed(
    store: FakeStore,
) -> None:
    provider, job = Hanging(), await submitted(store)
    repeated = PROVIDER_REPEATED.labels("openai")._value.get()
    for _ in range(SETTINGS.max_crashes):
        await dies(await claimed_again(store, provider, job), store)
    assert store._overdue(store.jobs[job.id])
    assert PROVIDER_REPEATED.labels("openai")._value.get() == repeated + SETTINGS.max_crashes - 1


async def test_a_job_that_crashed_before_says_so_before_each_call_and_others_write_nothing(store: FakeStore) -> None:
    known: list[bool | None] = []
    usual, crashed = await submitted(store), await submitted(store)
    await store.claim([crashed.id], lease=uuid4(), worker="gone", suspects=False)
    ran_out(store, crashed)

    class Looking(Scripted):
        async def call(self, call: Call) -> Answer:
            known.append(store.jobs[wanted].began)
            return await super().call(call)

    for job in (usual, crashed):
        wanted = job.id
        executor = make_executor(store, {"openai": Looking()})
        await executor._claim([job.id], "swept")
        await ended(store, job)
    assert known == [None, True]
    assert store.calls["renew"] == 1


async def test_jobs_that_crashed_before_share_what_they_write_down(store: FakeStore) -> None:
    settings = msgspec.structs.replace(SETTINGS, slots=64)
    provider, jobs = Hanging(), [await submitted(store) for _ in range(64)]
    await store.claim([job.id for job in jobs], lease=uuid4(), worker="gone", suspects=False)
    ran_out(store, *jobs)
    executor = make_executor(store, {"openai": provider}, settings)

    async def round_trip(_verb: str) -> None:
        await asyncio.sleep(0)

    store.faults.before = round_trip
    await executor._claim([job.id for job in jobs], "swept")
    await eventually(lambda: len(provider.calls) == 64)
    assert store.calls["renew"] <= 3
    await dies(executor, store)


async def test_a_job_that_crashed_before_is_called_for_though_the_database_does_not_take_that_down(
    store: FakeStore,
) -> None:
    provider, job = Hanging(), await submitted(store)
    await store.claim([job.id], lease=uuid4(), worker="gone", suspects=False)
    ran_out(store, job)
    executor = make_executor(store, {"openai": provider})

    async def no_renewal(verb: str) -> None:
        if verb == "renew":
            raise StoreUnavailable("away")

    store.faults.before = no_renewal
    await executor._claim([job.id], "swept")
    await eventually(lambda: len(provider.calls) == 1)
    store.faults.before = None
    await executor.leases.renew()
    assert store.jobs[job.id].began
    await dies(executor, store)
