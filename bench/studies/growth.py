"""Does a job cost more when many are stored? The same loads on a database with 0, 100,000 and 1,000,000 jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from bench import scenarios
from bench.loadgen import Loads, Upstream, embedding
from bench.measure import Row, Scenario, calmest, measure
from bench.references import new_job
from bench.running import Running
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck
from bench.studies.filling import DATABASE, RESULT, admin_command, fill
from shared.domain.job import ExpiryResult, Finish, Status
from shared.mongo.connection.client import connect
from shared.mongo.mongo_store import MongoStore
from shared.settings.reading import load_settings
from shared.settings.table import Settings

SIZES = (0, 100_000, scenarios.MANY)
WAITING_SHARE = 0.1
"""The rest has ended."""
SECONDS = 4.0
ROUNDS = 30
BATCH = 64


async def growth(
    sizes: Sequence[int], broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows
) -> None:
    """Loads through the API and single verbs of the store at each size, then a mass expiry under submits."""
    async with coatcheck(directory, upstream.url, Variant(broker=broker)) as running:
        await admin_command(running.database, {"setParameter": 1, "ttlMonitorEnabled": False})
        await loads.run(running.url, [embedding()], **scenarios.WARM_UP.flags)
        stored = 0
        for size in sizes:
            more = size - stored
            waiting = int(more * WAITING_SHARE)
            began = time.monotonic()
            await fill(running.database, waiting=waiting, completed=more - waiting, expired=True)
            click.echo(f"filled up to {size} in {time.monotonic() - began:.0f} s", err=True)
            stored = size
            rows.add(await _verbs(running, size))
            for scenario in _loads():
                named = replace(scenario, name=scenarios.stored(size, scenario.name))
                rows.add(*await calmest(running, named, loads, upstream))
        rows.add(await _expiry(running, loads, upstream, sizes[-1]))


def _loads() -> list[Scenario]:
    storm = {"mode": "storm", "callers": 64, "period": f"{SECONDS}s"}
    stored = {"mode": "result", "callers": 64, "jobs": 200, "poll": scenarios.POLL}
    return [
        Scenario(scenarios.STORM, storm, first=stored),
        Scenario(scenarios.RESULT_0, scenarios.to_result(500, SECONDS)),
        Scenario(scenarios.SUBMIT, {"mode": "submit", "callers": 128, "jobs": 0, "period": f"{SECONDS}s"}),
        Scenario("backlog gone", {"mode": "result", "callers": 1, "jobs": 5, "poll": "100ms"}),
    ]


async def _expiry(running: Running, loads: Loads, upstream: Upstream, size: int) -> Row:
    """Submits while the database deletes everything that has ended."""
    for name, value in (("ttlMonitorSleepSecs", 1), ("ttlMonitorEnabled", True)):
        await admin_command(running.database, {"setParameter": 1, name: value})
    submit = Scenario(
        scenarios.stored(size, scenarios.EXPIRING),
        {"mode": "submit", "callers": 128, "jobs": 0, "period": f"{SECONDS * 2}s"},
    )
    return await measure(running, submit, loads, upstream)


async def _verbs(running: Running, size: int) -> Row:
    """Milliseconds of single store verbs, the least disturbed of several rounds, in batches of 64 jobs."""
    settings = load_settings(
        environ={"COATCHECK_MONGODB_URI": running.database, "COATCHECK_MONGODB_DATABASE": DATABASE}
    )
    async with connect(settings, role="worker", wait=10.0) as database:
        store = MongoStore(database, settings)
        found = {
            "submit, claim and record 64": await _median(lambda: _worked(store, settings)),
            "sweep": await _median(lambda: store.due(("embeddings",), limit=500, takeover_after=1.0)),
            "reaper: overdue": await _median(lambda: store.expire(500, lambda _: _never()), rounds=5),
            "reaper: counts": await _median(store.backlog, rounds=5),
        }
    row: Row = {
        "stack": "coatcheck",
        "scenario": scenarios.stored(size, "store verbs"),
        "stored": size,
        "median_ms": found,
    }
    click.echo(f"{row}", err=True)
    return row


def _never() -> ExpiryResult:
    raise AssertionError("nothing is overdue here")


async def _worked(store: MongoStore, settings: Settings) -> None:
    """Submit 64 jobs without notifications, and claim and end them before a sweep can see them."""
    jobs = [new_job(store.now()) for _ in range(BATCH)]
    await store.submit([(job, None) for job in jobs])
    held = await store.claim([job.id for job in jobs], lease=uuid4(), worker="bench", suspects=False)
    ends = [Finish(job.id, job.lease, Status.COMPLETED, 200, RESULT, settings.result_ttl_seconds) for job in held]
    await store.record(ends)


async def _median(once: Callable[[], Awaitable[Any]], rounds: int = ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await once()
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return round(sorted(taken)[rounds // 2], 2)
