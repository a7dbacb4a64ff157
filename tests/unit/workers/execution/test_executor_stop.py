"""A worker that stops gives its jobs back, so that others run them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.domain.job import ClaimedJob, Status
from shared.telemetry.metrics import PROVIDER_REPEATED
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually
from tests.unit.workers.execution.executors import SETTINGS, Full, make_executor, running, submitted
from tests.unit.workers.execution.test_attempt import Hanging, Scripted


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
