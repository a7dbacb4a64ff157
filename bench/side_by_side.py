"""The product and all peers in one run: started and idle together, then scenario by scenario one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click

from bench import references, scenarios
from bench.loadgen import Loads, Upstream, embedding
from bench.measure import TRIES, Row, Scenario, calmest, idle
from bench.running import Running
from bench.stacks.peers import ALWAYS, PEERS, Peer, peer
from bench.stacks.product import Variant, coatcheck, constant
from bench.targets import BATCHING, PRODUCT
from coatcheck.dev.child import ChildFailed, ProgramMissing

Thoroughness = Literal["whole", "quick", "smoke"]
SECONDS = {"whole": 15.0, "quick": 3.0, "smoke": 0.5}
IDLE_SECONDS = {"whole": (15.0, 20.0), "quick": (3.0, 5.0), "smoke": (0.0, 1.0)}
"""To settle, and to look."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared, and how thoroughly."""

    thoroughness: Thoroughness
    broker: str
    only: Sequence[str] = ()

    def variants(self) -> list[Variant]:
        """The product, as wanted."""
        return [Variant(PRODUCT, self.broker)] if self.takes(PRODUCT) else []

    def peers(self) -> list[Peer]:
        """The peers, with every write synced as well when there is time."""
        return [
            each
            for each in (*PEERS, *(ALWAYS if self.thoroughness == "whole" else ()))
            if self.takes(each.name.partition(",")[0])
        ]

    def stacks(self) -> list[Variant | Peer]:
        """All, the product first."""
        return [*self.variants(), *self.peers()]

    @property
    def tries(self) -> int:
        """How often something is measured at most; a smoke does not look at its figures."""
        return 1 if self.thoroughness == "smoke" else TRIES

    def takes(self, name: str) -> bool:
        """Whether this stack is wanted."""
        return not self.only or name in self.only


async def open_stack(
    which: Variant | Peer, directory: Path, upstream: Upstream, opened: contextlib.AsyncExitStack
) -> Running | None:
    """Start one stack, to be stopped with `opened`; None, with a line that says why, where something is missing."""
    home = directory / which.name.replace(", ", "-").replace(" ", "-")
    home.mkdir()
    opening = peer if isinstance(which, Peer) else coatcheck
    try:
        return await opened.enter_async_context(opening(home, upstream.url, which))  # type: ignore[arg-type]
    except (ProgramMissing, ChildFailed) as missing:
        click.echo(f"{which.name}: left out: {missing}", err=True)
        return None


class Rows:
    """What was measured, kept in the results file row by row, so that an interrupted run has its figures too."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = []

    def add(self, *rows: Row) -> None:
        """Keep them."""
        self.rows += rows
        with self.file.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


async def compare(plan: Plan, directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """Measure everything in the plan."""
    async with contextlib.AsyncExitStack() as opened:
        stacks = await _start(plan, directory, upstream, loads, opened, rows)
        await _references(plan, directory, stacks, loads, upstream, rows)
        rows.add(*await idle(stacks, *IDLE_SECONDS[plan.thoroughness]))
        for running in stacks:
            await loads.run(running.url, [embedding()], **scenarios.WARM_UP.flags)
        for scenario in scenarios.side_by_side(
            SECONDS[plan.thoroughness],
            callers=50 if plan.thoroughness == "smoke" else 500,
            more=plan.thoroughness == "whole",
        ):
            for running in stacks:
                if scenario.product_only and running.name != PRODUCT:
                    continue
                rows.add(*await calmest(running, scenario, loads, upstream, tries=plan.tries))
                if scenario.batched and running.name == PRODUCT:
                    batching = replace(scenario, asked=scenario.batched)
                    batched = replace(running, name=BATCHING)
                    rows.add(*await calmest(batched, batching, loads, upstream, tries=plan.tries))
                if scenario.name == scenarios.SUBMIT:
                    await _last(plan, running, scenario, loads, upstream, rows)


async def _last(plan: Plan, running: Running, submit: Scenario, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """Submit once more without the broker, where there is one; then stop it, or its backlog would disturb others."""
    if "broker" in running.children.running:
        running.kill("broker")
        without = Scenario(scenarios.SUBMIT_NO_BROKER, submit.flags)
        rows.add(*await calmest(running, without, loads, upstream, tries=plan.tries))
    await asyncio.to_thread(running.children.kill)


async def _start(
    plan: Plan, directory: Path, upstream: Upstream, loads: Loads, opened: contextlib.AsyncExitStack, rows: Rows
) -> list[Running]:
    """Start the stacks one after the other; each row says how long its first result took. A missing one is left out."""
    stacks = []
    for which in plan.stacks():
        name, began = which.name, time.monotonic()
        running = await open_stack(which, directory, upstream, opened)
        if running is None:
            continue
        ready = time.monotonic() - began
        first = await loads.run(running.url, [embedding()], mode="result", callers=1, jobs=1, limit="60s")
        rows.add(
            {"stack": name, "scenario": "cold start", "ready_s": ready, "first_result_ms": first["result_ms"]["max"]}
        )
        stacks.append(running)
    return stacks


async def _references(
    plan: Plan, directory: Path, stacks: Sequence[Running], loads: Loads, upstream: Upstream, rows: Rows
) -> None:
    """The limits of this machine. Those of the product's parts need the product."""
    async with _constant(directory) as bare:
        for name in (scenarios.SUBMIT, scenarios.STORM):
            mode = {"mode": "submit", "callers": 128 if name == scenarios.SUBMIT else 64, "jobs": 0, "period": "2s"}
            rows.add(*await calmest(bare, Scenario(name, mode), loads, upstream, tries=plan.tries))
    arguments = {"python": "", "upstream_calls": upstream.url}
    for running in stacks:
        if running.name == PRODUCT:
            arguments |= {"insert_many": running.database, "produce": running.bootstrap}
    for name, argument in arguments.items():
        rows.add(await _reference(name, argument))


@contextlib.asynccontextmanager
async def _constant(directory: Path) -> AsyncIterator[Running]:
    home = directory / "constant"
    home.mkdir()
    async with constant(home) as running:
        yield running


async def _reference(name: str, argument: str) -> Row:
    command = [sys.executable, "-m", references.__name__, name, argument]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the reference {name} ended with {process.returncode}")
    row: Row = {"stack": "reference", "scenario": name, **json.loads(output)}
    click.echo(f"{'reference':22} {name:30} {row['per_s']:.0f}/s, {row['cpu_ms']:.3f} ms CPU each", err=True)
    return row
