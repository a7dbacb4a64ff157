"""Both forms of each rule of what is due find the same jobs: the one that decides and the one for an index."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest_asyncio

from shared.domain.catalogue import MODALITIES
from shared.domain.job import DOCUMENT_VERSION, LIVE, Status
from shared.mongo.connection.client import Database
from shared.mongo.documents import claim_rules

SEED = 20_260_711
MAX_CRASHES = 5
LIVE = [Status(status) for status in LIVE]


def random_job(rng: random.Random, moment: datetime) -> dict[str, Any]:
    """A job in any state, due and overdue or not; nothing is within ten seconds of now."""
    fields: dict[str, Any] = {
        "v": rng.choice([DOCUMENT_VERSION, DOCUMENT_VERSION, DOCUMENT_VERSION + 1]),
        "modality": rng.choice(list(MODALITIES)),
        "status": rng.choice([status.value for status in Status]),
        "deadline_at": moment + timedelta(seconds=rng.choice([-60, 60, 60])),
        "wake_at": moment + timedelta(seconds=rng.choice([-60, -10, 60])),
        "crashes": rng.randrange(MAX_CRASHES + 2),
    }
    if rng.random() < 0.3:
        del fields["crashes"]
    if fields["status"] not in LIVE:
        del fields["wake_at"]
    if fields["status"] == Status.PROCESSING.value:
        fields["lease"] = rng.choice([{}, {"began": True}, {"began": False}])
    return {"_id": uuid4(), **fields}


@pytest_asyncio.fixture
async def jobs(database: Database) -> Database:
    """Two thousand jobs of all kinds."""
    print(f"seed {SEED}")
    rng, moment = random.Random(SEED), datetime.now(UTC)
    await database.jobs.insert_many([random_job(rng, moment) for _ in range(2000)])
    return database


async def ids(database: Database, *queries: claim_rules.Filter) -> set[Any]:
    """The jobs that match any of the queries."""
    found = [await database.jobs.find(query, {"_id": True}).to_list() for query in queries]
    return {document["_id"] for documents in found for document in documents}


def sweep(*, suspects: bool) -> list[claim_rules.Filter]:
    now = datetime.now(UTC)
    return [
        claim_rules.claimable_query(modality, status, now, now, MAX_CRASHES, suspects=suspects)
        for modality in MODALITIES
        for status in (Status.PENDING, Status.PROCESSING)
    ]


async def test_the_sweep_finds_what_a_claim_takes(jobs: Database) -> None:
    usual = await ids(jobs, claim_rules.claimable(MAX_CRASHES, suspects=False))
    suspects = await ids(jobs, claim_rules.claimable(MAX_CRASHES, suspects=True))
    assert len(usual) > 50
    assert len(suspects) > 50
    assert not usual & suspects
    assert await ids(jobs, *sweep(suspects=False)) == usual
    assert await ids(jobs, *sweep(suspects=True)) >= usual | suspects


async def test_the_reaper_finds_what_it_may_expire(jobs: Database) -> None:
    now = datetime.now(UTC)
    found = await ids(jobs, claim_rules.late_query(now), claim_rules.out_of_crashes_query(now, MAX_CRASHES, MODALITIES))
    assert len(found) > 50
    assert found == await ids(jobs, claim_rules.overdue(MAX_CRASHES))


async def test_no_job_is_both_claimable_and_overdue(jobs: Database) -> None:
    claimable = [claim_rules.claimable(MAX_CRASHES, suspects=suspects) for suspects in (False, True)]
    assert not await ids(jobs, *claimable) & await ids(jobs, claim_rules.overdue(MAX_CRASHES))
