"""How a reaper goes through the chunks: at its pace, and whatever the database does."""

from __future__ import annotations

from functools import partial

import pytest

from shared.domain.job import PayloadRef
from shared.domain.store_interface import UNOWNED_SECONDS, OrphansRemoved
from shared.telemetry.metrics import ORPHANS_REMOVED
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually, new_job
from workers.loops import background
from workers.reaper import service as orphans


async def test_what_no_job_points_to_is_deleted_once_it_is_old_and_counted() -> None:
    store, counted = FakeStore(), ORPHANS_REMOVED._value.get()
    body = bytes(10_000)
    kept = new_job(store.now(), body=body, deadline=10 * UNOWNED_SECONDS)
    reference = await store.save_request(kept)
    await store.submit([(kept, reference)])
    await store.save_request(new_job(store.now(), body=body))
    assert await orphans._next_batch(store) == orphans._REST_SECONDS
    assert len(store.payloads) == 2
    store.clock.advance(UNOWNED_SECONDS)
    await orphans._next_batch(store)
    assert isinstance(reference, PayloadRef)
    assert list(store.payloads) == [reference.payload_id]
    assert ORPHANS_REMOVED._value.get() == counted + 1


async def test_the_next_batch_comes_soon_and_the_next_round_late() -> None:
    store = FakeStore()
    answers = iter([OrphansRemoved(0, finished=False), OrphansRemoved(3, finished=True)])

    async def scripted(limit: int) -> OrphansRemoved:
        return next(answers)

    store.remove_orphans = scripted  # type: ignore[method-assign]
    assert await orphans._next_batch(store) == orphans._PAUSE_SECONDS
    assert await orphans._next_batch(store) == orphans._REST_SECONDS


async def test_a_database_that_is_away_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphans, "_REST_SECONDS", 0.001)
    store = FakeStore()
    store.faults.down = True
    async with background("orphans", partial(orphans.remove_orphans, store)):
        await eventually(lambda: store.calls["remove_orphans"] > 2)
        store.faults.down = False
        nobodys = await store.save_request(new_job(store.now(), body=bytes(10_000)))
        store.clock.advance(UNOWNED_SECONDS)
        await eventually(lambda: nobodys.payload_id not in store.payloads)
    assert "not looked for" in caplog.text
