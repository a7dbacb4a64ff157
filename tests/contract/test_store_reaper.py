"""What every store does for the reaper: it ends what is past its deadline, and counts what waits."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from shared.domain.job import Status
from tests.contract.store_jobs import claimed, completed, end_late, lose_time_to_wake, submitted
from tests.support.http_api import Store
from tests.support.jobs import eventually


async def test_past_its_deadline_a_job_is_not_claimed_and_fails_with_504(store: Store) -> None:
    job = await submitted(store, deadline=0.2)
    assert await eventually(lambda: store.expire(100, end_late)) == {"deadline": 1}
    assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=False) == []
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.status_code, view.body) == (Status.FAILED, 504, b'{"error":{}}')
    assert view.expires_at is not None


async def test_all_that_is_overdue_ends_however_few_are_taken_at_a_time(store: Store) -> None:
    for _ in range(7):
        await submitted(store, deadline=-1)
    kept = await submitted(store)
    assert await store.expire(2, end_late) == {"deadline": 7}
    assert (await store.collect([kept.id]))[kept.id].status is Status.PENDING


@pytest.mark.parametrize("taken", [False, True], ids=["pending", "processing"])
async def test_a_live_job_that_lost_its_time_to_wake_ends_at_its_deadline(store: Store, taken: bool) -> None:
    late, early = [await submitted(store) for _ in range(2)]
    if taken:
        for job in (late, early):
            await claimed(store, job)
    await lose_time_to_wake(store, late, deadline_at=store.now() - timedelta(seconds=1))
    await lose_time_to_wake(store, early, deadline_at=early.deadline_at)
    assert await store.claim([late.id, early.id], lease=uuid4(), worker="w", suspects=False) == [], "nobody can"
    assert await store.expire(100, end_late) == {}, "it was not explained, for it was not read"
    views = await store.collect([late.id, early.id])
    assert (views[late.id].status, views[late.id].status_code) == (Status.FAILED, 500)
    assert isinstance(body := views[late.id].body, bytes)
    assert b"could not be read" in body
    assert not views[early.id].status.terminal, "its holder, if it has one, may still end it"


async def test_a_job_that_lost_its_time_to_wake_is_still_its_holders(store: Store) -> None:
    held = await claimed(store, await submitted(store))
    await lose_time_to_wake(store, held, deadline_at=store.now() + timedelta(seconds=3600))
    assert await store.renew({held.id: held.lease}, {held.id}) == set(), "which makes it whole again"
    assert await store.record([completed(held)]) == [True]


async def test_the_backlog_counts_by_modality_and_state(store: Store) -> None:
    jobs = [await submitted(store) for _ in range(3)]
    await claimed(store, jobs[0])
    counts = {(each.modality, each.status): each.count for each in await store.backlog()}
    assert counts["embeddings", "pending"] == 2
    assert counts["embeddings", "processing"] == 1
    assert counts["ocr", "pending"] == 0
    assert await store.at_least("embeddings", 2)
    assert not await store.at_least("embeddings", 3)


async def test_what_is_full_is_what_was_declared_last(store: Store) -> None:
    assert await store.full() == frozenset()
    await store.publish_backpressure({"ocr", "chat"})
    assert await store.full() == {"ocr", "chat"}
    await store.publish_backpressure(())
    assert await store.full() == frozenset()
