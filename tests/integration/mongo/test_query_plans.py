"""What is asked most is answered by its index: what a sweep and a claim really send, as the database explains it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from shared.domain.catalogue import BY_TYPE
from shared.domain.job import NewJob
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import new_job

TYPES = {request_type.modality: name for name, request_type in BY_TYPE.items()}
_NOT_OF_THE_COMMAND = {"lsid", "$clusterTime", "$db", "writeConcern", "readConcern", "maxTimeMS", "txnNumber"}


async def submitted(store: MongoStore, count: int) -> list[NewJob]:
    """Jobs of all modalities, due for a minute, each since a moment of its own."""
    jobs = []
    for place in range(count):
        modality = list(TYPES)[place % len(TYPES)]
        job = new_job(store.now() - timedelta(milliseconds=60_000 + place))
        jobs.append(msgspec.structs.replace(job, modality=modality, request_type=TYPES[modality]))
    await store.submit([(job, None) for job in jobs])
    return jobs


@asynccontextmanager
async def overheard(database: Database, settings: Settings) -> AsyncIterator[list[dict[str, Any]]]:
    """The plans of all that is asked about jobs meanwhile, as a command each; to be read afterwards."""
    plans: list[dict[str, Any]] = []
    await database.raw.command("profile", 2)
    try:
        yield plans
    finally:
        await database.raw.command("profile", 0)
    asked = (
        await database.raw["system.profile"]
        .find({"ns": f"{settings.mongodb_database}.jobs", "op": {"$ne": "getmore"}})
        .to_list()
    )
    for each in asked:
        command = {name: value for name, value in each["command"].items() if name not in _NOT_OF_THE_COMMAND}
        if each["op"] == "update":  # the profile has the statement, without the command around it
            command = {"update": "jobs", "updates": [command]}
        explained = await database.raw.command(
            "explain", command, verbosity="queryPlanner", codec_options=database.raw.codec_options
        )
        plans.append(explained)


def parts(plan: Any) -> Iterator[dict[str, Any]]:
    """Every object of a chosen plan, those of its unions too; what was asked and what was rejected are left out."""
    if isinstance(plan, dict):
        yield plan
        for name, value in plan.items():
            if name not in ("command", "parsedQuery", "rejectedPlans", "serverParameters"):
                yield from parts(value)
    elif isinstance(plan, list):
        for each in plan:
            yield from parts(each)


def indexes(plan: dict[str, Any]) -> set[str]:
    """The indexes that a plan goes through."""
    return {part["indexName"] for part in parts(plan) if "indexName" in part}


def blocking(plan: dict[str, Any]) -> set[str]:
    """What in a plan reads all before it answers anything, or reads all documents."""
    stages = {str(part["stage"]) for part in parts(plan) if "stage" in part}
    return (stages & {"SORT", "COLLSCAN"}) | {"$sort" for part in parts(plan) if "$sort" in part}


@pytest.mark.parametrize("suspects", [True, False])
async def test_every_line_of_a_sweep_comes_from_the_index_of_what_is_due_already_in_order(
    database: Database, settings: Settings, store: MongoStore, suspects: bool
) -> None:
    await submitted(store, 600)
    async with overheard(database, settings) as plans:
        for limit in (60, 6000):
            assert await store.due(list(TYPES), limit=limit, takeover_after=0.0, suspects=suspects)
    assert len(plans) >= 3, "lines with much in them are read from their middle too"
    for plan in plans:
        scans = [part for part in parts(plan) if part.get("stage") == "IXSCAN"]
        assert len(scans) >= len(TYPES), "a scan for each line"
        assert (indexes(plan), blocking(plan)) == ({"due"}, set())


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_a_claim_goes_by_the_ids_alone(
    database: Database, settings: Settings, store: MongoStore, count: int
) -> None:
    jobs = await submitted(store, 600)
    async with overheard(database, settings) as plans:
        held = await store.claim([job.id for job in jobs[:count]], lease=uuid4(), worker="w", suspects=False)
    assert len(held) == count
    assert plans
    for plan in plans:
        assert (indexes(plan) or {"_id_"}, blocking(plan)) == ({"_id_"}, set())


async def test_a_plan_that_sorts_in_memory_or_reads_everything_would_be_seen(
    database: Database, settings: Settings, store: MongoStore
) -> None:
    await submitted(store, 20)
    async with overheard(database, settings) as plans:
        await database.jobs.find({"modality": "text"}).sort("created_at", 1).to_list()
        union = {"$unionWith": {"coll": "jobs", "pipeline": [{"$sort": {"created_at": 1}}]}}
        cursor = await database.jobs.aggregate([{"$match": {"_id": 1}}, union])
        await cursor.to_list()
    assert [bool(blocking(plan) & {"SORT", "$sort"}) for plan in plans] == [True, True]
    assert all("COLLSCAN" in blocking(plan) for plan in plans)
