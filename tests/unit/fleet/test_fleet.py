"""The worker's loops over the store in memory: claim, sweep, renew, record, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.job import DueJob, JobView, NewJob, Status
from shared.settings import Settings
from tests.support.fake_store import FakeClock, FakeStore
from tests.support.jobs import eventually, new_job
from tests.unit.fleet.test_attempt import Hanging, Scripted, failing
from workers.fleet import fleet as module
from workers.fleet.attempt import Attempts, Bounds
from workers.fleet.fleet import Fleet
from workers.fleet.pauses import Pauses
from workers.fleet.retry import RetryPolicy

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


def make_fleet(store: FakeStore, providers: Mapping[str, Scripted], settings: Settings = SETTINGS) -> Fleet:
    attempts = Attempts(
        store=store,
        providers=providers,
        pauses=Pauses(store, providers),
        policy=RetryPolicy(settings.max_failures, base=0.01, cap=0.02),
        bounds=Bounds(5.0, 100_000, 1_000_000),
        worker="w",
    )
    return Fleet(store=store, settings=settings, modalities=["embeddings"], attempts=attempts, worker="w")


@contextlib.asynccontextmanager
async def running(fleet: Fleet, *, sweeping: bool = True) -> AsyncIterator[Fleet]:
    loops = [fleet.claim_rung(), fleet.held.keep(), *([fleet.sweep()] if sweeping else [])]
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield fleet
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


async def test_a_rung_job_runs_without_any_sweep(store: FakeStore) -> None:
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": Scripted()}), sweeping=False) as fleet:
        fleet.inbox.put([job.id])
        assert (await ended(store, job)).status is Status.COMPLETED
        assert len(fleet.held) == 0


async def test_a_job_nobody_rang_for_is_swept(store: FakeStore) -> None:
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": Scripted()})):
        assert (await ended(store, job)).status is Status.COMPLETED


async def test_a_failing_job_is_retried_until_its_budget_is_spent(store: FakeStore) -> None:
    provider = failing(503)
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": provider})):
        view = await ended(store, job)
    assert (view.status, view.status_code) == (Status.FAILED, 503)
    assert len(provider.calls) == SETTINGS.max_failures


async def test_a_backlog_larger_than_the_slots_is_worked_off(store: FakeStore) -> None:
    jobs = [await submitted(store) for _ in range(50)]
    async with running(make_fleet(store, {"openai": Scripted()})):
        for job in jobs:
            assert (await ended(store, job)).status is Status.COMPLETED


async def test_no_more_jobs_are_held_than_there_are_slots(store: FakeStore) -> None:
    jobs = [await submitted(store) for _ in range(20)]
    provider = Hanging()
    async with running(make_fleet(store, {"openai": provider})) as fleet:
        fleet.inbox.put([job.id for job in jobs])
        await eventually(lambda: len(provider.calls) == SETTINGS.slots)
        assert fleet.full
        assert len(fleet.held) == SETTINGS.slots
        await fleet.stop()


async def test_a_held_job_outlives_its_first_lease(store: FakeStore) -> None:
    settings = msgspec.structs.replace(SETTINGS, lease_seconds=1.0)
    provider = Hanging()
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": provider}, settings)) as fleet:
        await eventually(lambda: len(provider.calls) == 1)
        claimed_until = store.jobs[job.id].wake_at
        assert claimed_until is not None
        await eventually(lambda: store.now() > claimed_until)
        assert await store.claim([job.id], lease=uuid4(), worker="thief", suspects=False) == []
        assert len(provider.calls) == 1
        await fleet.stop()


async def test_a_lost_lease_aborts_the_attempt(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": provider}), sweeping=False) as fleet:
        fleet.inbox.put([job.id])
        await eventually(lambda: len(provider.calls) == 1)
        store.jobs[job.id].lease = uuid4()
        await fleet.held.renew()
        await eventually(lambda: len(fleet.held) == 0)


async def test_stopping_gives_long_jobs_back_at_once_and_spends_a_release(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": provider})) as fleet:
        await eventually(lambda: len(provider.calls) == 1)
        await fleet.stop()
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
    async with running(make_fleet(store, {"openai": provider}, settings)) as fleet:
        await eventually(lambda: len(provider.calls) == 1)
        stopping = asyncio.ensure_future(fleet.stop())
        release.set()
        await stopping
    assert store.jobs[job.id].status is Status.COMPLETED


async def test_a_job_given_back_too_often_ends_with_the_reason(store: FakeStore) -> None:
    provider = Hanging()
    job = await submitted(store)

    def called(times: int) -> Callable[[], bool]:
        return lambda: len(provider.calls) == times

    for turn in range(SETTINGS.max_releases):
        async with running(make_fleet(store, {"openai": provider})) as fleet:
            await eventually(called(turn + 1))
            await fleet.stop()
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.status_code) == (Status.FAILED, 500)
    assert isinstance(view.body, bytes)
    assert b"given back 3 times" in view.body


async def test_an_outcome_survives_an_outage_of_the_database(store: FakeStore) -> None:
    answered = asyncio.Event()

    def act() -> bytes:
        store.faults.down = True
        answered.set()
        return b'{"object":"list","data":[]}'

    provider = Scripted(act)
    job = await submitted(store)
    async with running(make_fleet(store, {"openai": provider}), sweeping=False) as fleet:
        fleet.inbox.put([job.id])
        await answered.wait()
        await eventually(lambda: store.calls["record"] >= 2)
        store.faults.down = False
        assert (await ended(store, job)).status is Status.COMPLETED
    assert len(provider.calls) == 1


async def test_after_an_outage_what_waits_is_swept_at_once_and_nothing_is_taken_over_for_a_while(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIND_BACK_SECONDS", 0.3)
    fleet = make_fleet(store, {"openai": Hanging()})
    waiting, abandoned = await submitted(store), await submitted(store)
    await store.claim([abandoned.id], lease=uuid4(), worker="gone", suspects=False)
    await eventually(lambda: len(store.jobs) == 2 and ripe(store))
    store.faults.down = True
    await fleet.sweep_once()
    store.faults.down = False
    await fleet.sweep_once()
    assert waiting.id in fleet.held
    await fleet.sweep_once()
    assert abandoned.id not in fleet.held
    await eventually(lambda: sweeps_up(fleet, abandoned))
    await fleet.stop()


async def test_a_database_that_is_always_slow_does_not_keep_jobs_from_being_taken_over(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FIND_BACK_SECONDS", 0.3)
    fleet = make_fleet(store, {"openai": Hanging()})
    abandoned = await submitted(store)
    await store.claim([abandoned.id], lease=uuid4(), worker="gone", suspects=False)
    due = store.due

    async def slow(*arguments: Any, **options: Any) -> list[DueJob]:
        await asyncio.sleep(1.2 * fleet.held.renew_interval)
        return await due(*arguments, **options)

    monkeypatch.setattr(store, "due", slow)
    await eventually(lambda: sweeps_up(fleet, abandoned), within=20)
    await fleet.stop()


async def ripe(store: FakeStore) -> bool:
    """Whether both kinds of due job would be found."""
    return len(await store.due(["embeddings"], limit=2, takeover_after=1.5)) == 2


async def sweeps_up(fleet: Fleet, job: NewJob) -> bool:
    await fleet.sweep_once()
    return job.id in fleet.held


async def test_suspects_run_one_at_a_time_beside_others(store: FakeStore) -> None:
    suspects = [await submitted(store) for _ in range(3)]
    for job in suspects:
        store.jobs[job.id].crashes = 3
    provider = Hanging()
    async with running(make_fleet(store, {"openai": provider})) as fleet:
        await eventually(lambda: fleet.held.has_suspect)
        plain = await submitted(store)
        await eventually(lambda: plain.id in fleet.held)
        assert sum(hold.suspect for hold in fleet.held.holds()) == 1
        await fleet.stop()


async def test_a_job_that_cannot_be_recorded_does_not_block_its_neighbours(store: FakeStore) -> None:
    bad, good = await submitted(store), await submitted(store)
    store.faults.reject[bad.id] = ValueError("too large")
    async with running(make_fleet(store, {"openai": Scripted()})):
        assert (await ended(store, good)).status is Status.COMPLETED
    assert store.jobs[bad.id].status is not Status.COMPLETED
