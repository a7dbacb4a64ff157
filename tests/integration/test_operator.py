"""What operators do with keys and jobs, on a real database."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from shared.content import Content
from shared.job import AttemptNote, ClaimedJob, Finish, NewJob, Release, Status
from shared.mongo.client import Database
from shared.mongo.keys import KeyStore
from shared.mongo.operator import NotRequeued, OperatorStore
from shared.mongo.store import MongoStore
from shared.providers import Target
from shared.settings import Settings
from shared.virtual_keys import PREFIX, hash_secret
from tests.support.jobs import BODY, eventually, new_job

ERROR = b'{"is_bifrost_error":false,"status_code":500,"error":{"message":"the upstream said sk-bf-S3CR3TS3CR3T"}}'


@pytest.fixture
def store(database: Database, settings: Settings) -> MongoStore:
    return MongoStore(database, settings)


@pytest.fixture
def operator(database: Database) -> OperatorStore:
    return OperatorStore(database)


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


def moment_ago(store: MongoStore) -> datetime:
    """Safely in the past by the database's clock, so that a job made now can be claimed now."""
    return store.now() - timedelta(seconds=1)


async def end(
    store: MongoStore, job: NewJob, status: Status, body: bytes = ERROR, content: Content | None = None
) -> None:
    """Submit a job, claim it and end it."""
    ref = await store.save_request(content, job.deadline_at) if content else None
    await store.submit([(job, ref)])
    lease = uuid4()
    (claimed,) = await store.claim([job.id], lease=lease, worker="worker-1", suspects=False)
    note = AttemptNote("worker-1", "openai", "succeeded", 41, "req_upstream")
    finish = Finish(job.id, claimed.lease, status, 200 if status is Status.COMPLETED else 500, body, 60, (note,))
    assert await store.record([finish]) == [True]


async def claim_soon(store: MongoStore, job_id: UUID) -> ClaimedJob:
    """Claim a job that was made this very moment: by the database's clock it may be due in a millisecond only."""

    async def claim() -> list[ClaimedJob]:
        return await store.claim([job_id], lease=uuid4(), worker="worker-2", suspects=False)

    found: list[ClaimedJob] = await eventually(claim)
    return found[0]


async def test_a_new_key_opens_the_door_at_once_and_its_secret_is_not_stored(
    keys: KeyStore, store: MongoStore, database: Database
) -> None:
    key, secret = await keys.create("ci", ["openai/*"])
    assert secret.startswith(PREFIX)
    assert secret.endswith(key.hint)
    assert await store.find_key(hash_secret(secret)) == key
    assert secret not in str(await database.keys.find().to_list())


async def test_secrets_do_not_repeat_and_are_long_enough(keys: KeyStore) -> None:
    secrets = [(await keys.create(f"key {number}"))[1] for number in range(20)]
    assert len(set(secrets)) == 20
    assert min(map(len, secrets)) >= len(PREFIX) + 43


async def test_a_revoked_key_opens_nothing_and_stays_in_the_list(keys: KeyStore, store: MongoStore) -> None:
    key, secret = await keys.create("ci")
    assert await keys.usable()
    revoked = await keys.revoke(key.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert await keys.revoke(key.id) == revoked, "the time of the first revocation counts"
    assert await store.find_key(hash_secret(secret)) is None
    assert await keys.list() == [revoked]
    assert not await keys.usable()
    assert await keys.rotate(key.id) is None, "a revoked key is revoked for ever"


async def test_a_rotated_key_keeps_its_identity_and_loses_its_old_secret(keys: KeyStore, store: MongoStore) -> None:
    key, old = await keys.create("ci", ["local/minilm"])
    rotated = await keys.rotate(key.id)
    assert rotated is not None
    again, new = rotated
    assert (again.id, again.name, again.models) == (key.id, key.name, key.models)
    assert await store.find_key(hash_secret(old)) is None
    assert await store.find_key(hash_secret(new)) == again


async def test_a_key_that_is_not_there_is_neither_revoked_nor_rotated(keys: KeyStore) -> None:
    assert await keys.revoke("$ne") is None
    assert await keys.rotate("nobody") is None


async def test_a_name_is_stored_as_it_is_even_when_it_looks_like_an_expression(keys: KeyStore) -> None:
    key, _ = await keys.create("$hash", ["$$NOW"])
    await keys.rotate(key.id)
    (listed,) = await keys.list()
    assert (listed.name, listed.models) == ("$hash", ("$$NOW",))


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
    ref = await store.save_request(Content("json", b"x" * 100_000), job.deadline_at)
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


async def test_requeueing_at_the_same_time_makes_whole_copies(operator: OperatorStore, store: MongoStore) -> None:
    job = new_job(moment_ago(store))
    await end(store, job, Status.FAILED)
    copies = [copy.id for copy in await asyncio.gather(*(operator.requeue(job.id) for _ in range(5)))]
    assert len(set(copies)) == 5
    assert set(await store.collect(copies)) == set(copies)
