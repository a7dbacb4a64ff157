"""Chunks that no job points to, on a real database: which they are, how they are found, and who leaves them behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from edge.submit.writer import JobWriter
from shared.domain.job import Finish, NewJob, PayloadRef, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES
from shared.mongo import reaper_store
from shared.mongo.connection.client import Database, connect
from shared.mongo.documents import payloads
from shared.mongo.documents.payloads import OrphanSearch, Owner
from shared.mongo.edge_store import MongoEdgeStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore
from shared.settings.table import Settings
from tests.support.fakes.notifications import FakeNotifications
from tests.support.jobs import eventually, new_job
from workers.reaper import service as reaper

BODY = b"x" * (INLINE_RESULT_BYTES + 1)
OLD = timedelta(hours=2)


async def a_chunk(
    database: Database, job: UUID, lease: UUID | None = None, *, age: timedelta = OLD, ref: PayloadRef | None = None
) -> PayloadRef:
    """One chunk, as if it had been written `age` ago."""
    ref = ref or PayloadRef(uuid4(), len(BODY), 1)
    await payloads.write(database, [payloads.Body(ref, BODY, Owner(job, lease), database.now() + OLD)])
    await database.payloads.update_one({"_id.payload": ref.payload_id}, {"$set": {"written_at": database.now() - age}})
    return ref


async def a_job(store: MongoStore, ref: PayloadRef | None = None) -> NewJob:
    job = new_job(store.now() - timedelta(seconds=1))
    await store.submit([(job, ref)])
    return job


async def held(store: MongoStore, job: NewJob) -> UUID:
    lease = uuid4()
    assert await store.claim([job.id], lease=lease, worker="w", suspects=False)
    return lease


async def left(database: Database) -> set[UUID]:
    documents = await database.payloads.find({}, {"_id": True}).to_list()
    return {document["_id"]["payload"] for document in documents}


async def _request_of(store: MongoStore, status: Status | None) -> PayloadRef:
    ref = await a_chunk(store._db, (job := new_job(store.now() - timedelta(seconds=1))).id)
    await store.submit([(job, ref)])
    if status is not None:
        code = 200 if status is Status.COMPLETED else 500
        assert await store.record([Finish(job.id, await held(store, job), status, code, b"{}", 60)]) == [True]
    return ref


async def _result_under(store: MongoStore, *, same_lease: bool) -> PayloadRef:
    job = await a_job(store)
    lease = await held(store, job)
    return await a_chunk(store._db, job.id, lease if same_lease else uuid4())


async def _recorded_result(store: MongoStore) -> PayloadRef:
    job = await a_job(store)
    record = Finish(job.id, await held(store, job), Status.COMPLETED, 200, BODY, 60)
    assert await store.record([record]) == [True]
    ref = payloads.result_ref(record)
    await store._db.payloads.update_one({"_id.payload": ref.payload_id}, {"$set": {"written_at": store.now() - OLD}})
    return ref


async def _of_a_newer_version(store: MongoStore) -> PayloadRef:
    job = await a_job(store)
    await store._db.jobs.update_one({"_id": job.id}, {"$set": {"v": 99}})
    return await a_chunk(store._db, job.id)


async def _of_an_odd_job(store: MongoStore) -> PayloadRef:
    job = await a_job(store)
    odd = {"$set": {"status": {"a": 1}, "request": 7, "lease": []}, "$unset": {"v": True}}
    await store._db.jobs.update_one({"_id": job.id}, odd)
    return await a_chunk(store._db, job.id)


async def _odd_itself(store: MongoStore) -> PayloadRef:
    ref = PayloadRef(uuid4(), 1, 1)
    for odd in ({"payload": ref.payload_id}, {"payload": ref.payload_id, "n": 0, "more": []}):
        document = {"_id": odd, "job": {"not": ["an id"]}, "written_at": store.now() - OLD}
        await store._db.payloads.insert_one(document)
    return ref


Case = Callable[[MongoStore], Awaitable[PayloadRef]]
CASES: dict[str, tuple[Case, bool]] = {
    "a request whose submit was killed": (lambda store: a_chunk(store._db, uuid4()), True),
    "a request that is new": (lambda store: a_chunk(store._db, uuid4(), age=timedelta()), False),
    "the request of a job that waits": (lambda store: _request_of(store, None), False),
    "the request of a failed job": (lambda store: _request_of(store, Status.FAILED), False),
    "the request of a completed job": (lambda store: _request_of(store, Status.COMPLETED), True),
    "the result of a lease that runs": (lambda store: _result_under(store, same_lease=True), False),
    "the result of another lease": (lambda store: _result_under(store, same_lease=False), True),
    "the result of a completed job": (_recorded_result, False),
    "the result of a job that is gone": (lambda store: a_chunk(store._db, uuid4(), uuid4()), False),
    "what a newer version may point to": (_of_a_newer_version, False),
    "what a job that cannot be read may point to": (_of_an_odd_job, False),
    "a chunk that cannot be read": (_odd_itself, False),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_chunk_is_removed_when_no_job_points_to_it_nor_ever_will(
    name: str, store: MongoStore, database: Database
) -> None:
    case, orphaned = CASES[name]
    ref = await case(store)
    removed = await store.remove_orphans(100)
    assert (removed.chunks, removed.finished) == (int(orphaned), True)
    assert (ref.payload_id in await left(database)) is not orphaned


async def test_all_chunks_are_gone_through_in_batches_and_then_again(store: MongoStore, database: Database) -> None:
    for number in range(7):
        await a_chunk(database, uuid4(), age=OLD + timedelta(seconds=number))
    kept = [await _request_of(store, None) for _ in range(3)]
    rounds = [await store.remove_orphans(3) for _ in range(8)]
    assert sum(each.chunks for each in rounds) == 7
    assert any(each.finished for each in rounds)
    assert await left(database) == {ref.payload_id for ref in kept}
    await a_chunk(database, uuid4(), age=OLD + OLD)
    assert await eventually(lambda: _removes(store)), "a new round begins where the first one did"


async def _removes(store: MongoStore) -> bool:
    return (await store.remove_orphans(3)).chunks == 1


async def test_chunks_of_one_millisecond_are_all_looked_at(store: MongoStore, database: Database) -> None:
    moment = database.now() - OLD
    for _ in range(7):
        ref = await a_chunk(database, uuid4())
        await database.payloads.update_one({"_id.payload": ref.payload_id}, {"$set": {"written_at": moment}})
    older = await a_chunk(database, uuid4(), age=OLD + OLD)
    for _ in range(6):
        await store.remove_orphans(4)
    assert await left(database) == set(), older


async def test_looking_for_orphans_reads_no_body(database: Database, store: MongoStore) -> None:
    await a_chunk(database, uuid4())
    search = OrphanSearch(database)
    await database.raw.command({"profile": 2})
    try:
        await search.next(100, database.now())
        profiled = await database.raw["system.profile"].find({"ns": f"{database.raw.name}.payloads"}).to_list()
    finally:
        await database.raw.command({"profile": 0})
    (query,) = [each for each in profiled if each.get("command", {}).get("find") == "payloads"]
    assert (query["keysExamined"], query["docsExamined"]) == (1, 0)


async def test_a_chunk_written_again_while_it_is_taken_for_an_orphan_stays(
    database: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(store.now(), body=BODY)
    ref = await a_chunk(database, job.id, ref=payloads.request_ref(job))
    search = OrphanSearch(database)
    looked = search.next

    async def meanwhile(limit: int, border: datetime) -> tuple[list[dict[str, object]], bool]:
        found = await looked(limit, border)
        assert await store.save_request(job, ref) == ref
        return found

    monkeypatch.setattr(search, "next", meanwhile)
    assert await search.remove(100, timedelta(minutes=1)) == (0, True)
    assert await store.load(ref) == BODY


async def test_a_request_outlives_every_moment_at_which_its_failed_job_can_be_seen(
    database: Database, store: MongoStore
) -> None:
    job = new_job(store.now(), body=BODY, deadline=60, result_ttl=30 * 86400)
    await store.save_request(job)
    (chunk,) = await database.payloads.find().to_list()
    assert chunk["expires_at"] > job.deadline_at + timedelta(seconds=job.result_ttl, hours=23)


async def test_a_result_tried_again_after_an_outage_lives_as_long_as_its_job(
    database: Database, store: MongoStore
) -> None:
    job = await a_job(store)
    record = Finish(job.id, await held(store, job), Status.COMPLETED, 200, BODY, 60)
    old = payloads.Body(payloads.result_ref(record), BODY, Owner(job.id, record.lease), database.now() - OLD)
    await payloads.write(database, [old])
    assert await store.record([record]) == [True]
    view = (await store.collect([job.id]))[job.id]
    (chunk,) = await database.payloads.find().to_list()
    assert view.expires_at is not None
    assert chunk["expires_at"] >= view.expires_at


async def test_an_operator_sees_old_orphans_and_deletes_none(database: Database, store: MongoStore) -> None:
    for age in (timedelta(), timedelta(minutes=30), OLD):
        await a_chunk(database, uuid4(), age=age)
    await _request_of(store, None)
    operator = OperatorStore(database)
    assert [await operator.orphaned_chunks(seconds) for seconds in (0, 60, 3600, 86400)] == [3, 2, 1, 0]
    assert len(await left(database)) == 4


# Each is run in a process of its own, which kills itself at the worst moment.


async def _killed_before_the_job_is_stored(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    _die_at(MongoEdgeStore, "submit")
    await JobWriter(store, FakeNotifications().publisher()).take(new_job(store.now(), body=BODY, fingerprint=b"f" * 32))


async def _killed_before_the_outcome_is_recorded(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    job = await a_job(store)
    _die_at(MongoStore, "_changed")
    await store.record([Finish(job.id, await held(store, job), Status.COMPLETED, 200, BODY, 60)])


async def _killed_before_the_request_is_deleted(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    job = new_job(store.now() - timedelta(seconds=1), body=BODY)
    ref = await store.save_request(job)
    await store.submit([(job, ref)])
    _die_at(MongoStore, "_drop_bodies")
    record = Finish(job.id, await held(store, job), Status.COMPLETED, 200, b"{}", 60)
    await store.record([replace(record, request=ref)])


def _die_at(kind: type, verb: str) -> None:
    async def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(kind, verb, die)


def _in_a_process(scenario: Callable[[Database, Settings], Awaitable[None]], settings: Settings) -> None:
    async def run() -> None:
        async with connect(settings, role="worker") as database:
            await scenario(database, settings)

    asyncio.run(run())


@pytest.mark.parametrize(
    "scenario",
    [
        _killed_before_the_job_is_stored,
        _killed_before_the_outcome_is_recorded,
        _killed_before_the_request_is_deleted,
    ],
)
async def test_what_a_killed_process_leaves_behind_is_removed_and_the_job_can_go_on(
    scenario: Callable[[Database, Settings], Awaitable[None]],
    store: MongoStore,
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_in_a_process, args=(scenario, settings))
    process.start()
    await eventually(lambda: not process.is_alive(), within=30)
    assert process.exitcode == -signal.SIGKILL
    assert len(await left(database)) == 1
    monkeypatch.setattr(reaper_store, "UNOWNED_SECONDS", 0)
    for job in await database.jobs.find({"status": "processing"}).to_list():
        await database.jobs.update_one({"_id": job["_id"]}, {"$set": {"wake_at": store.now() - OLD}})
        assert not (await store.remove_orphans(100)).chunks, "its worker may only be slow"
        assert await store.claim([job["_id"]], lease=uuid4(), worker="w", suspects=False)
    assert await reaper._next_batch(store) > 0
    assert await left(database) == set()
