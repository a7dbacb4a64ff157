"""Jobs on a real database that have ended, for what operators do with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from shared.domain.content import Content
from shared.domain.job import AttemptRecord, ClaimedJob, Finish, NewJob, Status
from shared.mongo.mongo_store import MongoStore
from tests.support.jobs import eventually

ERROR = b'{"is_bifrost_error":false,"status_code":500,"error":{"message":"the upstream said sk-bf-S3CR3TS3CR3T"}}'


def moment_ago(store: MongoStore) -> datetime:
    """Safely in the past by the database's clock, so that a job made now can be claimed now."""
    return store.now() - timedelta(seconds=1)


async def end(
    store: MongoStore, job: NewJob, status: Status, body: bytes = ERROR, content: Content | None = None
) -> None:
    """Submit a job, claim it and end it."""
    ref = await store.save_request(msgspec.structs.replace(job, content=content)) if content else None
    await store.submit([(job, ref)])
    lease = uuid4()
    (claimed,) = await store.claim([job.id], lease=lease, worker="worker-1", suspects=False)
    note = AttemptRecord("worker-1", "openai", "succeeded", 41, "req_upstream")
    finish = Finish(job.id, claimed.lease, status, 200 if status is Status.COMPLETED else 500, body, 60, (note,))
    assert await store.record([finish]) == [True]


async def claim_soon(store: MongoStore, job_id: UUID) -> ClaimedJob:
    """Claim a job that was made this very moment: by the database's clock it may be due in a millisecond only."""

    async def claim() -> list[ClaimedJob]:
        return await store.claim([job_id], lease=uuid4(), worker="worker-2", suspects=False)

    found: list[ClaimedJob] = await eventually(claim)
    return found[0]
