"""A drill from the first process to the verdict."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from coatcheck.dev import apache_kafka
from coatcheck.dev.child import ProgramMissing
from coatcheck.drill.faults.kinds import KINDS
from coatcheck.drill.faults.nemesis import Nemesis
from coatcheck.drill.load.clients import Clients, log_directory
from coatcheck.drill.load.concurrent_pollers import ConcurrentPollers
from coatcheck.drill.model import plan
from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.scenarios.scenario import Scenario
from coatcheck.drill.stack.cluster import CLUSTER, PRODUCT, Cluster, Setup
from coatcheck.drill.stack.processes import ProcessStats, peak_memory, take_vitals
from coatcheck.drill.upstream.call_log import CallLog
from coatcheck.drill.upstream.server import start_upstream
from coatcheck.drill.verdict.observations import gather, watch_ends
from coatcheck.drill.verdict.report import Report

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """What to break and how hard; None takes the scenario's own figure. Logs are kept in `directory`, if named."""

    scenario: str | Scenario = "mixed"
    seed: int = 7
    jobs: int | None = None
    seconds: float | None = None
    faults: int | None = None
    setup: Setup = field(default_factory=Setup)
    cluster: bool = False
    directory: str = ""


async def drill(options: DrillOptions, say: Say) -> Report:
    """Run one drill. Raises ChildFailed when a part does not start at all, ProgramMissing when one is not there."""
    scenario, setup = _what(options, say)
    with log_directory(options.directory) as directory:
        calls = CallLog(directory / "calls.jsonl")
        server, port, _ = await start_upstream(log=calls)
        cluster = Cluster(directory, setup, port)
        try:
            await cluster.open()
            await cluster.start(say)
            return await _measured(scenario, options.seed, cluster, calls, say)
        finally:
            await cluster.stop()
            cluster.kill_all()
            server.close()
            calls.close()


def _what(options: DrillOptions, say: Say) -> tuple[Scenario, Setup]:
    """The scenario with the caller's figures, without what is impossible here, and what must be started for it."""
    scenario = options.scenario if isinstance(options.scenario, Scenario) else SCENARIOS[options.scenario]
    setup = _with_needs_of(scenario, options.setup)
    if options.cluster or scenario.cluster:
        if apache_kafka.what_is_missing():
            raise ProgramMissing(apache_kafka.what_is_missing())
        setup = replace(setup, size=CLUSTER)
        scenario = SCENARIOS.get(f"{scenario.name}-cluster", scenario)
    elif scenario.size is not None:
        setup = replace(setup, size=scenario.size)
    missing = {draw: KINDS[draw.kind].missing() for draw in scenario.draws}
    for draw, what in missing.items():
        if what:
            say(f"left out: {draw.kind} {draw.component}: {what}")
    possible = tuple(draw for draw in scenario.draws if not missing[draw])
    kinds = {draw.kind for draw in possible}
    full = {f"{draw.component}{draw.node}" for draw in possible if draw.kind in ("disk-full", "no-room")}
    return (
        replace(
            scenario,
            draws=possible,
            jobs=options.jobs or scenario.jobs,
            seconds=options.seconds or scenario.seconds,
            faults=options.faults or scenario.faults,
        ),
        replace(
            setup,
            preload=not kinds.isdisjoint(("clock", "disk-slow", "look-up")),
            named="look-up" in kinds,
            small_disks=tuple(sorted(full)),
        ),
    )


def _with_needs_of(scenario: Scenario, setup: Setup) -> Setup:
    """The setup with what a scenario starts its components with; the caller's own wishes count more."""
    environ = {name: {**scenario.environ, **setup.environ.get(name, {})} for name in (*PRODUCT, "init")}
    return replace(
        setup,
        commands={**scenario.commands, **setup.commands},
        environ={**setup.environ, **environ},
        settings=scenario.settings + setup.settings,
        keeps=scenario.keeps,
    )


async def _measured(scenario: Scenario, seed: int, cluster: Cluster, calls: CallLog, say: Say) -> Report:
    clients = Clients(cluster.urls, cluster.directory, scenario, seed)
    started = time.monotonic()
    herd = ConcurrentPollers(cluster.urls, scenario.herd, seed)
    nodes = {name: len(nodes) for name, nodes in cluster.nodes.items()}
    nemesis = Nemesis(cluster, planned(scenario, seed, nodes), started, say)
    endings: Counter[UUID] = Counter()
    history: dict[str, list[ProcessStats]] = {}
    beside = [asyncio.create_task(work) for work in (nemesis.watch(), watch_ends(cluster, endings))]
    if sys.stderr.isatty():
        beside.append(asyncio.create_task(clients.say_progress(say)))
    looking = asyncio.create_task(_look_at(cluster, scenario.process_stats, history))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(clients.run(scenario.patience))
            group.create_task(nemesis.run())
            if scenario.herd:
                group.create_task(herd.run())
        took = time.monotonic() - started
        looking.cancel()
        observations = await gather(cluster, clients, calls, endings, len(nemesis.applied))
    finally:
        for task in (*beside, looking):
            task.cancel()
        clients.close()
    beyond = {
        **calls.figures(),
        **_memory(cluster),
        **(herd.figures() if scenario.herd else {}),
        "drill_cpu_share": round(time.process_time() / took, 3),
    }
    size = cluster.setup.size
    return Report(scenario, seed, size, clients, nemesis, calls, observations, history, beyond, took)


def planned(scenario: Scenario, seed: int, nodes: Mapping[str, int]) -> Sequence[plan.Fault]:
    """The schedule of a scenario's faults. `nodes` says how many members each component has."""
    draws, seconds = scenario.draws, scenario.seconds
    if scenario.shape in ("steady", "late"):
        at = seconds * (1 - plan.MARGIN if scenario.shape == "late" else plan.MARGIN)
        return plan.steady(draws, at, seed=seed, nodes=nodes)
    if scenario.shape == "in turn":
        return plan.in_turn(draws, seed=seed, seconds=seconds, nodes=nodes)
    first = scenario.opening if plan.opening_seconds(scenario.opening) < seconds / 2 else ()
    left = seconds - plan.opening_seconds(first)
    rest = plan.spread(draws, seed=seed, seconds=left, faults=scenario.faults, nodes=nodes)
    return plan.opening(first, rest, seed=seed, nodes=nodes) if first else rest


def _memory(cluster: Cluster) -> dict[str, float]:
    peak = max((peak_memory(node.pid) for node in cluster.nodes["worker"] if node.pid), default=0)
    return {"worker_mb": round(peak / 1024)} if peak else {}


async def _look_at(cluster: Cluster, every: float, history: dict[str, list[ProcessStats]]) -> None:
    while every:
        for name, stats in (await asyncio.to_thread(take_vitals, cluster.pids)).items():
            history.setdefault(name, []).append(stats)
        await asyncio.sleep(every)
