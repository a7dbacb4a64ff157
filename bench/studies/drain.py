"""A backlog worked off: is the last tenth as fast as the first? The workers start when all jobs wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bench.loadgen import Loads, Upstream, embedding
from bench.meanwhile import Meanwhile
from bench.measure import Row
from bench.running import Running
from bench.scenarios import MANY, drain_of
from bench.side_by_side import Rows, open_stack
from bench.stacks.peers import PEERS, Peer
from bench.stacks.product import Variant
from bench.studies.filling import fill

BACKLOGS = (10_000, 100_000, MANY)
SUBMITTED_AT_MOST = 20_000
"""More than this is written straight into the database: as after an outage of the broker, without notifications."""
STALL_SECONDS = 60.0
LOOK_SECONDS = 0.1
FIRST_TENTH, LAST_TENTH = (0.02, 0.12), (0.9, 1.0)
"""Shares of all answers. The first moments, while slots fill, are left out."""
Mark = tuple[int, float]
"""Answers, and CPU seconds of the whole stack when they were there."""


async def drain(
    jobs: int, workers: int, broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows
) -> None:
    """One stack after the other; the peers only up to SUBMITTED_AT_MOST jobs."""
    stacks: list[Variant | Peer] = [Variant(broker=broker, workers=workers)]
    if jobs <= SUBMITTED_AT_MOST:
        stacks += PEERS
    for which in stacks:
        async with contextlib.AsyncExitStack() as opened:
            running = await open_stack(which, directory, upstream, opened)
            if running is not None:
                rows.add(await _drain(running, jobs, loads, upstream))


async def _drain(running: Running, jobs: int, loads: Loads, upstream: Upstream) -> Row:
    running.kill("worker")
    await upstream.reset()
    if jobs <= SUBMITTED_AT_MOST:
        await loads.run(running.url, [embedding()], mode="submit", callers=128, jobs=jobs)
    else:
        await fill(running.database, pending=jobs)
    meanwhile = Meanwhile(running, upstream)
    await running.start_workers()
    series, marks = await _watch(running, upstream, jobs)
    used = meanwhile.over()
    row: Row = {
        "stack": running.name,
        "scenario": drain_of(jobs),
        "jobs": jobs,
        "answered": series[-1][1],
        "seconds": series[-1][0],
        "first_tenth_per_s": rate(series, *FIRST_TENTH),
        "last_tenth_per_s": rate(series, *LAST_TENTH),
        "first_tenth_cpu_ms": _cost(marks[:2]),
        "last_tenth_cpu_ms": _cost(marks[2:]),
        "per_s": series[-1][1] / series[-1][0],
        "calls_per_job": (await upstream.counters())["calls"] / jobs,
        "rss_mb": {part: round(after.rss / 2**20) for part, after in used.at_end.items()},
        "cpu_s": {part: round(seconds, 2) for part, seconds in used.cpu.items()},
        "others_percent": used.others_percent,
        "series": series[:: max(1, len(series) // 200)],
    }
    click.echo(f"{running.name:22} { ({key: value for key, value in row.items() if key != 'series'}) }", err=True)
    return row


async def _watch(running: Running, upstream: Upstream, jobs: int) -> tuple[list[tuple[float, int]], list[Mark]]:
    """Seconds since the first answer and answers, until all are there or nothing has come for a minute.

    With it a mark at each end of the first and of the last tenth.
    """
    series: list[tuple[float, int]] = []
    marks: list[Mark] = []
    ends = [*FIRST_TENTH, *LAST_TENTH]
    began = last = time.monotonic()
    while not series or series[-1][1] < jobs:
        await asyncio.sleep(LOOK_SECONDS)
        answered, now = (await upstream.counters())["answered"], time.monotonic()
        if answered == 0:
            began = now
        if not series or answered > series[-1][1]:
            last = now
        if now - last > STALL_SECONDS:
            break
        series.append((now - began, answered))
        if len(marks) < len(ends) and answered >= ends[len(marks)] * jobs:
            marks.append((answered, sum(used.cpu for used in running.used().values())))
    return series, marks


def _cost(marks: Sequence[Mark]) -> float:
    """CPU milliseconds of the whole stack for each answer between two marks; 0 where they fell together."""
    if len(marks) < 2 or marks[1][0] == marks[0][0]:
        return 0.0
    (first, before), (last, after) = marks
    return round((after - before) * 1000 / (last - first), 3)


def rate(series: list[tuple[float, int]], first: float, last: float) -> float:
    """Answers a second while these shares of all were answered."""
    total = series[-1][1]
    inside = [(second, count) for second, count in series if first * total <= count <= last * total]
    if len(inside) < 2 or inside[-1][0] <= inside[0][0]:
        return 0.0
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])
