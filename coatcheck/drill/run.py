"""A drill from the first process to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coatcheck.drill.call_log import CallLog
from coatcheck.drill.cluster import LEASE_SECONDS, BrokerPart, Cluster, Size
from coatcheck.drill.load import Clients
from coatcheck.drill.plan import SCENARIOS, Fault, make_plan
from coatcheck.drill.upstream import start_upstream
from coatcheck.drill.verdict import Evidence, Verdict, judge
from shared.mongo.audit import endings, statuses
from shared.mongo.client import connect
from shared.settings import load_settings

QUIESCE_SECONDS = 120.0
"""How long after the last submit a job may still run before it counts as stuck."""
_CLIENTS = 32
_PROGRESS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """What to break and how hard. `directory` keeps all logs; empty: a temporary one that goes when all is well."""

    scenario: str = "mixed"
    seed: int = 7
    jobs: int = 1000
    seconds: float = 45.0
    faults: int = 12
    size: Size = field(default_factory=Size)
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict and what belongs beside it."""

    options: DrillOptions
    verdict: Verdict
    faults: Sequence[Fault]
    took: float
    waits: Sequence[float]
    """Seconds from accepted to seen ended, by job."""

    def lines(self) -> list[str]:
        """For a terminal."""
        kinds = Counter((fault.component, fault.kind) for fault in self.faults)
        what = ", ".join(f"{count} x {kind} {component}" for (component, kind), count in sorted(kinds.items()))
        v = self.verdict
        return [
            f"{self.options.scenario}: {self.options.jobs:,} jobs, {what or 'no faults'}, "
            f"seed {self.options.seed}, {self.took:.0f} s, leases of {LEASE_SECONDS} s",
            f"accepted {v.accepted}  ended {v.ended}  lost {v.lost}  stuck {v.stuck}  changed {v.changed}  "
            f"doubled {v.doubled}  provider calls repeated {v.repeated_calls}  failed {v.failed}",
            f"accepted to ended: {_percentiles(self.waits)}",
            *(f"VIOLATION {violation}" for violation in v.violations),
        ]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "scenario": self.options.scenario,
            "seed": self.options.seed,
            "jobs": self.options.jobs,
            "faults": [f"{fault.at:.1f} s: {fault.kind} {fault.component} {fault.member}" for fault in self.faults],
            "seconds": round(self.took, 1),
            **self.verdict.as_dict(),
        }


async def drill(options: DrillOptions, say: Callable[[str], None], broker: BrokerPart | None = None) -> Report:
    """Run one drill, with the embedded broker or another. Raises ChildFailed when a part does not start at all."""
    with contextlib.ExitStack() as stack:
        directory = Path(options.directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        calls = CallLog(directory / "calls.jsonl")
        server, port, _ = await start_upstream(log=calls)
        cluster = Cluster(directory, options.size, port, broker)
        try:
            await cluster.start(say)
            return await _measured(options, cluster, calls, directory, say)
        finally:
            await cluster.stop()
            cluster.kill_all()
            server.close()
            calls.close()


async def _measured(
    options: DrillOptions, cluster: Cluster, calls: CallLog, directory: Path, say: Callable[[str], None]
) -> Report:
    scenario = SCENARIOS[options.scenario]
    plan = make_plan(
        scenario, seed=options.seed, seconds=options.seconds, faults=options.faults, members=cluster.counts
    )
    clients = Clients(
        cluster.urls,
        directory,
        jobs=options.jobs,
        seconds=options.seconds,
        count=_CLIENTS,
        seed=options.seed,
        storm=scenario.storm,
    )
    started = time.monotonic()
    progress = asyncio.create_task(_progress(clients, options, started, say))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(clients.run(options.seconds + QUIESCE_SECONDS))
            group.create_task(_nemesis(cluster, plan, started, say))
        took = time.monotonic() - started
        evidence = await _gather(cluster, clients, calls)
    finally:
        progress.cancel()
        await clients.close()
    waits = [ticket.ended_at - ticket.accepted_at for ticket in clients.tickets if ticket.ended_at]
    return Report(options, judge(evidence), plan, took, waits)


async def _nemesis(cluster: Cluster, plan: Sequence[Fault], started: float, say: Callable[[str], None]) -> None:
    """Apply the schedule. Faults of one member never overlap: the next one waits until it is back."""
    turns: dict[tuple[str, int], asyncio.Lock] = {}

    async def one(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, started + fault.at - time.monotonic()))
        async with turns.setdefault((fault.component, fault.member), asyncio.Lock()):
            say(f"{time.monotonic() - started:5.1f} s  {fault.kind} {fault.component} {fault.member}")
            await cluster.apply(fault)

    async with asyncio.TaskGroup() as group:
        for fault in plan:
            group.create_task(one(fault))


async def _gather(cluster: Cluster, clients: Clients, calls: CallLog) -> Evidence:
    final = await clients.collect_again()
    settings = load_settings(environ={k: v for k, v in cluster.environ.items() if k.startswith("COATCHECK_")})
    async with connect(settings, role="operator", wait=30) as database:
        stored = await statuses(database)
        ended = await endings(database)
    return Evidence(
        tickets=clients.tickets,
        final=final,
        stored={str(job_id): status for job_id, status in stored.items()},
        endings={str(job_id): count for job_id, count in ended.items()},
        calls=calls.by_marker(),
    )


async def _progress(clients: Clients, options: DrillOptions, started: float, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        if sys.stderr.isatty():
            seconds = time.monotonic() - started
            say(f"{seconds:5.1f} s  accepted {clients.accepted}/{options.jobs}  ended {clients.ended}")


def _percentiles(waits: Sequence[float]) -> str:
    if len(waits) < 2:
        return "too few to say"
    cuts = statistics.quantiles(waits, n=100)
    return f"p50 {cuts[49]:.2f} s, p95 {cuts[94]:.2f} s, p99 {cuts[98]:.2f} s, longest {max(waits):.1f} s"
