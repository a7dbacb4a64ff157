"""One scenario against one stack: load, CPU and memory by component, upstream calls and batch sizes, as one row."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from bench.loadgen import Asked, Loads, Upstream, embedding
from bench.meanwhile import Meanwhile
from bench.running import Running

Row = dict[str, Any]
NEIGHBOURS_PERCENT = 10
"""What others may take of the machine while something is measured; beyond it the figures are theirs as well."""
TRIES = 3
"""How often something is measured at most while they take more."""
BATCHES = ("submit", "collect", "claim", "record")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked of a stack. `flags` are the load generator's."""

    name: str
    flags: Mapping[str, object]
    asked: Sequence[Asked] = field(default_factory=lambda: [embedding()])
    product_only: bool = False
    batched: Sequence[Asked] = ()
    """The same, to be asked of the product once more with micro-batches on."""
    first: Mapping[str, object] = field(default_factory=dict)
    """Flags of a load before it, which is not measured."""


async def measure(running: Running, scenario: Scenario, loads: Loads, upstream: Upstream) -> Row:
    """Run one scenario and print a line of what came out."""
    shared = {"finished": loads.scratch / "finished"}
    if scenario.first:
        await loads.run(running.url, scenario.asked, **scenario.first, **shared)
    await upstream.reset()
    batches, meanwhile = await _batches(running), Meanwhile(running, upstream)
    measured = await loads.run(running.url, scenario.asked, **scenario.flags, **shared)
    used, counted = meanwhile.over(), await upstream.counters()
    unit = max(1, measured["ended"] or measured["accepted"])
    if measured["mode"] == "storm":
        unit = max(1, measured["polls"])
    row: Row = {"stack": running.name, "scenario": scenario.name, **measured, "upstream": counted}
    row["cpu_ms"] = {part: round(seconds * 1000 / unit, 4) for part, seconds in used.cpu.items()}
    row["others_percent"] = used.others_percent
    row["rss_mb"] = {part: round(after.rss / 2**20) for part, after in used.at_end.items()}
    row["largest_mb"] = {part: round(after.largest / 2**20) for part, after in used.at_end.items()}
    row["calls_per_job"] = round(counted["calls"] / max(1, measured["ended"]), 3) if measured["ended"] else None
    row["batches"] = _means(batches, await _batches(running))
    click.echo(line(row), err=True)
    return row


def stack_cpu(row: Row) -> float:
    """CPU milliseconds per job of the stack itself, the upstream left out."""
    return sum(float(value) for part, value in row["cpu_ms"].items() if part != "upstream")


async def calmest(
    running: Running, scenario: Scenario, loads: Loads, upstream: Upstream, *, tries: int = TRIES
) -> list[Row]:
    """`measure`, again while there are neighbours. All of it, the least disturbed last and the others marked."""
    found = [await measure(running, scenario, loads, upstream)]
    while found[-1]["others_percent"] > NEIGHBOURS_PERCENT and len(found) < tries:
        found.append(await measure(running, scenario, loads, upstream))
    found.sort(key=lambda row: -int(row["others_percent"]))
    return [*({**row, "disturbed": True} for row in found[:-1]), found[-1]]


async def idle(stacks: Sequence[Running], settle: float, seconds: float) -> list[Row]:
    """What the stacks use while nothing happens, all looked at in the same seconds: percent of one core, and memory."""
    await asyncio.sleep(settle)
    before = [running.used() for running in stacks]
    await asyncio.sleep(seconds)
    rows = []
    for running, used in zip(stacks, before, strict=True):
        after = running.used()
        percent = {part: round((after[part].cpu - used[part].cpu) / seconds * 100, 2) for part in after}
        rss = {part: round(after[part].rss / 2**20) for part in after}
        rows.append({"stack": running.name, "scenario": "idle", "cpu_percent": percent, "rss_mb": rss})
        total = f"{sum(percent.values()):.1f} % of a core {percent}, {sum(rss.values())} MB {rss}"
        click.echo(f"{running.name:22} idle: {total}", err=True)
    return rows


def line(row: Row) -> str:
    """A row for the eye."""
    cpu = " ".join(f"{part} {value:.2f}" for part, value in row["cpu_ms"].items())
    text = (
        f"{row['stack']:22} {row['scenario']:30} accepted/s {row['accepted_per_s']:7.0f} {_latency(row['accept_ms'])}"
    )
    if row["ended"]:
        text += f"  jobs/s {row['jobs_per_s']:6.0f} {_latency(row['result_ms'])}"
    if row["polls"]:
        text += f"  polls/s {row['polls_per_s']:6.0f} {_latency(row['poll_ms_seen'])}"
    text += f"  failed {row['failed']} unended {row['unended']}  CPU ms {stack_cpu(row):.2f} ({cpu})"
    if row["upstream"]["repeated"]:
        text += f"  repeated {row['upstream']['repeated']}"
    text += f"  others {row['others_percent']} %"
    return text + (f"  batches {row['batches']}" if row["batches"] else "")


def _latency(series: Mapping[str, float]) -> str:
    return f"[{series['p50']:.1f}/{series['p99']:.1f}/{series['p999']:.1f} ms]"


async def histogram(running: Running, name: str, since: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Sum and count of one of the product's histograms, over all components and labels, less what was there before."""
    found = (-since[0], -since[1])
    for component, url in running.metrics.items():
        if running.children.running[component].exit_code is None:
            text = await asyncio.to_thread(_get, url)
            found = found[0] + _value(text, f"{name}_sum"), found[1] + _value(text, f"{name}_count")
    return found


async def _batches(running: Running) -> dict[str, tuple[float, float]]:
    return {name: await histogram(running, f"{name}_batch_jobs") for name in BATCHES}


def _means(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {
        name: round((after[name][0] - total) / (after[name][1] - count), 1)
        for name, (total, count) in before.items()
        if after[name][1] > count
    }


def _value(text: str, name: str) -> float:
    lines = (line for line in text.splitlines() if line.startswith(f"coatcheck_{name}"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content.decode()
