"""What a kill -9 of the worker costs: killed with 100 jobs in flight and started again, as a supervisor would."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import click

from bench import loadgen
from bench.loadgen import Loads, embedding
from bench.measure import Row
from bench.side_by_side import Rows, open_stack
from bench.stacks.peers import PEERS, Peer
from bench.stacks.product import Variant

JOBS = 100
LATENCY_MS = 5000
LIMIT_SECONDS = 150
SLOW = [embedding(f"latency={LATENCY_MS}")]


async def kill_workers(broker: str, directory: Path, binary: Path, rows: Rows) -> None:
    """All stacks at the same time, since they mostly wait; with nothing else to do, then with ten others a second."""
    stacks: list[Variant | Peer] = [Variant(broker=broker), *PEERS]
    for traffic in (False, True):
        home = directory / f"kill-{traffic}"
        home.mkdir()
        found = await asyncio.gather(*(_kill(which, home, binary, traffic) for which in stacks))
        rows.add(*(row for row in found if row is not None))


async def _kill(which: Variant | Peer, directory: Path, binary: Path, traffic: bool) -> Row | None:
    home = directory / f"{which.name}-upstream"
    home.mkdir()
    async with contextlib.AsyncExitStack() as opened:
        upstream = await opened.enter_async_context(loadgen.upstream(binary, home))
        running = await open_stack(which, directory, upstream, opened)
        if running is None:
            return None
        loads = Loads(binary, home)
        await loads.run(running.url, [embedding()], mode="result", callers=20, jobs=100)
        await upstream.reset()
        flags = {"mode": "result", "callers": JOBS, "jobs": JOBS, "poll": "100ms", "limit": f"{LIMIT_SECONDS}s"}
        load = asyncio.create_task(loads.run(running.url, SLOW, **flags))
        while (await upstream.counters())["running"] < JOBS and not load.done():
            await asyncio.sleep(0.02)
        running.kill("worker")
        await running.start_workers()
        others = asyncio.create_task(_traffic(loads, running.url)) if traffic else None
        measured = await load
        if others is not None:
            others.cancel()
        counted = await upstream.counters()
    seconds = measured["result_ms"]["max"] / 1000
    row: Row = {
        "stack": which.name,
        "scenario": "kill -9 of the worker, " + ("with traffic" if traffic else "nothing else to do"),
        "jobs": JOBS,
        "ended": measured["ended"],
        "not_ended": measured["unended"] + measured["failed"],
        "called_twice": counted["repeated"],
        "last_result_s": round(seconds, 1),
        "p50_s": round(measured["result_ms"]["p50"] / 1000, 1),
    }
    click.echo(f"{which.name:22} {row}", err=True)
    return row


async def _traffic(loads: Loads, url: str) -> None:
    flags = {"mode": "result", "rate": 10, "jobs": LIMIT_SECONDS * 10, "callers": 64, "poll": "100ms"}
    await loads.run(url, [embedding()], **flags, limit=f"{LIMIT_SECONDS}s")
