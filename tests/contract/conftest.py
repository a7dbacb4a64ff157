"""The HTTP API on the store in memory and on MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.mongo.client import Database
from shared.mongo.store import MongoStore
from shared.settings import Settings, load_settings
from tests.support.fake_store import FakeClock, FakeStore
from tests.support.http_api import Api, FakeKeys, RealKeys, quick, serve_in_process


@pytest.fixture
def edge_settings() -> dict[str, object]:
    """What a test module or test overrides."""
    return {}


@pytest.fixture
async def fake_api(edge_settings: dict[str, object]) -> AsyncIterator[Api]:
    settings = quick(load_settings(environ={}), **edge_settings)
    store = FakeStore(settings, FakeClock(running=True))
    async with serve_in_process(store, FakeKeys(store), settings) as api:
        yield api


@pytest.fixture
async def mongo_api(settings: Settings, database: Database, edge_settings: dict[str, object]) -> AsyncIterator[Api]:
    settings = quick(settings, **edge_settings)
    async with serve_in_process(MongoStore(database, settings), RealKeys(database), settings) as api:
        yield api


@pytest.fixture(params=["fake", "mongo"])
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.getfixturevalue(f"{request.param}_api")
    return found
