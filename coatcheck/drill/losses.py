"""Kinds of faults after which something is not there any more: all data, a topic, one process of several."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence

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
        leader = member.pid
        servers = [int(pid) for pid, _ in processes_of({leader: member.name}) if int(pid) != leader]
        with contextlib.suppress(ProcessLookupError):
            os.kill(max(servers), signal.SIGKILL)
    yield
