"""A drill from the first process to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import coatcheck.drill.losses
import coatcheck.drill.slow_faults
import coatcheck.drill.subtle_faults  # noqa: F401 - these enter their kinds of faults
from coatcheck.dev import apache_kafka
from coatcheck.dev.child import ProgramMissing
from coatcheck.drill.call_log import CallLog
from coatcheck.drill.cluster import CLUSTER, PRODUCT, Cluster, Setup
from coatcheck.drill.evidence import gather, watch_ends
from coatcheck.drill.faults import KINDS
from coatcheck.drill.herd import Herd
from coatcheck.drill.load import Clients, LoadOptions
from coatcheck.drill.nemesis import Nemesis
from coatcheck.drill.outcome import Run
from coatcheck.drill.plan import Draw, Fault, in_turn_plan, make_plan, steady_plan
from coatcheck.drill.report import Report
from coatcheck.drill.scenario import Scenario
from coatcheck.drill.scenarios import SCENARIOS
from coatcheck.drill.upstream import start_upstream
from coatcheck.drill.vitals import Vitals, take_vitals

_PROGRESS_SECONDS = 2.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """What to break and how hard; None takes the scenario's own figure.

    `scenario` is one, or the name of a known one. `directory` keeps all logs; empty: a temporary one that goes when all
    is well.
    """

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
    with contextlib.ExitStack() as stack:
        directory = Path(options.directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
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
    possible = []
    for draw in scenario.draws:
        missing = KINDS[draw.kind].missing()
        if missing:
            say(f"left out: {draw.kind} {draw.component}: {missing}")
        else:
            possible.append(draw)
    kinds = {draw.kind for draw in possible}
    full = {f"{draw.component}{draw.member}" for draw in possible if draw.kind in ("disk-full", "no-room")}
    return (
        replace(
            scenario,
            draws=tuple(possible),
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


def _load_of(scenario: Scenario, seed: int) -> LoadOptions:
    return LoadOptions(
        jobs=scenario.jobs,
        seconds=scenario.seconds,
        seed=seed,
        count=scenario.clients,
        models=scenario.models,
        latencies=scenario.latencies,
        storm=scenario.storm,
        headers=scenario.headers,
        forgets=scenario.forgets,
    )


async def _measured(scenario: Scenario, seed: int, cluster: Cluster, calls: CallLog, say: Say) -> Report:
    load = _load_of(scenario, seed)
    clients = Clients(cluster.urls, cluster.directory, load)
    started = time.monotonic()
    herd = Herd(cluster.urls, scenario.herd, seed)
    nemesis = Nemesis(cluster, planned(scenario, seed, cluster.counts), started, say)
    endings: Counter[UUID] = Counter()
    beside = [
        asyncio.create_task(_progress(clients, scenario.jobs, started, say)),
        asyncio.create_task(nemesis.watch()),
        asyncio.create_task(watch_ends(cluster, endings)),
    ]
    history: dict[str, list[Vitals]] = {}
    looking = asyncio.create_task(_look_at(cluster, scenario.vitals, history))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(clients.run(scenario.seconds + scenario.patience))
            group.create_task(nemesis.run())
            if scenario.herd:
                group.create_task(herd.run())
        took = time.monotonic() - started
        looking.cancel()
        evidence = await gather(cluster, clients, calls, endings)
    finally:
        for task in (*beside, looking):
            task.cancel()
        clients.close()
    beyond = {**calls.figures(), **_memory(cluster), **(herd.figures() if scenario.herd else {})}
    return Run(scenario, seed, cluster.setup.size, clients, nemesis, calls, evidence, history, beyond, took).report()


def planned(scenario: Scenario, seed: int, members: Mapping[str, int]) -> Sequence[Fault]:
    """The schedule of a scenario's faults."""
    draws: Sequence[Draw] = scenario.draws
    if scenario.shape in ("steady", "late"):
        late = scenario.shape == "late"
        return steady_plan(draws, seed=seed, seconds=scenario.seconds, members=members, late=late)
    if scenario.shape == "in turn":
        return in_turn_plan(draws, seed=seed, seconds=scenario.seconds, members=members)
    return make_plan(draws, seed=seed, seconds=scenario.seconds, faults=scenario.faults, members=members)


def _memory(cluster: Cluster) -> dict[str, float]:
    """The most memory that a worker which runs now has held, in MB. Linux only."""
    status = [Path(f"/proc/{member.pid}/status") for member in cluster.members["worker"] if member.pid]
    peaks = [int(line.split()[1]) for path in status if path.exists()
             for line in path.read_text().splitlines() if line.startswith("VmHWM")]  # fmt: skip
    return {"worker_mb": round(max(peaks) / 1024)} if peaks else {}


async def _look_at(cluster: Cluster, every: float, history: dict[str, list[Vitals]]) -> None:
    """For ever, if at all: note what each process holds."""
    while every:
        groups = {member.pid: member.name for member in cluster.everybody if member.pid}
        for name, vitals in (await asyncio.to_thread(take_vitals, groups)).items():
            history.setdefault(name, []).append(vitals)
        await asyncio.sleep(every)


async def _progress(clients: Clients, jobs: int, started: float, say: Say) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        if sys.stderr.isatty():
            seconds = time.monotonic() - started
            say(f"{seconds:5.1f} s  accepted {clients.accepted}/{jobs}  ended {clients.ended}")
