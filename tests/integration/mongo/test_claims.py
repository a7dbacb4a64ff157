"""Claims whose answer is lost, and the sweep's look at the index, on a real database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import new_job

_TIMED_OUT = {"errorCode": 50}
_DONE_BUT_UNSURE = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


@contextlib.asynccontextmanager
async def failing(database: Database, times: int, **data: Any) -> AsyncIterator[None]:
    admin = database.client.admin
    await admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)
    try:
        yield
    finally:
        await admin.command("configureFailPoint", "failCommand", mode="off")


@pytest.mark.parametrize(
    ("jobs", "command", "failure"),
    [(5, "find", _TIMED_OUT), (5, "update", _DONE_BUT_UNSURE), (1, "findAndModify", _DONE_BUT_UNSURE)],
)
async def test_a_claim_whose_answer_is_lost_holds_what_it_took(
    database: Database, settings: Settings, jobs: int, command: str, failure: dict[str, Any]
) -> None:
    store = MongoStore(database, settings)
    made = [new_job(store.now()) for _ in range(jobs)]
    await store.submit([(job, None) for job in made])
    async with failing(database, 1, failCommands=[command], **failure):
        held = await store.claim([job.id for job in made], lease=uuid4(), worker="w", suspects=False)
    assert {job.id for job in held} == {job.id for job in made}
    assert {job.crashes for job in held} == {0}
    assert await store.renew({job.id: job.lease for job in held}, ()) == set()


async def test_a_claim_that_did_not_happen_takes_nothing(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    made = [new_job(store.now()) for _ in range(5)]
    await store.submit([(job, None) for job in made])
    async with failing(database, 1, failCommands=["update"], **_TIMED_OUT):
        assert await store.claim([job.id for job in made], lease=uuid4(), worker="w", suspects=False) == []


async def test_the_sweep_reads_no_more_than_it_asks_for_however_many_wait(
    database: Database, settings: Settings
) -> None:
    store = MongoStore(database, settings)
    old = store.now() - timedelta(seconds=60)
    many = [new_job(old) for _ in range(3000)]
    few = [msgspec.structs.replace(new_job(old), modality="text") for _ in range(10)]
    await store.submit([(job, None) for job in (*many, *few)])
    before = await _examined(database)
    found = await store.due(["ocr", "embeddings", "text", "image"], limit=64, takeover_after=0.0)
    examined = await _examined(database) - before
    assert {job.id for job in few} <= {job.id for job in found}
    assert 32 <= len(found) <= 64
    assert examined < 1000


async def _examined(database: Database) -> int:
    status = await database.client.admin.command("serverStatus")
    return int(status["metrics"]["queryExecutor"]["scanned"])
