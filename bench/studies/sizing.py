"""What a job costs at 10 and 100 a second and at the most that goes, with results as large as real embeddings."""

from __future__ import annotations

from pathlib import Path

from bench.loadgen import Loads, Upstream, embedding
from bench.measure import Scenario, measure
from bench.scenarios import WARM_UP, to_result
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck

LARGE = "latency=100,size=11400"
"""As many bytes as 1,536 numbers of a real model have in JSON: 34 KB."""


def loads_of(script: str) -> list[Scenario]:
    """The same jobs at three rates, polled as `Retry-After` says."""
    asked, size = [embedding(script)], "34 KB" if script == LARGE else "small"
    steady = {"mode": "result", "callers": 256, "follow": True}
    return [
        Scenario(f"{size}, 10 a second", {**steady, "rate": 10, "jobs": 120}, asked),
        Scenario(f"{size}, 100 a second", {**steady, "rate": 100, "jobs": 1000}, asked),
        Scenario(f"{size}, 500 in flight", to_result(500, 8.0), asked),
    ]


async def sizing(broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """Small results, then large ones."""
    async with coatcheck(directory, upstream.url, Variant(broker=broker)) as running:
        await loads.run(running.url, [embedding()], **WARM_UP.flags)
        for script in ("latency=100", LARGE):
            for scenario in loads_of(script):
                rows.add(await measure(running, scenario, loads, upstream))
