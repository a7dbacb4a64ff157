"""Failed jobs are submitted again by an operator, on a real database: as copies, once each, also after a kill."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from shared.domain.content import Content
from shared.domain.job import Release, Status
from shared.domain.store_interface import INLINE_REQUEST_BYTES
from shared.domain.target import Target
from shared.mongo.connection.client import Database
from shared.mongo.edge_store import MongoEdgeStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import FailedJobs, NotRequeued, OperatorStore
from tests.integration.mongo.operated_jobs import claim_soon, end, moment_ago
from tests.support.jobs import new_job


async def test_a_requeued_job_is_a_copy_under_a_new_id_that_a_worker_can_claim(
    operator: OperatorStore, store: MongoStore
) -> None:
    targets = (Target("openai", "m"), Target("groq", "n", b'{"x":1}'))
    job = new_job(moment_ago(store), targets=targets, key_id="k1", fingerprint=b"f", deadline=77)
    await end(store, job, Status.FAILED)
    copy_id = (await operator.requeue(job.id)).id
    assert copy_id != job.id
    claimed = await claim_soon(store, copy_id)
    assert claimed.targets == targets
    assert claimed.content == job.content
    assert claimed.forward == job.forward
    assert (claimed.failures, claimed.crashes, claimed.claims) == (0, 0, 1)
    assert 70 < claimed.deadline_in < 78, "the whole deadline again; the two clocks may differ by milliseconds"
    views = await store.collect([job.id, copy_id])
    assert views[job.id].status is Status.FAILED, "the original stays as it ended"
    assert views[copy_id].key_id == "k1"


async def test_a_large_request_is_copied_so_that_it_outlives_the_original(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    content = Content("json", bytes(range(256)) * 40_000)
    job = new_job(moment_ago(store), body=b"")
    await end(store, job, Status.FAILED, content=content)
    copy_id = (await operator.requeue(job.id)).id
    claimed = await claim_soon(store, copy_id)
    assert not isinstance(claimed.content, Content)
    assert await store.load(claimed.content) == content.data
    assert len({chunk["_id"]["payload"] for chunk in await database.payloads.find({}, {"data": False}).to_list()}) == 2


async def test_a_job_whose_request_is_gone_is_not_requeued(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    job = new_job(moment_ago(store), body=b"")
    await end(store, job, Status.FAILED, content=Content("json", b"x" * 100_000))
    await database.payloads.delete_many({})
    with pytest.raises(NotRequeued, match="is gone, its time was up: submit it again"):
        await operator.requeue(job.id)


async def test_only_failed_jobs_are_requeued(operator: OperatorStore, store: MongoStore) -> None:
    completed, waiting, released = (new_job(moment_ago(store)) for _ in range(3))
    await end(store, completed, Status.COMPLETED)
    await store.submit([(waiting, None), (released, None)])
    (claimed,) = await store.claim([released.id], lease=uuid4(), worker="w", suspects=False)
    await store.record([Release(released.id, claimed.lease, 0.0, 1, 0)])
    for job_id in (completed.id, waiting.id, released.id, uuid4()):
        with pytest.raises(NotRequeued, match="is no failed job"):
            await operator.requeue(job_id)


async def test_a_requeued_job_says_so_and_is_otherwise_as_it_ended(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    job = new_job(moment_ago(store))
    await end(store, job, Status.FAILED)
    before = await database.jobs.find_one({"_id": job.id})
    copy_id = (await operator.requeue(job.id)).id
    after = await database.jobs.find_one({"_id": job.id})
    assert before is not None
    assert after == {**before, "requeued_as": copy_id}
    views = await store.collect([job.id, copy_id])
    assert (views[job.id].requeued_as, views[copy_id].requeued_as) == (copy_id, None)
    history = await operator.history(job.id)
    assert history is not None
    assert history["requeued_as"] == str(copy_id)


async def test_failed_jobs_are_chosen_by_what_they_asked_for_how_and_when_they_failed(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    openai = new_job(moment_ago(store), targets=(Target("openai", "m"),))
    groq = new_job(moment_ago(store), targets=(Target("groq", "n"), Target("openai", "m")))
    for job in (openai, groq):
        await end(store, job, Status.FAILED)
    completed = new_job(moment_ago(store))
    await end(store, completed, Status.COMPLETED)
    await database.jobs.update_one({"_id": groq.id}, {"$set": {"status_code": 429}})
    hour, now = timedelta(hours=1), store.now()

    async def chosen(limit: int = 10, **which: Any) -> tuple[int, list[UUID]]:
        return await operator.requeueable(FailedJobs(**which), limit)

    assert await chosen() == (2, [openai.id, groq.id])
    assert await chosen(limit=1) == (2, [openai.id])
    assert await chosen(provider="groq") == (1, [groq.id])
    assert await chosen(model="m") == (1, [openai.id])
    assert await chosen(request_type=groq.request_type) == (2, [openai.id, groq.id])
    assert await chosen(status_codes=(429, 503)) == (1, [groq.id])
    assert (await chosen(since=now - hour))[0] == (await chosen(until=now + hour))[0] == 2
    assert (await chosen(since=now + hour))[0] == (await chosen(until=now - hour))[0] == 0
    assert await chosen(provider="$ne") == (0, [])


async def test_what_was_requeued_expired_or_set_aside_is_not_chosen_again(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    requeued, expired, unread, left = (new_job(moment_ago(store)) for _ in range(4))
    for job in (requeued, expired, unread, left):
        await end(store, job, Status.FAILED)
    await operator.requeue(requeued.id)
    await database.jobs.update_one({"_id": expired.id}, {"$set": {"expires_at": store.now() - timedelta(seconds=1)}})
    await database.jobs.update_one({"_id": unread.id}, {"$set": {"set_aside": True}})
    assert await operator.requeueable(FailedJobs(), 10) == (1, [left.id])


async def test_requeueing_at_the_same_time_makes_one_whole_copy(
    operator: OperatorStore, store: MongoStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(moment_ago(store), body=b"")
    await end(store, job, Status.FAILED, content=Content("json", b"x" * 100_000))
    submit, all_have_read = MongoEdgeStore.submit, asyncio.Barrier(5)

    async def together(self: MongoEdgeStore, jobs: Any) -> Any:
        await all_have_read.wait()
        return await submit(self, jobs)

    monkeypatch.setattr(MongoEdgeStore, "submit", together)
    copies = {copy.id for copy in await asyncio.gather(*(operator.requeue(job.id) for _ in range(5)))}
    assert len(copies) == 1
    assert set(await store.collect(list(copies))) == copies
    assert await database.payloads.count_documents({}) == 2, "the original's and the copy's"


async def test_each_requeue_by_id_makes_another_copy_and_the_last_one_is_noted(
    operator: OperatorStore, store: MongoStore
) -> None:
    job = new_job(moment_ago(store))
    await end(store, job, Status.FAILED)
    copies = [(await operator.requeue(job.id)).id for _ in range(3)]
    assert len(set(copies)) == 3
    assert set(await store.collect(copies)) == set(copies)
    assert (await store.collect([job.id]))[job.id].requeued_as == copies[-1]


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("size", [100, 100_000], ids=["inline", "in chunks"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", ["save_request", "submit", "discard_request", "note"])
async def test_a_requeue_that_is_repeated_after_a_kill_finds_the_first_copy(
    operator: OperatorStore,
    store: MongoStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    before: bool,
    size: int,
) -> None:
    job = new_job(moment_ago(store), body=b"")
    content = Content("json", b"x" * size)
    if size > INLINE_REQUEST_BYTES:
        await end(store, job, Status.FAILED, content=content)
    else:
        job = msgspec.structs.replace(job, content=content)
        await end(store, job, Status.FAILED)
    owner, name = (OperatorStore, "_note") if step == "note" else (MongoEdgeStore, step)
    verb = getattr(owner, name)

    async def dies(*arguments: Any) -> None:
        if not before:
            await verb(*arguments)
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(owner, name, dies)
        await operator.requeue(job.id)
    for left in (await operator.requeueable(FailedJobs(), 10))[1]:
        await operator.requeue(left)
    live = await database.jobs.find({"status": "pending"}).to_list()
    assert len(live) == 1
    claimed = await claim_soon(store, live[0]["_id"])
    body = claimed.content.data if isinstance(claimed.content, Content) else await store.load(claimed.content)
    assert body == content.data
    assert (await store.collect([job.id]))[job.id].requeued_as == claimed.id
    assert await operator.requeueable(FailedJobs(), 10) == (0, [])


async def test_a_slow_requeue_does_not_take_back_a_later_ones_note(operator: OperatorStore, store: MongoStore) -> None:
    job = new_job(moment_ago(store))
    await end(store, job, Status.FAILED)
    first = await operator.requeue(job.id)
    last = await operator.requeue(job.id)
    await operator._note(job.id, first.id, None)
    assert (await store.collect([job.id]))[job.id].requeued_as == last.id
