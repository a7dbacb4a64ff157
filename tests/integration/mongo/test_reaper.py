"""The reaper on a real database: it ends what is overdue, looks at nothing else, and says when it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.mongo.connection.client import Database, connect
from shared.mongo.mongo_store import MongoStore
from shared.mongo.setup import ensure_indexes
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from shared.telemetry.health import Health
from tests.support.gauges import shown
from tests.support.jobs import eventually, new_job
from tests.support.servers.mongod import MongodSet
from workers.reaper import service
from workers.reaper.service import explain


async def submitted(store: MongoStore, count: int, deadline: float) -> None:
    """Jobs that have been due for a minute, each since a moment of its own."""
    past = [store.now() - timedelta(milliseconds=60_000 + place) for place in range(count)]
    outcomes = await store.submit([(new_job(each, deadline=deadline), None) for each in past])
    assert len(outcomes) == count


async def test_a_pass_goes_on_until_nothing_is_overdue(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    await submitted(store, 2500, deadline=30)
    await submitted(store, 3, deadline=3600)
    assert await store.expire(500, explain) == {"deadline": 2500}
    assert await database.jobs.count_documents({"status": "pending"}) == 3


async def test_two_reapers_that_meet_end_all_and_none_twice(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    await submitted(store, 1200, deadline=30)
    ended = await asyncio.gather(*(store.expire(100, explain) for _ in range(2)))
    assert sum(each.get("deadline", 0) for each in ended) == 1200


async def test_ending_what_is_overdue_looks_at_nothing_else(database: Database, settings: Settings) -> None:
    store = MongoStore(database, settings)
    await submitted(store, 3000, deadline=3600)
    await submitted(store, 2, deadline=30)
    await database.raw.command("profile", 2)
    try:
        assert await store.expire(1000, explain) == {"deadline": 2}
    finally:
        await database.raw.command("profile", 0)
    looked = await database.raw["system.profile"].find({"ns": f"{settings.mongodb_database}.jobs"}).to_list()
    assert looked
    assert max(each.get("docsExamined", 0) for each in looked) <= 4
    assert max(each.get("keysExamined", 0) for each in looked) <= 100


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[MongodSet]:
    with MongodSet(tmp_path) as running:
        yield running


async def test_a_reaper_whose_database_hangs_shows_no_counts_and_is_not_ready_until_it_answers_again(
    own_mongod: MongodSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STALE_SECONDS", 1.0)
    settings = load_settings({"mongodb_uri": own_mongod.uri, "reaper_interval_seconds": 0.2}, environ={})
    async with connect(settings, role="operator", wait=30) as database:
        await ensure_indexes(database)
    stop, health = asyncio.Event(), Health("reaper")
    reaper = asyncio.ensure_future(service.run_reaper(settings, stop, health))
    try:
        await eventually(lambda: shown() and not health.problems())
        own_mongod.freeze()
        await eventually(lambda: health.problems() and not shown(), within=20)
        assert health.stalled() == []
        own_mongod.thaw()
        await eventually(lambda: shown() and not health.problems(), within=30)
    finally:
        own_mongod.thaw()
        stop.set()
        await reaper
