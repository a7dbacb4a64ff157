"""`coatcheck providers pause` and `resume`: what they say, and that a running worker obeys."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from coatcheck.dev.ports import free_ports
from shared.domain.target import Target
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.ingress.server import ask
from tests.support.jobs import eventually, new_job
from tests.support.servers.mongod import MongodSet
from tests.system.test_commands import answer, command, running

MODEL = "latency=1"
SECONDS = 60.0
LONGEST_PAUSE = 2


@pytest.fixture
def environ(mongod: MongodSet, settings: Settings, tmp_path: Path) -> dict[str, str]:
    """The environment of commands that find the database, no broker, and a provider that answers."""
    (tmp_path / "coatcheck.toml").write_text("[providers.scripted]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    return kept | {
        "COATCHECK_CONFIG": str(tmp_path / "coatcheck.toml"),
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_MONGODB_DATABASE": settings.mongodb_database,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}",
        "COATCHECK_MAX_PAUSE_SECONDS": str(LONGEST_PAUSE),
        "COATCHECK_SWEEP_GRACE_SECONDS": "0.05",
    }


async def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(command, environ, "providers", *arguments)


async def submit(store: MongoStore) -> None:
    await store.submit([(new_job(store.now(), targets=(Target("scripted", MODEL),)), None)])


async def until_shown(port: int, paused: int) -> None:
    """A worker's gauge says so, which it does when it has read the pauses."""

    async def shown() -> bool | None:
        metrics = (await asyncio.to_thread(ask, port, "/metrics"))[1]
        found = re.search(r'coatcheck_providers_paused\{.*provider="scripted".*\} (\S+)', metrics)
        return (found is not None and float(found[1]) == paused) or None

    await eventually(shown, within=SECONDS)


async def test_a_paused_provider_is_not_called_until_it_is_resumed(
    environ: dict[str, str], database: Database, settings: Settings
) -> None:
    store = MongoStore(database, settings)
    with running(environ, "worker") as (_, port):
        await until_shown(port, 0)
        paused = await run(environ, "pause", "scripted", "--seconds", "600")
        assert paused.returncode == 0, paused.stderr
        assert re.fullmatch(r"scripted is paused for (600|599) s\n", paused.stdout)
        await until_shown(port, 1)
        await submit(store)

        async def put_off() -> bool | None:
            deferred = {"status": "pending", "claims": {"$gte": 1}, "attempts": None}
            return await database.jobs.count_documents(deferred) == 1 or None

        await eventually(put_off, within=SECONDS)
        told = await database.jobs.find_one({})
        assert told is not None
        assert (told["wake_at"] - database.now()).total_seconds() <= 2 * LONGEST_PAUSE
        resumed = await run(environ, "resume", "scripted")
        assert (resumed.returncode, resumed.stdout) == (0, "scripted is not paused any more\n")
        await until_shown(port, 0)
        await submit(store)

        async def both() -> bool | None:
            return await database.jobs.count_documents({"status": "completed"}) == 2 or None

        await eventually(both, within=SECONDS)


async def test_resuming_a_provider_ends_the_pauses_of_its_models_and_of_no_other(
    environ: dict[str, str], database: Database, settings: Settings
) -> None:
    store = MongoStore(database, settings)
    for channel in ("scripted", "scripted/a", "scripted/b/c", "scripted2/a"):
        await store.pause(channel, 60)
    one = await run(environ, "resume", "scripted/a")
    assert (one.returncode, one.stdout) == (0, "scripted/a is not paused any more\n")
    assert "scripted as a whole is paused: `coatcheck providers resume scripted` ends that" in one.stderr
    again = await run(environ, "resume", "scripted/a")
    assert again.returncode == 1
    assert "scripted/a is not paused by itself, scripted as a whole is paused" in again.stderr
    everything = await asyncio.to_thread(answer, environ, "providers", "resume", "scripted")
    assert everything == {"resumed": ["scripted", "scripted/b/c"]}
    assert [pause.channel for pause in await store.pauses()] == ["scripted2/a"]


async def test_a_pause_lasts_as_long_as_the_setting_says_unless_told_otherwise_and_the_longer_one_wins(
    environ: dict[str, str], database: Database
) -> None:
    for arguments, expected in (((), 2), (("--seconds", "90"), 90), (("--seconds", "5"), 90)):
        said = await asyncio.to_thread(answer, environ, "providers", "pause", f"scripted/{MODEL}", *arguments)
        assert said["channel"] == f"scripted/{MODEL}"
        assert expected - 10 < said["seconds"] <= expected


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_a_provider_that_is_not_configured_is_refused_with_those_that_are(
    environ: dict[str, str], database: Database, verb: str
) -> None:
    refused = await run(environ, verb, "openai/m")
    assert refused.returncode == 2
    assert "provider 'openai' is not configured: configured: scripted" in refused.stderr
    assert await database.pauses.count_documents({}) == 0


async def test_what_is_not_paused_cannot_be_resumed_and_half_a_name_is_none(
    environ: dict[str, str], database: Database
) -> None:
    free = await run(environ, "resume", "scripted")
    assert (free.returncode, "scripted is not paused" in free.stderr) == (1, True)
    for odd in ("scripted/", "/m", ""):
        assert (await run(environ, "pause", odd)).returncode == 2
