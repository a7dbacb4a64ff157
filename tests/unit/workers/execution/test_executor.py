"""The worker's loops over the store in memory: claim, sweep, renew, record, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ClaimCandidate, ClaimedJob, JobView, NewJob, Status
from shared.settings.table import Settings
from shared.telemetry.metrics import PROVIDER_REPEATED
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.jobs import eventually, new_job
from tests.unit.workers.execution.test_attempt import Hanging, Scripted, failing
from workers.execution import intake as module
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


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(SETTINGS, clock=FakeClock(running=True))


def make_executor(store: FakeStore, providers: Mapping[str, Scripted], settings: Settings = SETTINGS) -> Executor:
    attempts = Attempts(
        store=store,
        providers=providers,
        pauses=Pauses(store, providers),
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


async def test_stopping_gives_long_jobs_back_at_once_and_spends_a_release(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)
    async with running(make_executor(store, {"openai": provider})) as executor:
        await eventually(lambda: len(provider.calls) == 1)
        await executor.stop()
    stored = store.jobs[job.id]
    assert (stored.status, stored.releases, stored.crashes) == (Status.PENDING, 1, 0)
    assert stored.wake_at is not None
    assert stored.wake_at <= store.now()


async def test_stopping_lets_short_work_finish(store: FakeStore) -> None:
    release = asyncio.Event()

    class Slow(Scripted):
        async def call(self, call):  # type: ignore[no-untyped-def]
            answer = await super().call(call)
            await release.wait()
            return answer

    provider = Slow()
    job = await submitted(store)
    settings = msgspec.structs.replace(SETTINGS, drain_seconds=10.0)
    async with running(make_executor(store, {"openai": provider}, settings)) as executor:
        await eventually(lambda: len(provider.calls) == 1)
        stopping = asyncio.ensure_future(executor.stop())
        release.set()
        await stopping
    assert store.jobs[job.id].status is Status.COMPLETED


async def test_a_job_given_back_too_often_ends_with_the_reason(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)

    def called(times: int) -> Callable[[], bool]:
        return lambda: len(provider.calls) == times

    for turn in range(SETTINGS.max_releases):
        async with running(make_executor(store, {"openai": provider})) as executor:
            await eventually(called(turn + 1))
            await executor.stop()
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.status_code) == (Status.FAILED, 500)
    assert isinstance(view.body, bytes)
    assert b"given back 3 times" in view.body


class Full(Scripted):
    """Its own bound on calls at a time is reached: no call begins."""

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        await CALLS.get().put_off()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_job_whose_call_never_began_may_be_given_back_however_often_and_repeats_nothing(
    store: FakeStore,
) -> None:
    provider = Full()
    job = await submitted(store)
    repeated = PROVIDER_REPEATED.labels("openai")._value.get()

    def called(times: int) -> Callable[[], bool]:
        return lambda: len(provider.calls) == times

    for turn in range(SETTINGS.max_releases + 2):
        async with running(make_executor(store, {"openai": provider})) as executor:
            await eventually(called(turn + 1))
            await executor.stop()
    stored = store.jobs[job.id]
    assert (stored.status, stored.releases, stored.failures) == (Status.PENDING, 0, 0)
    assert PROVIDER_REPEATED.labels("openai")._value.get() == repeated


async def test_an_outcome_survives_an_outage_of_the_database(store: FakeStore) -> None:
    answered = asyncio.Event()

    def act() -> bytes:
        store.faults.down = True
        answered.set()
        return b'{"object":"list","data":[]}'

    provider = Scripted(act)
    job = await submitted(store)
    async with running(make_executor(store, {"openai": provider}), sweeping=False) as executor:
        executor.ready_queue.put([job.id])
        await answered.wait()
        await eventually(lambda: store.calls["record"] >= 2)
        store.faults.down = False
        assert (await ended(store, job)).status is Status.COMPLETED
    assert len(provider.calls) == 1


async def test_after_an_outage_what_waits_is_swept_at_once_and_nothing_is_taken_over_for_a_while(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECONNECT_GRACE_SECONDS", 0.3)
    executor = make_executor(store, {"openai": Hanging()})
    waiting, abandoned = await submitted(store), await submitted(store)
    await store.claim([abandoned.id], lease=uuid4(), worker="gone", suspects=False)
    await eventually(lambda: len(store.jobs) == 2 and ripe(store))
    store.faults.down = True
    await executor.sweep_once()
    store.faults.down = False
    await executor.sweep_once()
    assert waiting.id in executor.leases
    await executor.sweep_once()
    assert abandoned.id not in executor.leases
    await eventually(lambda: sweeps_up(executor, abandoned))
    await executor.stop()


async def test_a_database_that_is_always_slow_does_not_keep_jobs_from_being_taken_over(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(module, "_RECONNECT_GRACE_SECONDS", 0.3)
    executor = make_executor(store, {"openai": Hanging()})
    abandoned = await submitted(store)
    await store.claim([abandoned.id], lease=uuid4(), worker="gone", suspects=False)
    due = store.due

    async def slow(*arguments: Any, **options: Any) -> list[ClaimCandidate]:
        await asyncio.sleep(1.2 * executor.leases.renew_interval)
        return await due(*arguments, **options)

    monkeypatch.setattr(store, "due", slow)
    await eventually(lambda: sweeps_up(executor, abandoned), within=20)
    await executor.stop()


async def ripe(store: FakeStore) -> bool:
    """Whether both kinds of due job would be found."""
    return len(await store.due(["embeddings"], limit=2, takeover_after=1.5)) == 2


async def sweeps_up(executor: Executor, job: NewJob) -> bool:
    await executor.sweep_once()
    return job.id in executor.leases


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


async def test_a_stop_gives_every_job_back_though_one_of_them_and_a_claim_under_way_fail(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [await submitted(store) for _ in range(3)]
    provider = Hanging()
    async with running(make_executor(store, {"openai": provider}), sweeping=False) as executor:
        executor.ready_queue.put([job.id for job in jobs])
        await eventually(lambda: len(provider.calls) == 3)
        store.faults.reject[jobs[0].id] = ValueError("nobody foresaw this")
        broken = asyncio.Event()

        async def claim(*arguments: Any, **options: Any) -> list[ClaimedJob]:
            await broken.wait()
            raise ValueError("nor this")

        monkeypatch.setattr(store, "claim", claim)
        executor.ready_queue.put([uuid4()])
        await eventually(lambda: bool(executor._claims))
        stopping = asyncio.ensure_future(executor.stop())
        broken.set()
        await asyncio.wait_for(stopping, 10)
    assert [store.jobs[job.id].status for job in jobs] == [Status.PROCESSING, Status.PENDING, Status.PENDING]
    assert "nobody foresaw this" in caplog.text
    assert "nor this" in caplog.text


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
