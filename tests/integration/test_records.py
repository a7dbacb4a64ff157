"""One stored job that the database refuses to change does not cost its neighbours their outcomes."""

from __future__ import annotations

from uuid import uuid4

from shared.errors import StoreUnavailable
from shared.job import AttemptNote, Finish, Release, Status
from shared.mongo.client import Database
from shared.mongo.store import MongoStore
from shared.settings import Settings
from tests.support.jobs import new_job

NOTE = AttemptNote("w", "openai", "ok", 12)


async def test_a_job_that_cannot_be_changed_fails_alone(database: Database) -> None:
    store = MongoStore(database, Settings())
    jobs = [new_job(store.now()) for _ in range(9)]
    await store.submit([(job, None) for job in jobs])
    held = await store.claim([job.id for job in jobs], lease=uuid4(), worker="w", suspects=False)
    damaged = held[4].id
    await database.jobs.update_one({"_id": damaged}, {"$set": {"attempts": "not a list"}})
    ended = [Finish(job.id, job.lease, Status.COMPLETED, 200, b"{}", 60, (NOTE,)) for job in held[:7]]
    given_back = [Release(job.id, job.lease, 0.0, 1, 0, notes=(NOTE,)) for job in held[7:]]

    outcomes = await store.record([*ended, *given_back])

    assert [outcome for outcome in outcomes if outcome is not True] == [outcomes[4]]
    assert isinstance(outcomes[4], StoreUnavailable)
    states = {each["_id"]: each["status"] async for each in database.jobs.find({})}
    assert states.pop(damaged) == "processing"
    assert sorted(states.values()) == ["completed"] * 6 + ["pending"] * 2
    assert not await database.jobs.count_documents({"_record": {"$exists": True}}), "what only a move needs is not kept"
