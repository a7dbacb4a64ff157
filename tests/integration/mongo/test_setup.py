"""A database that is not set up says what is missing: a replica set, or an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coatcheck.dev.child import Child
from coatcheck.dev.mongod import find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.domain.errors import SettingsError, StoreUnavailable
from shared.mongo.connection.client import Database, connect
from shared.mongo.connection.replica_set import mongod_answers
from shared.mongo.mongo_store import MongoStore
from shared.settings.reading import load_settings
from shared.settings.table import Settings


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[str]:
    """The address of a mongod that is no replica set."""
    with fresh_mongod(tmp_path, replicated=False) as uri:
        yield uri


@pytest.fixture
def uninitiated(tmp_path: Path) -> Iterator[str]:
    """The address of a mongod that may be a member of a set, which nobody has made."""
    with fresh_mongod(tmp_path, replicated=True) as uri:
        yield uri


@contextmanager
def fresh_mongod(tmp_path: Path, *, replicated: bool) -> Iterator[str]:
    (port,) = free_ports(1)
    (tmp_path / "db").mkdir()
    command = mongod_command(find_mongod(), tmp_path / "db", port)
    at = command.index("--replSet")
    child = Child("mongod", command if replicated else command[:at] + command[at + 2 :], log=tmp_path / "mongod.log")
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


@pytest.mark.parametrize("options", ["", "/?directConnection=true", "/?replicaSet=rs0"])
async def test_a_set_that_was_never_initiated_is_told_with_the_command_that_does_it(
    uninitiated: str, options: str
) -> None:
    settings = load_settings({"mongodb_uri": uninitiated + options, "mongodb_timeout_seconds": 1}, environ={})
    with pytest.raises(StoreUnavailable, match=r"never initiated: run rs\.initiate\(\)"):
        async with connect(settings, role="edge"):
            pass


async def test_a_missing_index_is_named_with_the_command_that_makes_it(database: Database, settings: Settings) -> None:
    await database.jobs.drop_indexes()
    with pytest.raises(StoreUnavailable, match="coatcheck init"):
        await MongoStore(database, settings).due(["text"], limit=1, takeover_after=1.0)
