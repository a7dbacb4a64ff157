"""What Kafka buys: notifications on against off, where workers only ask the database, each second or every 50 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from bench.loadgen import Loads, Upstream, embedding
from bench.measure import Row, histogram
from bench.running import Running
from bench.scenarios import WARM_UP, to_result
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck
from bench.studies.filling import admin_command

WORKERS = (1, 4, 16)
IDLE_SECONDS = 6.0
RATE, RATE_JOBS = 50, 250
LOOKING = {"COATCHECK_SWEEP_INTERVAL_SECONDS": "0.05", "COATCHECK_SWEEP_GRACE_SECONDS": "0.01"}


def variants(broker: str, workers: int) -> list[Variant]:
    """Notifications, no notifications, and no notifications with a worker that looks twenty times a second."""
    return [
        Variant(f"notifications, {workers} workers", broker, workers),
        Variant(f"no notifications, a look a second, {workers} workers", "none", workers),
        Variant(f"no notifications, a look every 50 ms, {workers} workers", "none", workers, settings=LOOKING),
    ]


async def notifications(
    counts: Sequence[int], broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows
) -> None:
    """Every variant at every number of workers."""
    for workers in counts:
        for number, variant in enumerate(variants(broker, workers)):
            home = directory / f"notifications-{workers}-{number}"
            home.mkdir()
            async with coatcheck(home, upstream.url, variant) as running:
                rows.add(await _one(running, loads))


async def _one(running: Running, loads: Loads) -> Row:
    await loads.run(running.url, [embedding()], **WARM_UP.flags)
    used, before = running.used(), await _operations(running)
    await asyncio.sleep(IDLE_SECONDS)
    idle, after = running.used(), await _operations(running)
    flags = {"mode": "result", "rate": RATE, "jobs": RATE_JOBS, "poll": "10ms", "callers": 128}
    delay = await histogram(running, "job_claim_delay_seconds")
    slow = await loads.run(running.url, [embedding("latency=100")], **flags)
    waited = await histogram(running, "job_claim_delay_seconds", since=delay)
    fast = await loads.run(running.url, [embedding()], **to_result(500, 4.0))
    row: Row = {
        "stack": running.name,
        "scenario": "notifications",
        "idle_percent": {part: round((idle[part].cpu - used[part].cpu) / IDLE_SECONDS * 100, 1) for part in idle},
        "idle_operations_per_s": {name: round((after[name] - before[name]) / IDLE_SECONDS, 1) for name in after},
        "claim_delay_ms": round(waited[0] / max(1.0, waited[1]) * 1000, 1),
        "result_ms": slow["result_ms"],
        "jobs_per_s": fast["jobs_per_s"],
    }
    click.echo(f"{running.name:44} {row}", err=True)
    return row


async def _operations(running: Running) -> dict[str, int]:
    """The database's own count of what it was asked, heartbeats of drivers left out."""
    status = await admin_command(running.database, {"serverStatus": 1})
    return {name: int(status["opcounters"][name]) for name in ("query", "insert", "update", "delete", "getmore")}
