"""Kinds of faults after which something is not there any more: all data, a topic, one process of several."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence

from coatcheck.drill import disk
from coatcheck.drill.cluster import Cluster
from coatcheck.drill.evidence import settings_of
from coatcheck.drill.faults import kind
from coatcheck.drill.member import Member
from coatcheck.drill.owners import processes_of
from coatcheck.drill.plan import Fault
from shared.catalogue import BY_TYPE
from shared.kafka.noise import delete_topic


@kind("forget", "kill -9, all disks are empty when they come back, and `init` is run again", ("mongod",), alone=True)
async def _forget(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        member.kill()
        await member.wipe()
    yield
    cluster.databases.forget_set()
    await asyncio.gather(*(member.start_again() for member in victims))
    await cluster.databases.initiate()
    await cluster.init()


@kind("delete-topic", "the topic of the load is deleted; later `init` is run again", ("broker",), alone=True)
async def _delete_topic(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    settings = await asyncio.to_thread(settings_of, cluster)
    await asyncio.to_thread(delete_topic, settings, BY_TYPE["embedding"].modality)
    yield
    await cluster.init()


@kind("kill-one", "kill -9 of one of an edge's server processes", ("edge",))
async def _kill_one(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        kill_server(member)
    yield


@kind(
    "no-room",
    "no room for its logs and metrics, and a server process must start so",
    ("edge",),
    missing=disk.what_is_missing,
)
async def _no_room(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        await asyncio.to_thread(cluster.disks[member.name].fill)
        kill_server(member)
    yield
    for member in victims:
        cluster.disks[member.name].free()


def kill_server(edge: Member) -> None:
    """kill -9 of the newest of its server processes."""
    servers = [int(pid) for pid, _ in processes_of({edge.pid: edge.name}) if int(pid) != edge.pid]
    with contextlib.suppress(ProcessLookupError):
        os.kill(max(servers), signal.SIGKILL)
