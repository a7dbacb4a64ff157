"""Every store, and the HTTP API on it: the one in memory and MongoDB."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.http_api import Api, FakeKeys, RealKeys, Store, quick, serve_in_process

STORE_SETTINGS = {"lease_seconds": 1.0, "sweep_grace_seconds": 0.05, "max_crashes": 5}


@pytest.fixture
def fake_store() -> FakeStore:
    return FakeStore(load_settings(STORE_SETTINGS, environ={}), clock=FakeClock(running=True))


@pytest.fixture
async def mongo_store(settings: Settings, database: Database) -> MongoStore:
    return MongoStore(database, msgspec.structs.replace(settings, **STORE_SETTINGS))


@pytest.fixture(params=["fake", "mongo"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


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
