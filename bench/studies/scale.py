"""What more processes bring and cost: the same loads on one, two and four edge processes with as many workers.

On a machine whose cores are full already the rates cannot grow; what a job costs then is what company costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import scenarios
from bench.loadgen import Loads, Upstream, embedding
from bench.measure import Scenario, calmest
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck

COUNTS = (1, 2, 4)
SECONDS = 5.0


async def scale(
    counts: Sequence[int], broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows
) -> None:
    """Polls, jobs and submits at each count; every worker has a partition."""
    for count in counts:
        home = directory / f"scale-{count}"
        home.mkdir()
        processes = {"COATCHECK_EDGE_PROCESSES": str(count), "COATCHECK_KAFKA_PARTITIONS": str(max(2, count))}
        variant = Variant(f"{count} of each", broker, count, processes)
        async with coatcheck(home, upstream.url, variant) as running:
            await loads.run(running.url, [embedding()], **scenarios.WARM_UP.flags)
            for scenario in _loads():
                named = replace(scenario, name=f"scale: {scenario.name}")
                rows.add(*await calmest(running, named, loads, upstream))


def _loads() -> list[Scenario]:
    """The submits leave a backlog and come last."""
    by_name = {each.name: each for each in scenarios.side_by_side(SECONDS)}
    return [by_name[name] for name in (scenarios.STORM, scenarios.RESULT_0, scenarios.RATE_100, scenarios.SUBMIT)]
