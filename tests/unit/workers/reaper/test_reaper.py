"""One pass of the reaper, over a store in memory."""

from __future__ import annotations

import asyncio

import pytest

from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import Backlog
from shared.telemetry.health import Health
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.gauges import shown
from tests.support.jobs import eventually, new_job
from workers.reaper.service import STALE_SECONDS, BacklogLimiter, Reaper


def waiting(modality: str, count: int, status: str = "pending", *, capped: bool = False) -> Backlog:
    return Backlog(modality, status, count, capped, oldest_age=0.0)


async def test_full_is_what_has_as_many_waiting_jobs_as_may_wait() -> None:
    counted = [waiting("chat", 10), waiting("ocr", 9), waiting("images", 99, status="processing")]
    assert await BacklogLimiter(FakeStore(), 10).among(counted) == {"chat"}


async def test_without_a_bound_nothing_is_ever_full() -> None:
    assert await BacklogLimiter(FakeStore(), 0).among([waiting("chat", 10**9, capped=True)]) == set()


async def test_a_count_that_reached_its_cap_is_made_in_full_but_not_at_every_pass() -> None:
    store, seconds = FakeStore(), [100.0]
    fullness = BacklogLimiter(store, 2, clock=lambda: seconds[0])
    counted = [waiting("embeddings", 1, capped=True)]
    assert await fullness.among(counted) == set()
    await store.submit([(new_job(store.now()), None) for _ in range(2)])
    assert await fullness.among(counted) == set()
    assert store.calls["at_least"] == 1
    seconds[0] += 31
    assert await fullness.among(counted) == {"embeddings"}


async def test_a_reaper_declares_what_is_full_and_takes_it_back_once() -> None:
    store = FakeStore()
    reaper = Reaper(store, max_pending=1)
    await reaper.run_once()
    assert "publish_backpressure" not in store.calls, "an idle reaper writes nothing"
    job = new_job(store.now())
    await store.submit([(job, None)])
    await reaper.run_once()
    assert await store.full() == {job.modality}
    await store.end(job.id, b"{}")
    await reaper.run_once()
    assert await store.full() == set()
    await reaper.run_once()
    assert store.calls["publish_backpressure"] == 2


async def test_what_could_not_be_declared_is_declared_by_the_next_pass() -> None:
    store = FakeStore()
    reaper = Reaper(store, max_pending=1)
    job = new_job(store.now())
    await store.submit([(job, None)])

    async def away(verb: str) -> None:
        if verb == "publish_backpressure":
            raise StoreUnavailable("away")

    store.faults.before = away
    with pytest.raises(StoreUnavailable):
        await reaper.run_once()
    store.faults.before = None
    await reaper.run_once()
    assert await store.full() == {job.modality}


async def test_the_word_of_a_reaper_that_is_gone_counts_no_more() -> None:
    clock = FakeClock()
    store = FakeStore(clock=clock)
    await store.publish_backpressure({"chat"})
    clock.advance(31)
    assert await store.full() == set()


async def test_a_reaper_that_is_cut_off_takes_its_counts_back_and_is_not_ready() -> None:
    store, seconds, health = FakeStore(), [100.0], Health("reaper")
    health.heartbeat()
    reaper = Reaper(store, 0, health, clock=lambda: seconds[0])
    await reaper.run_once()
    reaper.look_at_age()
    assert shown()
    assert health.problems() == []

    store.faults.down = True
    keeping = asyncio.ensure_future(reaper.keep(0.01))
    await eventually(health.problems)
    assert shown(), "an outage of seconds is no reason for a gap"
    seconds[0] += STALE_SECONDS + 1
    reaper.look_at_age()
    assert shown() == []
    assert any("none for 31 s" in problem for problem in health.problems())

    store.faults.down = False
    await eventually(shown)
    reaper.look_at_age()
    await eventually(lambda: health.problems() == [])
    keeping.cancel()


async def test_counts_vanish_while_a_pass_hangs() -> None:
    store, seconds, health = FakeStore(), [100.0], Health("reaper")
    health.heartbeat()
    reaper = Reaper(store, 0, health, clock=lambda: seconds[0])
    await reaper.run_once()
    hangs = asyncio.Event()

    async def hang(verb: str) -> None:
        hangs.set()
        await asyncio.Event().wait()

    store.faults.before = hang
    loops = [asyncio.ensure_future(reaper.keep(0.01)), asyncio.ensure_future(reaper.forget_old_counts(0.01))]
    await hangs.wait()
    seconds[0] += STALE_SECONDS + 1
    await eventually(lambda: not shown())
    assert health.problems()
    for loop in loops:
        loop.cancel()
