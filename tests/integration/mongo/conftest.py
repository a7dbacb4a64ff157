"""The store, and what operators work with, on the database of each test."""

from __future__ import annotations

import pytest

from shared.mongo.connection.client import Database
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore
from shared.settings.table import Settings


@pytest.fixture
def store(database: Database, settings: Settings) -> MongoStore:
    return MongoStore(database, settings)


@pytest.fixture
def operator(database: Database) -> OperatorStore:
    return OperatorStore(database)


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)
