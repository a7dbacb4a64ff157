"""One outcome per caller of a batch, each produced on a real replica set of three."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import Accepted, Rejected, SubmitOutcome
from shared.domain.target import Target
from shared.mongo.connection.client import Database, connect
from shared.mongo.mongo_store import MongoStore
from shared.mongo.setup import ensure_indexes
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from tests.support.jobs import eventually, new_job
from tests.support.servers.mongod import MongodSet


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongodSet]:
    with MongodSet(tmp_path_factory.mktemp("three"), members=3) as running:
        yield running


@pytest.fixture
def trio_settings(three: MongodSet) -> Settings:
    return load_settings(
        {"mongodb_uri": three.uri, "mongodb_database": f"t{uuid4().hex[:8]}", "mongodb_timeout_seconds": 2.0},
        environ={},
    )


@pytest.fixture
async def trio(three: MongodSet, trio_settings: Settings) -> AsyncIterator[Database]:
    async with connect(trio_settings, role="edge", wait=60) as database:
        await eventually(lambda: _made(database), within=60)
        yield database


async def _made(database: Database) -> bool:
    try:
        await ensure_indexes(database)
    except StoreUnavailable:
        return False
    return True


async def submit(store: MongoStore, count: int = 3) -> tuple[list, list[SubmitOutcome]]:  # type: ignore[type-arg]
    jobs = [new_job(store.now()) for _ in range(count)]
    return jobs, await store.submit([(job, None) for job in jobs])


async def test_one_bad_document_among_good_ones_fails_alone(trio: Database, trio_settings: Settings) -> None:
    store = MongoStore(trio, trio_settings)
    jobs = [new_job(store.now()), new_job(store.now(), targets=(Target("x", "\udfff"),)), new_job(store.now())]
    outcomes = await store.submit([(job, None) for job in jobs])
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False, True, False]
    assert set(await store.collect([job.id for job in jobs])) == {jobs[0].id, jobs[2].id}


async def test_a_duplicate_id_of_our_own_retry_is_success(trio: Database, trio_settings: Settings) -> None:
    store = MongoStore(trio, trio_settings)
    jobs, outcomes = await submit(store)
    again = await store.submit([(jobs[0], None), (new_job(store.now()), None)])
    assert outcomes == [Accepted()] * 3
    assert again == [Accepted(), Accepted()]


async def test_without_a_majority_nobody_is_told_that_he_was_accepted(
    three: MongodSet, trio: Database, trio_settings: Settings
) -> None:
    store = MongoStore(trio, trio_settings)
    secondaries = [member for member in range(3) if member != three.primary()]
    loop = asyncio.get_running_loop()
    started = loop.time()
    for member in secondaries:
        three.freeze(member)
    try:
        with pytest.raises(StoreUnavailable):
            await submit(store)
        assert loop.time() - started < 5
    finally:
        for member in secondaries:
            three.thaw(member)
    await eventually(lambda: _accepts(store), within=30)


async def test_a_timed_out_write_that_was_done_is_found_by_the_same_ids(
    three: MongodSet, trio: Database, trio_settings: Settings
) -> None:
    store = MongoStore(trio, trio_settings)
    jobs = [(new_job(store.now()), None) for _ in range(3)]
    secondaries = [member for member in range(3) if member != three.primary()]
    for member in secondaries:
        three.freeze(member)
    try:
        with pytest.raises(StoreUnavailable):
            await store.submit(jobs)
    finally:
        for member in secondaries:
            three.thaw(member)
    await eventually(lambda: _accepts(store), within=30)
    assert await store.submit(jobs) == [Accepted()] * 3
    assert len(await store.collect([job.id for job, _ in jobs])) == 3


async def test_with_the_primary_gone_submits_fail_fast_and_then_go_on(
    three: MongodSet, trio: Database, trio_settings: Settings
) -> None:
    store = MongoStore(trio, trio_settings)
    jobs, _ = await submit(store)
    gone = three.primary()
    three.kill(gone)
    try:
        await eventually(lambda: _accepts(store), within=30)
        assert len(await store.collect([job.id for job in jobs])) == 3
    finally:
        three.restart(gone)


async def _accepts(store: MongoStore) -> bool:
    try:
        _, outcomes = await submit(store)
    except StoreUnavailable:
        return False
    return outcomes == [Accepted()] * 3
