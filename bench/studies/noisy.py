"""One noisy key against twenty quiet ones: what the quiet ones wait while somebody else hands in all that fits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bench.loadgen import Loads, Upstream, embedding
from bench.measure import Scenario, measure
from bench.running import Running
from bench.scenarios import WARM_UP
from bench.side_by_side import Rows
from bench.stacks.product import Variant, coatcheck
from coatcheck.dev.component import COMMAND

QUIET = 20
SECONDS = 6


async def noisy(broker: str, directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """The quiet keys alone, then beside the noisy one."""
    async with coatcheck(directory, upstream.url, Variant(broker=broker)) as running:
        loud, *quiet = await asyncio.gather(*(_key(running, number) for number in range(QUIET + 1)))
        await loads.run(running.url, [embedding()], **WARM_UP.flags)
        flags = {"mode": "result", "rate": QUIET, "jobs": QUIET * SECONDS, "poll": "20ms", "keys": ",".join(quiet)}
        asked = [embedding("latency=100")]
        rows.add(await measure(running, Scenario("20 quiet keys alone", flags, asked), loads, upstream))
        noise = {
            "mode": "result",
            "callers": 2000,
            "jobs": 0,
            "period": f"{SECONDS + 2}s",
            "poll": "200ms",
            "keys": loud,
        }
        making = asyncio.create_task(loads.run(running.url, asked, **noise))
        await asyncio.sleep(1.0)  # until the noise is there
        rows.add(await measure(running, Scenario("20 quiet keys beside a noisy one", flags, asked), loads, upstream))
        rows.add({"stack": running.name, "scenario": "the noisy key", **await making})


async def _key(running: Running, number: int) -> str:
    environ = os.environ | {"COATCHECK_MONGODB_URI": running.database}
    command = [*COMMAND, "keys", "create", f"key-{number}"]
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("a virtual key could not be made")
    return output.decode().strip()
