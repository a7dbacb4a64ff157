"""Does memory grow with the jobs that went through? Resident memory of every process while very many jobs are done."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from bench.loadgen import Loads, Upstream, embedding
from bench.meanwhile import Meanwhile
from bench.measure import Row
from bench.running import Running
from bench.scenarios import POLL, memory_over
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck

LOOK_SECONDS = 5.0
CALLERS = 500


async def memory(jobs: int, broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """So many jobs to their results, polled as in the throughput scenarios, in micro-batches to get there sooner."""
    async with coatcheck(directory, upstream.url, Variant(broker=broker)) as running:
        meanwhile = Meanwhile(running, upstream)
        flags = {"mode": "result", "callers": CALLERS, "jobs": jobs, "poll": POLL, "limit": "2h"}
        load = asyncio.create_task(loads.run(running.url, [embedding(provider="batching")], **flags))
        series = await _watch(running, load)
        measured, used = await load, meanwhile.over()
    row: Row = {
        "stack": running.name,
        "scenario": memory_over(jobs),
        "jobs": measured["ended"],
        "jobs_per_s": measured["jobs_per_s"],
        "failed": measured["failed"],
        "others_percent": used.others_percent,
        "largest_mb_at": {f"{share:.0%}": series[round(share * (len(series) - 1))] for share in (0.01, 0.1, 0.5, 1.0)},
        "series": series[:: max(1, len(series) // 200)],
    }
    rows.add(row)


async def _watch(running: Running, load: asyncio.Task[dict[str, object]]) -> list[dict[str, float]]:
    """The largest process of each component in megabytes, every few seconds until the load is over."""
    series: list[dict[str, float]] = []
    began = time.monotonic()
    while not load.done():
        await asyncio.wait([load], timeout=LOOK_SECONDS)
        series.append({name: round(used.largest / 2**20, 1) for name, used in running.used().items()})
        click.echo(f"{time.monotonic() - began:6.0f} s  {series[-1]}", err=True)
    return series
