"""Readiness: however many ask, the database is asked rarely, and the answer follows what it says."""

from __future__ import annotations

import asyncio

from edge.api.health import REMEMBERED_SECONDS, Readiness
from tests.support.fakes.store import FakeStore


async def test_many_who_ask_cost_one_ping() -> None:
    store = FakeStore()
    readiness = Readiness(store, lambda: 0.0)
    assert await asyncio.gather(*[readiness.check() for _ in range(100)]) == [True] * 100
    assert store.calls["ping"] == 1


async def test_an_outage_and_its_end_are_seen_within_half_a_second() -> None:
    store, now = FakeStore(), [0.0]
    readiness = Readiness(store, lambda: now[0])
    assert await readiness.check()
    store.faults.down = True
    now[0] += REMEMBERED_SECONDS
    assert not await readiness.check()
    store.faults.down = False
    assert not await readiness.check()
    now[0] += REMEMBERED_SECONDS
    assert await readiness.check()
