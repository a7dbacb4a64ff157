"""What an operator is told about one job and about those that failed, on a real database."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec

from shared.domain.content import Content
from shared.domain.job import Status
from shared.domain.target import Target
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore
from tests.integration.mongo.operated_jobs import end, moment_ago
from tests.support.jobs import BODY, new_job


async def test_a_history_tells_everything_but_the_bodies(operator: OperatorStore, store: MongoStore) -> None:
    job = new_job(moment_ago(store), targets=(Target("openai", "m"), Target("groq", "n")), key_id="k1")
    await end(store, job, Status.COMPLETED, b'{"secret answer":1}')
    history = await operator.history(job.id)
    assert history is not None
    assert history["status"] == "completed"
    assert history["targets"] == ["openai/m", "groq/n"]
    assert history["last_claim"]["worker"] == "worker-1"
    (attempt,) = history["attempts"]
    assert attempt["due"] <= attempt["claimed"] <= attempt["recorded"] == history["completed_at"]
    assert (
        attempt.items()
        >= {
            "worker": "worker-1",
            "provider": "openai",
            "outcome": "succeeded",
            "milliseconds": 41,
            "upstream_request_id": "req_upstream",
        }.items()
    )
    assert history["result_bytes"] == len(b'{"secret answer":1}')
    assert history["created_at"] == job.created_at
    assert history["expires_at"] > history["completed_at"] >= history["created_at"]
    assert "secret answer" not in str(history)
    assert "the cat sat" not in str(history)


async def test_a_job_that_waits_has_a_history_too(operator: OperatorStore, store: MongoStore) -> None:
    job = new_job(moment_ago(store))
    await store.submit([(job, None)])
    history = await operator.history(job.id)
    assert history is not None
    assert (history["status"], history["claims"], history["attempts"]) == ("pending", 0, [])
    assert history["request_bytes"] == len(BODY)
    assert "completed_at" not in history


async def test_a_large_body_is_measured_without_being_read(operator: OperatorStore, store: MongoStore) -> None:
    job = new_job(moment_ago(store), body=b"")
    ref = await store.save_request(msgspec.structs.replace(job, content=Content("json", b"x" * 100_000)))
    await store.submit([(job, ref)])
    history = await operator.history(job.id)
    assert history is not None
    assert history["request_bytes"] == 100_000


async def test_an_unknown_job_has_no_history(operator: OperatorStore) -> None:
    assert await operator.history(uuid4()) is None


async def test_failed_jobs_are_listed_with_their_reason_and_without_secrets(
    operator: OperatorStore, store: MongoStore
) -> None:
    failed, completed, waiting = (new_job(moment_ago(store)) for _ in range(3))
    await end(store, failed, Status.FAILED)
    await end(store, completed, Status.COMPLETED)
    await store.submit([(waiting, None)])
    (listed,) = await operator.failed_jobs()
    assert UUID(listed["id"]) == failed.id
    assert listed["target"] == "openai/m"
    assert listed["status_code"] == 500
    assert listed["error"] == "the upstream said sk-<redacted>"


async def test_failed_jobs_that_expired_are_not_listed(
    operator: OperatorStore, store: MongoStore, database: Database
) -> None:
    job = new_job(moment_ago(store))
    await end(store, job, Status.FAILED)
    past = store.now() - timedelta(seconds=1)
    await database.jobs.update_one({"_id": job.id}, {"$set": {"expires_at": past}})
    assert await operator.failed_jobs() == []


async def test_the_list_of_failed_jobs_is_bounded(operator: OperatorStore, store: MongoStore) -> None:
    for _ in range(4):
        await end(store, new_job(moment_ago(store)), Status.FAILED)
    assert len(await operator.failed_jobs(3)) == 3
