"""Jobs in every state, made through any store: what the contract tests of the store begin with."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import msgspec

from shared.domain.job import AttemptRecord, ClaimedJob, ExpiredJob, ExpiryResult, Finish, NewJob, Status
from shared.domain.store_interface import Accepted
from shared.mongo.mongo_store import MongoStore
from tests.support.fakes.store import FakeStore
from tests.support.http_api import Store
from tests.support.jobs import eventually, new_job

SEED = 20_260_711
NOTE = AttemptRecord("w", "openai", "ok", 12, "$upstream")


async def submitted(store: Store, **fields: object) -> NewJob:
    job = new_job(store.now(), **fields)  # type: ignore[arg-type]
    assert await store.submit([(job, None)]) == [Accepted()]
    return job


async def claimed(store: Store, job: NewJob, *, suspects: bool = False) -> ClaimedJob:
    (held,) = await eventually(lambda: store.claim([job.id], lease=uuid4(), worker="w", suspects=suspects))
    return held


async def called(store: Store, job: NewJob, *, suspects: bool = False) -> ClaimedJob:
    """Claimed, and the store knows that a provider call has begun."""
    held = await claimed(store, job, suspects=suspects)
    assert await store.renew({held.id: held.lease}, {held.id}) == set()
    return held


def completed(held: ClaimedJob, body: bytes = b'{"ok":true}') -> Finish:
    return Finish(held.id, held.lease, Status.COMPLETED, 200, body, held.result_ttl)


async def lose_time_to_wake(store: Store, job: NewJob | ClaimedJob, deadline_at: datetime) -> None:
    """Damage a stored job as somebody might who changes documents by hand."""
    if isinstance(store, FakeStore):
        stored = store.jobs[job.id]
        stored.wake_at, stored.job = None, msgspec.structs.replace(stored.job, deadline_at=deadline_at)
    else:
        assert isinstance(store, MongoStore)
        change = {"$unset": {"wake_at": 1}, "$set": {"deadline_at": deadline_at}}
        await store._db.jobs.update_one({"_id": job.id}, change)


def end_late(job: ExpiredJob) -> ExpiryResult:
    return ExpiryResult(
        "deadline" if job.past_deadline else "crashes", 504 if job.past_deadline else 500, b'{"error":{}}'
    )
