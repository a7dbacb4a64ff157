"""What every store does with results: the holder of the lease writes one, once, and nobody else."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.domain.job import ClaimedJob, Finish, NewJob, PayloadRef, Release, Status
from shared.domain.target import Target
from tests.contract.store_jobs import NOTE, SEED, claimed, completed, end_late, submitted
from tests.support.http_api import Store


async def test_a_large_result_is_streamed_back_byte_for_byte(store: Store) -> None:
    job = await submitted(store)
    body = os.urandom(9 * 1024 * 1024)
    assert await store.record([completed(await claimed(store, job), body)]) == [True]
    ref = (await store.collect([job.id]))[job.id].body
    assert isinstance(ref, PayloadRef)
    assert b"".join([chunk async for chunk in store.read_payload(ref)]) == body


async def test_the_first_record_of_a_lease_counts_and_a_repeated_one_changes_nothing(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    assert await store.record([completed(held, b'{"n":1}')]) == [True]
    first = (await store.collect([job.id]))[job.id]
    assert await store.record([completed(held, b'{"n":2}')]) == [True]
    assert (await store.collect([job.id]))[job.id] == first
    assert first.body == b'{"n":1}'
    assert first.expires_at is not None
    assert first.completed_at is not None
    assert first.expires_at - first.completed_at == timedelta(seconds=60)


async def test_a_lost_lease_records_nothing(store: Store) -> None:
    job = await submitted(store)
    slow = await claimed(store, job)
    quick = await claimed(store, job)
    assert (quick.taken_over, quick.crashes, quick.claims) == (True, 1, 2)
    assert await store.record([completed(slow, b"late")]) == [False]
    assert await store.record([completed(quick, b"won")]) == [True]
    assert await store.record([completed(slow, b"late")]) == [False]
    assert (await store.collect([job.id]))[job.id].body == b"won"


async def test_a_batch_of_records_has_an_outcome_for_each(store: Store) -> None:
    mine, theirs = await submitted(store), await submitted(store)
    held = await claimed(store, mine)
    lost = await claimed(store, theirs)
    await claimed(store, theirs)
    assert await store.record([completed(lost), completed(held)]) == [False, True]


@pytest.mark.parametrize("late_first", [True, False])
async def test_in_one_batch_only_the_record_of_the_holding_lease_counts(store: Store, late_first: bool) -> None:
    job = await submitted(store)
    slow, quick = await claimed(store, job), await claimed(store, job)
    records = [completed(slow, b"late"), completed(quick, b"won")]
    expected: list[bool] = [False, True]
    if not late_first:
        records, expected = records[::-1], expected[::-1]
    assert await store.record(records) == expected
    assert (await store.collect([job.id]))[job.id].body == b"won"


async def test_a_batch_of_all_kinds_gives_each_job_what_its_own_record_says(store: Store) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    targets = (Target("openai", "m"), Target("groq", "m"))
    jobs = [await submitted(store, targets=targets) for _ in range(40)]
    held = [job for some in (jobs[:25], jobs[25:]) for job in await _claimed_together(store, some)]
    records = [_any_record(job, rng) for job in held]
    rng.shuffle(records)
    assert await store.record(records) == [True] * len(jobs)
    views = await store.collect([job.id for job in jobs])
    for record in records:
        view = views[record.job_id]
        if isinstance(record, Release):
            again = await claimed(store, next(job for job in jobs if job.id == record.job_id))
            assert (again.failures, again.target, again.releases) == (record.failures, record.target, record.given_back)
            continue
        assert (view.status, view.status_code, view.body) == (record.status, record.status_code, record.body)
        assert view.expires_at is not None
        assert view.completed_at is not None
        assert view.expires_at - view.completed_at == timedelta(seconds=record.result_ttl)


async def _claimed_together(store: Store, jobs: list[NewJob]) -> list[ClaimedJob]:
    return await store.claim([job.id for job in jobs], lease=uuid4(), worker="w", suspects=False)


def _any_record(job: ClaimedJob, rng: random.Random) -> Finish | Release:
    body, ttl, notes = rng.randbytes(rng.randrange(1, 2000)), rng.randrange(60, 3600), (NOTE,) * rng.randrange(3)
    match rng.randrange(4):
        case 0:
            return Finish(job.id, job.lease, Status.COMPLETED, rng.choice([200, 201]), body, ttl, notes)
        case 1:
            return Finish(job.id, job.lease, Status.FAILED, rng.choice([400, 500, 504]), body, ttl, notes)
        case kind:
            return Release(job.id, job.lease, 0.0, rng.randrange(3), rng.randrange(2), kind == 2, notes)


async def test_a_released_job_is_claimable_when_due_and_keeps_its_budgets(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    assert await store.record([Release(held.id, held.lease, 0.3, failures=2, target=0)]) == [True]
    assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=False) == []
    again = await claimed(store, job)
    assert (again.failures, again.releases, again.crashes, again.taken_over) == (2, 0, 0, False)


async def test_a_give_back_spends_a_release_and_is_due_at_once(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    await store.record([Release(held.id, held.lease, 0.0, failures=0, target=0, given_back=True)])
    assert (await claimed(store, job)).releases == 1


async def test_a_finished_job_is_never_claimed_released_or_expired(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    await store.record([completed(held)])
    before = (await store.collect([job.id]))[job.id]
    for suspects in (False, True):
        assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=suspects) == []
    await store.record([Release(held.id, held.lease, 0.0, failures=0, target=0)])
    assert await store.renew({held.id: held.lease}, ()) == {held.id}
    assert await store.expire(100, end_late) == {}
    assert (await store.collect([job.id]))[job.id] == before
