"""Real parts, started once for all tests that ask for them, and a database of its own for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from shared.mongo.connection.client import Database, connect
from shared.mongo.setup import ensure_indexes
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from tests.support.servers.mongod import MongodSet

# A machine that is busy for a moment is no defect; a failing example can be replayed from what is printed.
# The same examples in every CI run, new ones everywhere else: a change is never held up by what it did not do.
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("tests"), max_examples=15)
hypothesis.settings.load_profile("tests")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongodSet]:
    """A one-node replica set for the whole run. Tests that kill or freeze start their own."""
    with MongodSet(tmp_path_factory.mktemp("mongod")) as running:
        yield running


@pytest.fixture
def settings(mongod: MongodSet) -> Settings:
    """Settings for the real database with a name of its own, and times short enough to wait for."""
    return load_settings(
        {
            "mongodb_uri": mongod.uri,
            "mongodb_database": f"test_{os.getpid()}_{next(_numbers)}",
            "lease_seconds": 1.0,
            "sweep_grace_seconds": 0.05,
        },
        environ={},
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """A fresh database with all indexes, dropped afterwards."""
    async with connect(settings, role="operator", wait=30) as database:
        await ensure_indexes(database)
        yield database
        await database.client.drop_database(settings.mongodb_database)
