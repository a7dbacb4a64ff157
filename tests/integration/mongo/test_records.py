"""Outcomes in batches: each job gets its own, however large, and whatever happens to its neighbours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from shared.domain.errors import StoreUnavailable
from shared.domain.job import AttemptRecord, ClaimedJob, Finish, PayloadRef, Record, Release, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES, WorkerStore
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import eventually, new_job
from workers.answer_memory_budget import AnswerMemory
from workers.execution import result_writer
from workers.execution.result_writer import ResultWriter

NOTE = AttemptRecord("w", "openai", "ok", 12)


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

    assert outcomes == [True] * 4 + [False] + [True] * 4, "the damaged one is set aside, no longer anybody's"
    states = {each["_id"]: each["status"] async for each in database.jobs.find({})}
    assert states.pop(damaged) == "failed"
    assert sorted(states.values()) == ["completed"] * 6 + ["pending"] * 2
    assert not await database.jobs.count_documents({"_record": {"$exists": True}}), "what only a move needs is not kept"


async def _inserts(database: Database) -> int:
    """How many insert commands the database has seen."""
    status = await database.client.admin.command("serverStatus")
    return int(status["metrics"]["commands"]["insert"]["total"])


async def _held(store: MongoStore, count: int, lease: UUID) -> list[ClaimedJob]:
    jobs = [new_job(store.now()) for _ in range(count)]
    await store.submit([(job, None) for job in jobs])
    ids = [job.id for job in jobs]
    claimed: list[ClaimedJob] = []
    while len(claimed) < count:
        claimed += await store.claim(ids, lease=lease, worker="w", suspects=False)
    return claimed


def _ended(job: ClaimedJob, size: int) -> Finish:
    """A result that says whose it is from its first byte to its last."""
    body = (job.id.bytes + job.lease.bytes) * (size // 32 + 1)
    return Finish(job.id, job.lease, Status.COMPLETED, 200, body[:size], 60, (NOTE,))


async def _stored(store: MongoStore, job_id: UUID) -> bytes | None:
    body = (await store.collect([job_id]))[job_id].body
    return await store.load(body) if isinstance(body, PayloadRef) else body


async def test_the_large_results_of_a_batch_are_stored_by_one_insert(database: Database) -> None:
    store = MongoStore(database, Settings())
    held = await _held(store, 40, uuid4())
    before = await _inserts(database)
    assert await store.record([_ended(job, INLINE_RESULT_BYTES + 1) for job in held]) == [True] * 40
    assert await _inserts(database) == before + 1
    assert await database.payloads.count_documents({}) == 40


async def test_no_outcome_is_recorded_before_its_large_result_is_stored(database: Database) -> None:
    store, admin = MongoStore(database, Settings()), database.client.admin
    record = _ended((await _held(store, 1, uuid4()))[0], INLINE_RESULT_BYTES + 1)
    refuse = {"failCommands": ["insert"], "errorCode": 100, "appName": "coatcheck-operator"}
    await admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": refuse})
    try:
        with pytest.raises(StoreUnavailable):
            await store.record([record])
    finally:
        await admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    stored = await database.jobs.find_one({"_id": record.job_id})
    assert stored is not None
    assert stored["status"] == "processing"
    assert await store.record([record]) == [True]
    assert await _stored(store, record.job_id) == record.body


async def test_a_vector_of_3072_numbers_lies_in_its_job(database: Database) -> None:
    store = MongoStore(database, Settings())
    held = await _held(store, 1, uuid4())
    vector = b"[" + b",".join([b"-0.012345678901234567"] * 3072) + b"]"
    assert await store.record([Finish(held[0].id, held[0].lease, Status.COMPLETED, 200, vector, 60)]) == [True]
    assert await database.payloads.count_documents({}) == 0
    assert await _stored(store, held[0].id) == vector


class _Unsteady:
    """A store that fails at random: before it has written a batch, or after it."""

    def __init__(self, store: MongoStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        if self._rng.random() < 0.3:
            raise StoreUnavailable("not written")
        written = await self._store.record(records)
        if self._rng.random() < 0.3:
            raise StoreUnavailable("written, but nobody was told")
        return written


@pytest.mark.parametrize("seed", range(4))
async def test_no_job_ever_gets_the_result_of_another_or_of_a_lease_it_lost(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_writer, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(result_writer, "_LONGEST_WAIT", 0.01)
    rng = random.Random(seed)
    store = MongoStore(database, Settings(lease_seconds=1.0, max_crashes=50))
    lost = await _held(store, 20, uuid4())
    held = [*await _held(store, 100, uuid4()), *await _taken_over(store, lost)]
    sizes = [10, 5000, INLINE_RESULT_BYTES, INLINE_RESULT_BYTES + 1, 300_000, 9_000_000]
    weights = [30, 30, 20, 40, 10, 1]
    records = [_ended(job, size) for job, size in zip(held, rng.choices(sizes, weights, k=len(held)), strict=True)]
    late = [_ended(job, rng.choices(sizes, weights)[0]) for job in lost]
    both = [*records, *late]
    rng.shuffle(both)

    unsteady: WorkerStore = _Unsteady(store, rng)  # type: ignore[assignment]
    recording = ResultWriter(unsteady, AnswerMemory(1 << 30))
    outcomes = dict(zip(map(id, both), await asyncio.gather(*map(recording.record, both)), strict=True))

    assert all(outcomes[id(record)] for record in records)
    assert not any(outcomes[id(record)] for record in late)
    for record in records:
        assert await _stored(store, record.job_id) == record.body
    assert not await database.payloads.count_documents({"expires_at": {"$exists": False}}), "what is left over expires"


async def _taken_over(store: MongoStore, lost: Sequence[ClaimedJob]) -> list[ClaimedJob]:
    """The same jobs under another lease, once theirs has run out."""
    ids = [job.id for job in lost]
    lease, taken = uuid4(), list[ClaimedJob]()

    async def all_of_them() -> list[ClaimedJob] | None:
        taken.extend(await store.claim(ids, lease=lease, worker="v", suspects=False))
        return taken if len(taken) == len(ids) else None

    return await eventually(all_of_them)
