"""`python -m bench`: the scenarios, one JSON line each, and a table of ratios at the end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench import stacks
from bench.loadgen import build, load
from bench.stacks import Running
from coatcheck.dev.child import ProgramMissing

IDLE_SETTLE_SECONDS = 15.0
IDLE_SECONDS = 20.0
RESULTS = Path(__file__).parent / "results"


def body(latency_ms: int) -> str:
    """A small embedding request whose answer takes that long."""
    return json.dumps({"model": f"upstream/latency={latency_ms}", "input": "the cat sat on the mat"})


def scenarios(scale: float) -> dict[str, dict[str, object]]:
    """Flags of the load generator by scenario."""
    return {
        "submit": {"mode": "submit", "callers": 128, "jobs": int(20_000 * scale), "body": body(0)},
        "result, upstream 0 ms": {"mode": "result", "callers": 500, "jobs": int(10_000 * scale), "body": body(0)},
        "result, upstream 100 ms": {"mode": "result", "callers": 500, "jobs": int(10_000 * scale), "body": body(100)},
        "100 a second, upstream 100 ms": {
            "mode": "result",
            "rate": 100,
            "jobs": int(1_500 * scale),
            "body": body(100),
        },
    }


async def idle(name: str, running: Running) -> dict[str, Any]:
    """What a stack uses while nothing happens: percent of one core, and memory."""
    await asyncio.sleep(IDLE_SETTLE_SECONDS)
    before = running.used()
    await asyncio.sleep(IDLE_SECONDS)
    after = running.used()
    percent = {part: round((after[part].cpu - before[part].cpu) / IDLE_SECONDS * 100, 2) for part in after}
    rss = {part: round(after[part].rss / 2**20) for part in after}
    click.echo(
        f"{name:10} idle: {sum(percent.values()):.1f} % of a core {percent}, {sum(rss.values())} MB {rss}", err=True
    )
    return {"stack": name, "scenario": "idle", "cpu_percent": percent, "rss_mb": rss}


async def measure(name: str, running: Running, binary: Path, scale: float) -> list[dict[str, Any]]:
    """Run every scenario against one stack; at last, where there is a broker, submit once more without it."""
    rows = [await idle(name, running)]
    await load(binary, running.url, mode="result", callers=50, jobs=200, body=body(0))  # connections, caches, code
    for scenario, flags in scenarios(scale).items():
        rows.append(await _one(name, scenario, running, binary, flags))
        if flags["mode"] == "submit":
            await _settle(running, binary)
    if "broker" in running.groups:
        os.killpg(running.groups["broker"], signal.SIGKILL)
        rows.append(await _one(name, "submit, broker killed", running, binary, scenarios(scale)["submit"]))
    return rows


async def _one(name: str, scenario: str, running: Running, binary: Path, flags: Mapping[str, object]) -> dict[str, Any]:
    before = running.used()
    measured = await load(binary, running.url, **flags)
    after = running.used()
    jobs = max(1, measured["ended"] or measured["accepted"])
    cpu = {part: round(max(0.0, after[part].cpu - before[part].cpu) * 1000 / jobs, 3) for part in after}
    rss = {part: round(after[part].rss / 2**20) for part in after}
    row = {"stack": name, "scenario": scenario, **measured, "cpu_ms_per_job": cpu, "rss_mb": rss}
    click.echo(_line(row), err=True)
    return row


async def _settle(running: Running, binary: Path) -> None:
    """Let the backlog of a submit-only scenario drain: a job of our own ends when the ones before it have."""
    await load(binary, running.url, mode="result", callers=1, jobs=20, body=body(0), limit="120s")


def _line(row: dict[str, Any]) -> str:
    cpu = " ".join(f"{part} {value:.2f}" for part, value in row["cpu_ms_per_job"].items())
    return (
        f"{row['stack']:10} {row['scenario']:30} "
        f"accepted/s {row['accepted_per_s']:8.0f}  jobs/s {row['jobs_per_s']:7.0f}  "
        f"accept p50/p99 {row['accept_ms']['p50']:.1f}/{row['accept_ms']['p99']:.1f} ms  "
        f"result p50/p99 {row['result_ms']['p50']:.0f}/{row['result_ms']['p99']:.0f} ms  "
        f"failed {row['failed']}  CPU ms/job {sum(row['cpu_ms_per_job'].values()):.2f} ({cpu})"
    )


async def bench(only: Sequence[str], scale: float) -> list[dict[str, Any]]:
    """All stacks in one run, each with a fresh directory."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        directory = Path(temporary)
        binary = await asyncio.to_thread(build, directory)
        async with contextlib.AsyncExitStack() as opened:
            upstream = await opened.enter_async_context(stacks.scripted_upstream(directory))
            async with stacks.constant(directory) as running:
                flags = scenarios(scale)["submit"]
                row = {"stack": "constant", "scenario": "submit", **await load(binary, running.url, **flags)}
                row |= {"cpu_ms_per_job": {}, "rss_mb": {}}
                click.echo(_line(row), err=True)
                rows.append(row)
            for name, stack in (("coatcheck", stacks.coatcheck), ("celery", stacks.celery)):
                if only and name not in only:
                    continue
                home = directory / name
                await asyncio.to_thread(home.mkdir)
                try:
                    async with stack(home, upstream) as running:
                        rows += await measure(name, running, binary, scale)
                except ProgramMissing as missing:
                    click.echo(f"{name}: left out, {missing}", err=True)
    return rows


def ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Coatcheck against the bare server and against the peer, from the same run."""
    found = {(row["stack"], row["scenario"]): row for row in rows}
    lines = []
    for scenario in scenarios(1.0):
        ours = found.get(("coatcheck", scenario))
        if ours is None:
            continue
        figure = "accepted_per_s" if ours["mode"] == "submit" else "jobs_per_s"
        for other in ("constant", "celery"):
            row = found.get((other, scenario))
            if row is not None and row[figure]:
                lines.append(f"{scenario}: {ours[figure] / row[figure]:.2f} x {other} ({figure})")
    down = found.get(("coatcheck", "submit, broker killed"))
    if down is not None:
        up = found["coatcheck", "submit"]["accepted_per_s"]
        lines.append(f"submit with the broker killed: {down['accepted_per_s'] / up:.2f} x with it")
    return lines


@click.command()
@click.option("--quick", is_flag=True, help="A fifth of the load.")
@click.option("--only", multiple=True, help="A stack: coatcheck, celery. Repeatable; default all.")
def main(quick: bool, only: tuple[str, ...]) -> None:
    """Measure throughput, latency, CPU and memory, with the peers beside us in the same run."""
    rows = asyncio.run(bench(only, 0.2 if quick else 1.0))
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%S")
    with (RESULTS / f"{stamp}.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    click.echo("\n".join(ratios(rows)))
    sys.exit(0)


if __name__ == "__main__":
    main()
