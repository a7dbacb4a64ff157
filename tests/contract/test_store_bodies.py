"""How long large bodies live in every store: as long as a job points to them, and no attempt adds another copy."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from uuid import uuid4

import pytest

from shared.domain.job import Finish, NewJob, PayloadRef, Release, Status
from shared.domain.store_interface import Accepted
from shared.mongo.documents import payloads
from tests.contract.store_jobs import claimed, completed, end_late
from tests.support.http_api import Store, stored_chunks
from tests.support.jobs import eventually, new_job

LARGE = 100_000


async def submitted(store: Store, **fields: object) -> tuple[NewJob, PayloadRef]:
    job = new_job(store.now(), body=os.urandom(LARGE), **fields)  # type: ignore[arg-type]
    ref = await store.save_request(job)
    assert await store.submit([(job, ref)]) == [Accepted()]
    return job, ref


async def is_gone(store: Store, ref: PayloadRef) -> bool:
    try:
        await store.load(ref)
    except LookupError:
        return True
    return False


async def test_the_request_of_a_completed_job_is_gone_with_its_completion(store: Store) -> None:
    jobs = [await submitted(store) for _ in range(3)]
    records = [replace(completed(await claimed(store, job)), request=ref) for job, ref in jobs[:2]]
    assert await store.record(records) == [True, True]
    await eventually(lambda: is_gone(store, jobs[0][1]))
    await eventually(lambda: is_gone(store, jobs[1][1]))
    assert not await is_gone(store, jobs[2][1])


async def test_the_request_of_a_failed_job_stays_with_it(store: Store) -> None:
    job, ref = await submitted(store)
    held = await claimed(store, job)
    failure = Finish(job.id, held.lease, Status.FAILED, 500, b"{}", 60, request=ref)
    assert await store.record([failure]) == [True]
    late, late_ref = await submitted(store, deadline=0.05)
    assert await eventually(lambda: store.expire(100, end_late)) == {"deadline": 1}
    assert await store.load(ref) == job.content.data
    assert await store.load(late_ref) == late.content.data


async def test_the_request_of_a_job_that_was_given_back_stays_although_a_late_completion_comes(store: Store) -> None:
    job, ref = await submitted(store)
    held = await claimed(store, job)
    assert await store.record([Release(job.id, held.lease, 60.0, failures=0, target=0)]) == [True]
    assert await store.record([replace(completed(held), request=ref)]) == [False]
    assert not await is_gone(store, ref)


@pytest.mark.parametrize("late_first", [True, False])
async def test_a_lost_result_leaves_nothing_and_takes_nothing_with_it(store: Store, late_first: bool) -> None:
    job, ref = await submitted(store)
    slow, quick = await claimed(store, job), await claimed(store, job)
    lost, won = (replace(completed(held, os.urandom(LARGE)), request=ref) for held in (slow, quick))
    records = [lost, won] if late_first else [won, lost]
    for record in records:
        assert await store.record([record]) == [record is won]
        if record is lost and late_first:
            assert not await is_gone(store, ref)
    assert await eventually(lambda: is_gone(store, ref))
    assert await eventually(lambda: is_gone(store, payloads.result_ref(lost)))
    view = (await store.collect([job.id]))[job.id]
    assert isinstance(view.body, PayloadRef)
    assert await store.load(view.body) == won.body
    assert await stored_chunks(store) == 1


async def test_a_record_that_is_tried_again_stores_its_result_once(store: Store) -> None:
    job = new_job(store.now())
    await store.submit([(job, None)])
    record = completed(await claimed(store, job), os.urandom(9_000_000))
    for _ in range(3):
        assert await store.record([record]) == [True]
    assert await stored_chunks(store) == 2
    assert await store.load(payloads.result_ref(record)) == record.body


async def test_a_body_is_discarded_unless_the_job_points_to_it(store: Store) -> None:
    job, ref = await submitted(store, fingerprint=b"f" * 32)
    second = await store.save_request(job)
    for each in (ref, second):
        await store.discard_request(job.id, each)
    assert await eventually(lambda: is_gone(store, second))
    assert not await is_gone(store, ref)
    nobodys = await store.save_request(new_job(store.now(), body=os.urandom(LARGE)))
    await store.discard_request(uuid4(), nobodys)
    assert await eventually(lambda: is_gone(store, nobodys))


async def test_a_body_saved_again_under_its_reference_is_stored_once(store: Store) -> None:
    job, ref = await submitted(store)
    assert await asyncio.gather(*(store.save_request(job, ref) for _ in range(5))) == [ref] * 5
    assert await store.load(ref) == job.content.data
    assert await stored_chunks(store) == 1


async def test_new_chunks_are_left_alone_whoever_they_belong_to(store: Store) -> None:
    nobodys = await store.save_request(new_job(store.now(), body=os.urandom(LARGE)))
    removed = await store.remove_orphans(100)
    assert (removed.chunks, removed.finished) == (0, True)
    assert not await is_gone(store, nobodys)
