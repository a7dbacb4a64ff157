"""A worker whose database is away or slow."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from shared.domain.job import ClaimCandidate, NewJob, Status
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually
from tests.unit.workers.execution.executors import ended, make_executor, running, submitted
from tests.unit.workers.execution.test_attempt import Hanging, Scripted
from workers.execution import intake as module
from workers.execution.executor import Executor


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
