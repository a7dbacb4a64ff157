"""One pass of the keeper, over a store in memory."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailable
from shared.store import Backlog
from tests.support.fake_store import FakeClock, FakeStore
from tests.support.jobs import new_job
from workers.keeper.fullness import Fullness
from workers.keeper.service import Keeper


def waiting(modality: str, count: int, status: str = "pending", *, capped: bool = False) -> Backlog:
    return Backlog(modality, status, count, capped, oldest_age=0.0)


async def test_full_is_what_has_as_many_waiting_jobs_as_may_wait() -> None:
    counted = [waiting("chat", 10), waiting("ocr", 9), waiting("images", 99, status="processing")]
    assert await Fullness(FakeStore(), 10).among(counted) == {"chat"}


async def test_without_a_bound_nothing_is_ever_full() -> None:
    assert await Fullness(FakeStore(), 0).among([waiting("chat", 10**9, capped=True)]) == set()


async def test_a_count_that_reached_its_cap_is_made_in_full_but_not_at_every_pass() -> None:
    store, seconds = FakeStore(), [100.0]
    fullness = Fullness(store, 2, clock=lambda: seconds[0])
    counted = [waiting("embeddings", 1, capped=True)]
    assert await fullness.among(counted) == set()
    await store.submit([(new_job(store.now()), None) for _ in range(2)])
    assert await fullness.among(counted) == set()
    assert store.calls["at_least"] == 1
    seconds[0] += 31
    assert await fullness.among(counted) == {"embeddings"}


async def test_a_keeper_declares_what_is_full_and_takes_it_back_once() -> None:
    store = FakeStore()
    keeper = Keeper(store, max_pending=1)
    await keeper.run_once()
    assert "declare_full" not in store.calls, "an idle keeper writes nothing"
    job = new_job(store.now())
    await store.submit([(job, None)])
    await keeper.run_once()
    assert await store.full() == {job.modality}
    await store.end(job.id, b"{}")
    await keeper.run_once()
    assert await store.full() == set()
    await keeper.run_once()
    assert store.calls["declare_full"] == 2


async def test_what_could_not_be_declared_is_declared_by_the_next_pass() -> None:
    store = FakeStore()
    keeper = Keeper(store, max_pending=1)
    job = new_job(store.now())
    await store.submit([(job, None)])

    async def away(verb: str) -> None:
        if verb == "declare_full":
            raise StoreUnavailable("away")

    store.faults.before = away
    with pytest.raises(StoreUnavailable):
        await keeper.run_once()
    store.faults.before = None
    await keeper.run_once()
    assert await store.full() == {job.modality}


async def test_the_word_of_a_keeper_that_is_gone_counts_no_more() -> None:
    clock = FakeClock()
    store = FakeStore(clock=clock)
    await store.declare_full({"chat"})
    clock.advance(31)
    assert await store.full() == set()
