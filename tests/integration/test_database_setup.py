"""A database that is not set up says what is missing: a replica set, or an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coatcheck.dev.child import Child
from coatcheck.dev.mongod import find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.errors import SettingsError, StoreUnavailable
from shared.mongo.client import Database, connect
from shared.mongo.replica_set import mongod_answers
from shared.mongo.store import MongoStore
from shared.settings import Settings, load_settings


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[str]:
    """The address of a mongod that is no replica set."""
    (port,) = free_ports(1)
    binary = find_mongod()
    (tmp_path / "db").mkdir()
    command = mongod_command(binary, tmp_path / "db", port)
    at = command.index("--replSet")
    child = Child("mongod", command[:at] + command[at + 2 :], log=tmp_path / "mongod.log")
    try:
        child.wait_ready(lambda: mongod_answers(f"{LOOPBACK}:{port}"), 60)
        yield f"mongodb://{LOOPBACK}:{port}"
    finally:
        child.stop(30)


async def test_a_standalone_mongod_is_refused_with_the_reason_and_the_fix(standalone: str) -> None:
    settings = load_settings({"mongodb_uri": standalone}, environ={})
    with pytest.raises(SettingsError, match=r"standalone.*--replSet"):
        async with connect(settings, role="edge", wait=10):
            pass


async def test_a_missing_index_is_named_with_the_command_that_makes_it(database: Database, settings: Settings) -> None:
    await database.jobs.drop_indexes()
    with pytest.raises(StoreUnavailable, match="coatcheck init"):
        await MongoStore(database, settings).due(["text"], limit=1, takeover_after=1.0)
