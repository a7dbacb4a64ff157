"""What a setting does: the product with one value and with another, and the one figure that should change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench.loadgen import Asked, Loads, Upstream, embedding
from bench.measure import Row, histogram
from bench.running import Running
from bench.scenarios import POLL, to_result
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck
from bench.studies.filling import admin_command

IDLE_SECONDS = 8.0
SETTLE_SECONDS = 4.0
"""A worker that has joined its group still asks more often for a moment."""
Figures = dict[str, float]
Look = Callable[[Running, Loads, Upstream], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting, its values, and what to look at. `beside` holds for all of them."""

    setting: str
    values: Sequence[str]
    look: Look
    broker: str = "embedded"
    beside: Mapping[str, str] = field(default_factory=dict)


async def tuning(wanted: Sequence[str], directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """Every trial, or those of the wanted settings."""
    for trial in TRIALS:
        if wanted and trial.setting not in wanted:
            continue
        for value in trial.values:
            home = directory / f"{trial.setting}-{value}"
            home.mkdir()
            settings = {f"COATCHECK_{name.upper()}": given for name, given in trial.beside.items()}
            settings[f"COATCHECK_{trial.setting.upper()}"] = value
            async with coatcheck(home, upstream.url, Variant(broker=trial.broker, settings=settings)) as running:
                await loads.run(running.url, [embedding()], mode="result", callers=64, jobs=300, poll=POLL)
                figures = await trial.look(running, loads, upstream)
            row: Row = {"stack": "coatcheck", "scenario": "tuning", "setting": trial.setting, "value": value, **figures}
            rows.add(row)
            click.echo(f"{trial.setting} = {value}: {json.dumps(figures)}", err=True)


async def slow_provider(running: Running, loads: Loads, _: Upstream) -> Figures:
    """300 jobs in flight, each a call of a second."""
    measured = await loads.run(running.url, [embedding("latency=1000")], **to_result(300, 8.0))
    return {"jobs_per_s": round(measured["jobs_per_s"], 1), "worker_mb": _megabytes(running, "worker")}


async def submits(running: Running, loads: Loads, _: Upstream) -> Figures:
    """128 callers that only submit."""
    before = running.used()
    measured = await loads.run(running.url, [embedding()], mode="submit", callers=128, jobs=0, period="5s")
    cpu = (running.used()["edge"].cpu - before["edge"].cpu) * 1000 / measured["accepted"]
    return {
        "accepted_per_s": round(measured["accepted_per_s"]),
        "edge_cpu_ms": round(cpu, 2),
        "edge_mb": _megabytes(running, "edge"),
    }


async def large_bodies(running: Running, loads: Loads, _: Upstream) -> Figures:
    """40 clients that hand in a body of 8 MB each, at the same time."""
    body = {"model": "upstream/fast", "input": ["{n} first", *("the cat sat on the mat " * 20 for _ in range(17_400))]}
    asked = [Asked("/v1/async/embeddings", json.dumps(body).encode())]
    measured = await loads.run(running.url, asked, mode="submit", callers=40, jobs=40, limit="60s")
    return {
        "accepted": measured["accepted"],
        "refused": measured["failed"],
        "accept_p50_ms": round(measured["accept_ms"]["p50"]),
        "edge_mb": _megabytes(running, "edge"),
    }


async def killed_worker(running: Running, loads: Loads, upstream: Upstream) -> Figures:
    """kill -9 of the worker with 100 calls of 3 s in flight, started again at once."""
    load = await _in_flight(running, loads, upstream, 100, 3000)
    running.kill("worker")
    await running.start_workers()
    measured = await load
    return {"last_result_s": round(measured["result_ms"]["max"] / 1000, 1)}


async def stopped_worker(running: Running, loads: Loads, upstream: Upstream) -> Figures:
    """SIGTERM of the worker with 100 calls of 5 s in flight, started again when it has left."""
    load = await _in_flight(running, loads, upstream, 100, 5000)
    began = time.monotonic()
    await asyncio.to_thread(running.children.running["worker"].stop, 60.0)
    stopped = time.monotonic() - began
    await running.start_workers()
    await load
    return {"stop_s": round(stopped, 1), "calls_repeated": (await upstream.counters())["repeated"]}


async def idle(running: Running, _loads: Loads, _upstream: Upstream) -> Figures:
    """Nothing to do: CPU by component in percent of a core, and reads of the database a second."""
    await asyncio.sleep(SETTLE_SECONDS)
    used, reads = running.used(), await _reads(running)
    await asyncio.sleep(IDLE_SECONDS)
    after, reads = running.used(), await _reads(running) - reads
    percent = {part: round((after[part].cpu - used[part].cpu) / IDLE_SECONDS * 100, 1) for part in after}
    return {
        **{f"{part}_percent": value for part, value in percent.items()},
        "reads_per_s": round(reads / IDLE_SECONDS, 1),
    }


async def waiting(running: Running, loads: Loads, upstream: Upstream) -> Figures:
    """What a job waits for a worker at 20 a second, beside what the same costs while nothing happens."""
    quiet = await idle(running, loads, upstream)
    before = await histogram(running, "job_claim_delay_seconds")
    measured = await loads.run(running.url, [embedding()], mode="result", rate=20, jobs=120, poll="10ms", callers=64)
    seconds, jobs = await histogram(running, "job_claim_delay_seconds", since=before)
    return {
        **quiet,
        "claim_delay_ms": round(seconds / max(1.0, jobs) * 1000),
        "result_p50_ms": round(measured["result_ms"]["p50"]),
    }


async def failing_provider(running: Running, loads: Loads, upstream: Upstream) -> Figures:
    """A provider that fails half of the calls: 200 jobs."""
    await upstream.reset()
    measured = await loads.run(running.url, [embedding("fail=0.5")], mode="result", callers=200, jobs=200, poll=POLL)
    calls = (await upstream.counters())["calls"]
    return {
        "failed_percent": round(measured["failed"] / 2.0, 1),
        "calls_per_job": round(calls / 200, 2),
        "result_p50_ms": round(measured["result_ms"]["p50"]),
        "result_max_ms": round(measured["result_ms"]["max"]),
    }


TRIALS = (
    Trial("slots", ("50", "500"), slow_provider),
    Trial("edge_processes", ("1", "2"), submits),
    Trial("lease_seconds", ("10", "30"), killed_worker),
    Trial("drain_seconds", ("2", "10"), stopped_worker),
    Trial("sweep_interval_seconds", ("0.2", "1"), waiting, broker="none"),
    Trial("sweep_grace_seconds", ("0.2", "1"), waiting, broker="none", beside={"sweep_interval_seconds": "0.2"}),
    Trial("kafka_fetch_wait_seconds", ("0.05", "0.5"), waiting, beside={"kafka_busy_fetch_wait_seconds": "0"}),
    Trial("kafka_partitions", ("2", "12"), idle),
    Trial("reaper_interval_seconds", ("0.5", "2", "10"), idle),
    Trial("max_inflight_bytes", (str(64 << 20), str(256 << 20)), large_bodies),
    Trial("max_failures", ("3", "6"), failing_provider),
    Trial("retry_base_seconds", ("0.1", "1"), failing_provider),
)


async def _in_flight(
    running: Running, loads: Loads, upstream: Upstream, jobs: int, milliseconds: int
) -> asyncio.Task[dict[str, Any]]:
    """A load whose calls have all begun."""
    await upstream.reset()
    flags = {"mode": "result", "callers": jobs, "jobs": jobs, "poll": POLL, "limit": "150s"}
    load = asyncio.create_task(loads.run(running.url, [embedding(f"latency={milliseconds}")], **flags))
    while (await upstream.counters())["running"] < jobs and not load.done():
        await asyncio.sleep(0.02)
    return load


def _megabytes(running: Running, component: str) -> float:
    return round(running.used()[component].rss / 2**20)


async def _reads(running: Running) -> int:
    status = await admin_command(running.database, {"serverStatus": 1})
    return int(status["opcounters"]["query"])
