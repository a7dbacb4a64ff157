"""Kinds of faults in which nothing is gone and everything is slow, or breaks now and then."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Sequence

from coatcheck.drill.cluster import Cluster
from coatcheck.drill.faults import PROCESSES, kind
from coatcheck.drill.member import Member
from coatcheck.drill.network import Trouble
from coatcheck.drill.plan import Fault

_ROUND_SECONDS = 0.1
"""The period after which the kernel too gives a process its share of CPU again."""
_FLAKY_SHARE = 0.01
_FLAKY_SECONDS = 0.2
_EVERYBODY = ("*",)


@kind("starve", "hardly any CPU: stopped for so much of every tenth of a second", PROCESSES)
async def _starve(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    starving = asyncio.create_task(_stop_and_go(victims, fault.amount))
    yield
    await _ended(starving)
    for member in victims:
        member.signal(signal.SIGCONT)


async def _stop_and_go(victims: Sequence[Member], stopped: float) -> None:
    while True:
        for number, pause in ((signal.SIGSTOP, stopped), (signal.SIGCONT, _ROUND_SECONDS - stopped)):
            for member in victims:
                member.signal(number)
            await asyncio.sleep(pause)


@kind("flaky", "all links: up to 0.2 s late, and a connection in a hundred is reset each second", ("everything",))
async def _flaky(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    breaking = asyncio.create_task(_late_and_reset(cluster, random.Random(fault.at)))
    yield
    await _ended(breaking)


async def _late_and_reset(cluster: Cluster, rng: random.Random) -> None:
    while True:
        with cluster.network.trouble(Trouble("delay", _EVERYBODY, _EVERYBODY, rng.uniform(0, _FLAKY_SECONDS))):
            cluster.network.reset_some(_FLAKY_SHARE, rng)
            await asyncio.sleep(1.0)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
