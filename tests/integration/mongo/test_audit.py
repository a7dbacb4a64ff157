"""What drills ask the database itself: stored answers, chunks and jobs without each other, and ends that came twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.domain.job import ClaimedJob, Finish, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES
from shared.mongo.audit import TTL_SECONDS, UNOWNED_SECONDS, Orphans, answers, contradictions, orphans, watch_endings
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import eventually, new_job

LARGE = b'{"text":"' + b"x" * INLINE_RESULT_BYTES + b'"}'


@pytest.fixture
def store(database: Database) -> MongoStore:
    return MongoStore(database, Settings())


async def held(store: MongoStore, count: int = 1) -> list[ClaimedJob]:
    jobs = [new_job(store.now()) for _ in range(count)]
    await store.submit([(job, None) for job in jobs])
    return await store.claim([job.id for job in jobs], lease=uuid4(), worker="w", suspects=False)


def completed(job: ClaimedJob, body: bytes) -> Finish:
    return Finish(job.id, job.lease, Status.COMPLETED, 200, body, 60)


async def test_every_stored_answer_is_read_inline_or_in_chunks(store: MongoStore, database: Database) -> None:
    small, large, running = await held(store, 3)
    await store.record([completed(small, b"{}"), completed(large, LARGE)])
    found = {job_id: (status, body) async for job_id, status, body in answers(database)}
    assert found == {small.id: (Status.COMPLETED, b"{}"), large.id: (Status.COMPLETED, LARGE)}
    assert running.id not in found


def chunk(database: Database, expires_in: float, written_ago: float) -> tuple[str, dict[str, Any]]:
    """A chunk that no job points to, and what is said about it."""
    payload, now = uuid4(), database.now()
    times = {"expires_at": now + timedelta(seconds=expires_in), "written_at": now - timedelta(seconds=written_ago)}
    return f"chunk 0 of {payload} has no job", {"_id": {"payload": payload, "n": 0}, "data": b"", **times}


async def test_a_chunk_without_a_job_is_an_orphan_unless_it_is_about_to_expire(database: Database) -> None:
    _, expires = chunk(database, TTL_SECONDS - 30, 3600)
    young, left = chunk(database, TTL_SECONDS + 30, 10)
    old, stays = chunk(database, TTL_SECONDS + 30, UNOWNED_SECONDS + 30)
    await database.payloads.insert_many([expires, left, stays])
    assert await orphans(database) == Orphans([old], [young])


async def test_a_result_whose_chunks_are_gone_is_an_orphan(store: MongoStore, database: Database) -> None:
    (job,) = await held(store)
    await store.record([Finish(job.id, job.lease, Status.COMPLETED, 200, LARGE, 3600)])
    assert await orphans(database) == Orphans([], [])
    await database.payloads.delete_many({})
    assert await orphans(database) == Orphans([f"chunk 0 of the result of job {job.id} (completed) is gone"], [])
    assert [each async for each in answers(database)] == []


async def test_a_job_that_ended_and_waits_to_be_claimed_contradicts_itself(
    store: MongoStore, database: Database
) -> None:
    ended, running = await held(store, 2)
    await store.record([completed(ended, b"{}")])
    assert await contradictions(database) == []
    await database.jobs.update_one({"_id": ended.id}, {"$set": {"wake_at": database.now()}})
    await database.jobs.update_one({"_id": running.id}, {"$unset": {"wake_at": True}})
    assert {line.split()[1] for line in await contradictions(database)} == {str(ended.id), str(running.id)}


async def test_an_end_that_is_written_over_an_equal_one_is_a_second_end(store: MongoStore, database: Database) -> None:
    first, job = await held(store, 2)
    counts: Counter[UUID] = Counter()
    watching = asyncio.create_task(watch_endings(database, counts))

    async def ended_later(each: UUID) -> bool:
        """Write the end again, a second later, until somebody notices."""
        await database.jobs.update_one({"_id": each}, [{"$set": {"completed_at": {"$add": ["$completed_at", 1000]}}}])
        return counts[each] > 1

    try:
        await store.record([completed(first, b"{}")])
        await eventually(lambda: ended_later(first.id))  # from here on it watches
        await store.record([completed(job, b"{}")])
        await eventually(lambda: counts[job.id] == 1)
        await ended_later(job.id)
        await eventually(lambda: counts[job.id] == 2)
    finally:
        watching.cancel()
