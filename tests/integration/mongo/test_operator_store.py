"""What operators do with keys and jobs, on a real database."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from shared.domain.content import Content
from shared.domain.job import AttemptRecord, ClaimedJob, Finish, NewJob, Release, Status
from shared.domain.store_interface import INLINE_REQUEST_BYTES
from shared.domain.target import Target
from shared.domain.virtual_keys import PREFIX, hash_secret
from shared.mongo.connection.client import Database
from shared.mongo.edge_store import MongoEdgeStore
from shared.mongo.keys import KeyStore, NameTaken
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import FailedJobs, NotRequeued, OperatorStore
from shared.settings.table import Settings
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


async def test_an_expired_key_opens_nothing_by_the_databases_clock(keys: KeyStore, store: MongoStore) -> None:
    end = store.now() + timedelta(seconds=0.5)
    key, secret = await keys.create("ci", expires_at=end)
    assert key.expires_at == end
    _, lasting = await keys.create("lasting", expires_at=store.now() + timedelta(hours=1))
    assert await store.find_key(hash_secret(lasting)) is not None

    async def closed() -> bool:
        return await store.find_key(hash_secret(secret)) is None

    await eventually(closed)
    assert store.now() >= end
    assert [each.name for each in await keys.list()] == ["ci", "lasting"]


async def test_an_installation_with_expired_keys_alone_has_none_that_works(keys: KeyStore, store: MongoStore) -> None:
    await keys.create("ci", expires_at=store.now() - timedelta(seconds=1))
    assert not await keys.usable()


async def test_a_name_belongs_to_one_key_until_that_is_revoked(keys: KeyStore) -> None:
    key, _ = await keys.create("ci")
    with pytest.raises(NameTaken, match="there is a key called 'ci' already"):
        await keys.create("ci")
    assert await keys.named("ci") == await keys.named(key.id) == key.id
    await keys.revoke(key.id)
    assert await keys.named("ci") is None
    again, _ = await keys.create("ci")
    assert await keys.named("ci") == again.id


async def test_of_keys_made_before_names_were_unique_none_is_changed_by_name(
    keys: KeyStore, database: Database
) -> None:
    one, _ = await keys.create("one")
    other, _ = await keys.create("other")
    await database.keys.update_many({}, {"$set": {"name": "ci"}})
    with pytest.raises(NameTaken, match="several keys are called 'ci'") as said:
        await keys.named("ci")
    assert one.id in str(said.value)
    assert other.id in str(said.value)


async def test_a_key_that_is_not_there_is_neither_revoked_nor_rotated(keys: KeyStore) -> None:
    assert await keys.revoke("$ne") is None
    assert await keys.rotate("nobody") is None
    assert await keys.named("$ne") is None


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
