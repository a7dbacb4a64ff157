"""A document of a newer version: left alone by who does not understand it, and in nobody's way."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import new_job


async def test_a_backlog_of_a_newer_version_hides_no_job_from_the_sweep_and_is_not_claimed(
    database: Database, settings: Settings
) -> None:
    store = MongoStore(database, settings)
    past = store.now() - timedelta(seconds=5)
    newer, ours = [new_job(past) for _ in range(50)], new_job(past + timedelta(seconds=2))
    await store.submit([(job, None) for job in [*newer, ours]])
    of_newer = {"_id": {"$in": [job.id for job in newer]}}
    await database.jobs.update_many(of_newer, {"$set": {"v": 99}})

    due = await store.due(["embeddings"], limit=10, takeover_after=0.0)
    assert [job.id for job in due] == [ours.id]
    claimed = await store.claim([job.id for job in [*newer, ours]], lease=uuid4(), worker="w", suspects=False)
    assert [job.id for job in claimed] == [ours.id]
    assert await database.jobs.count_documents({**of_newer, "status": "pending"}) == 50
