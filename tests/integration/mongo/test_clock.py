"""What an edge takes for the database's time is the database's, also when the database was away while it asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edge.poll.reader import visible
from shared.domain.job import Finish, NewJob, Status
from shared.domain.store_interface import Accepted
from shared.mongo.connection import client
from shared.mongo.connection.client import Database, connect
from shared.mongo.mongo_store import MongoStore
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from shared.telemetry.health import Health
from tests.support.jobs import eventually, new_job
from tests.support.servers.mongod import MongodSet


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[MongodSet]:
    with MongodSet(tmp_path) as running:
        yield running


async def test_a_comparison_that_waited_for_the_database_moves_nothing(own_mongod: MongodSet) -> None:
    settings = load_settings({"mongodb_uri": own_mongod.uri}, environ={})
    async with connect(settings, role="edge", wait=30) as database:
        own_mongod.freeze()
        reading = asyncio.ensure_future(database.read_clock())
        done, _ = await asyncio.wait([reading], timeout=1.2)
        assert not done, "the database is frozen"
        own_mongod.thaw()
        await reading
        assert abs(database.now() - datetime.now(UTC)) < timedelta(seconds=0.2), "both are this machine's clock"


@pytest.fixture
def hasty_store(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MongoStore:
    """A store whose idea of the database's clock is 3 s ahead."""
    right = database.now
    monkeypatch.setattr(database, "now", lambda: right() + timedelta(seconds=3))
    return MongoStore(database, settings)


async def ended(store: MongoStore, ttl: int) -> NewJob:
    """A job that has ended just now, submitted by an edge whose clock is right."""
    job = new_job(fingerprint=b"a" * 32, result_ttl=ttl)
    assert await store.submit([(job, None)]) == [Accepted()]
    (held,) = await eventually(lambda: store.claim([job.id], lease=uuid4(), worker="w", suspects=False))
    assert await store.record([Finish(job.id, held.lease, Status.COMPLETED, 200, b"{}", ttl)]) == [True]
    return job


async def test_a_result_is_shown_until_its_time_is_up_by_the_databases_clock(hasty_store: MongoStore) -> None:
    job = await ended(hasty_store, 2)
    for view in ((await hasty_store.collect([job.id]))[job.id], await hasty_store.confirm(job.id)):
        assert view is not None
        assert view.expires_at is not None
        assert view.expires_at < hasty_store.now(), "the edge would call it expired"
        assert visible(view, None, "embedding")

    async def expired() -> bool:
        view = (await hasty_store.collect([job.id])).get(job.id)
        return view is None or not visible(view, None, "embedding")

    await eventually(expired)


async def test_nobody_deletes_a_result_before_its_time_is_up_by_the_databases_clock(hasty_store: MongoStore) -> None:
    job = await ended(hasty_store, 2)
    (again,) = await hasty_store.submit([(new_job(job_id=job.id, fingerprint=b"a" * 32), None)])
    assert isinstance(again, Accepted)
    assert again.existing is not None
    assert again.existing.body == b"{}"


async def test_what_a_reaper_declared_full_is_full_by_the_databases_clock(
    hasty_store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = hasty_store.now()
    monkeypatch.setattr(hasty_store._db, "now", lambda: right - timedelta(seconds=60))
    await hasty_store.publish_backpressure({"ocr"})
    monkeypatch.setattr(hasty_store._db, "now", lambda: right + timedelta(seconds=60))
    assert await hasty_store.full() == {"ocr"}


async def test_a_process_that_is_cut_off_from_the_database_is_not_ready_until_it_answers_again(
    own_mongod: MongodSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CLOCK_INTERVAL", 0.1)
    settings = load_settings({"mongodb_uri": own_mongod.uri}, environ={})
    health = Health("worker")
    health.heartbeat()
    async with connect(settings, role="edge", wait=30, health=health):
        assert health.problems() == []
        own_mongod.freeze()
        await eventually(health.problems, within=20)
        own_mongod.thaw()
        await eventually(lambda: health.problems() == [], within=20)
