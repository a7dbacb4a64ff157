"""Kinds of faults that need a moment of their own: a primary that dies ahead of the others, bells that ring twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from coatcheck.drill.cluster import Cluster
from coatcheck.drill.faults import kind
from coatcheck.drill.member import Member
from coatcheck.drill.network import Trouble
from coatcheck.drill.plan import Fault
from shared.catalogue import BY_TYPE
from shared.errors import StoreUnavailable
from shared.kafka.bell import MAX_IDS, encode_bell
from shared.kafka.noise import send_noise
from shared.mongo.audit import statuses
from shared.mongo.client import connect
from shared.settings import Settings, load_settings

_AHEAD_SECONDS = 2.0
"""Shorter than the time after which a primary that is alone steps down."""
_RING_SECONDS = 0.3


@kind("kill-ahead", "kill -9 of a primary whose last 2 s of writes the others do not have", ("mongod",), alone=True)
async def _kill_ahead(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    names = [member.name for member in victims]
    others = ["mongod*"]
    with cluster.network.trouble(Trouble("cut", names, others), Trouble("cut", others, names)):
        await asyncio.sleep(_AHEAD_SECONDS)
        for member in victims:
            member.kill()
        yield  # mended sooner, the link would hand over what it holds back, and nobody was ahead
    await asyncio.gather(*(member.start_again() for member in victims))
    await cluster.databases.settled()


@kind("ring-again", "the bells of all live jobs ring again and again", ("broker",))
async def _ring_again(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    environ = {name: value for name, value in cluster.environ.items() if name.startswith("COATCHECK_")}
    settings = await asyncio.to_thread(load_settings, environ=environ)
    ringing = asyncio.create_task(_ring_live(settings))
    yield
    ringing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ringing


async def _ring_live(settings: Settings) -> None:
    async with connect(settings, role="operator", wait=30) as database:
        while True:
            with contextlib.suppress(StoreUnavailable):
                found = await statuses(database)
                live = [job_id for job_id, status in found.items() if status in ("pending", "processing")]
                bells = [encode_bell(live[start : start + MAX_IDS]) for start in range(0, len(live), MAX_IDS)]
                await asyncio.to_thread(send_noise, settings, BY_TYPE["embedding"].modality, bells)
            await asyncio.sleep(_RING_SECONDS)
