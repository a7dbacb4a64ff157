"""The kinds of faults, a function each: it breaks something, yields, mends it and waits until that works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from uuid import UUID

from coatcheck.drill.model.plan import Fault
from coatcheck.drill.stack import disk, preload
from coatcheck.drill.stack.cluster import PRODUCT, Cluster
from coatcheck.drill.stack.network import Trouble
from coatcheck.drill.stack.node import Node
from coatcheck.drill.stack.processes import processes_of
from shared.domain.catalogue import BY_TYPE, MODALITIES
from shared.domain.errors import StoreUnavailable
from shared.kafka.notification import MAX_IDS, encode_notification
from shared.kafka.publisher import send_noise
from shared.kafka.topics import delete_topic
from shared.mongo.audit import statuses
from shared.mongo.connection.client import connect
from shared.settings.table import Settings

Act = Callable[[Cluster, Fault, Sequence[Node]], AsyncIterator[None]]

PROCESSES = (*PRODUCT, "broker", "mongod")
_LOAD_MODALITY = BY_TYPE["embedding"].modality

_ROUND_SECONDS = 0.1
"""The period after which the kernel too gives a process its share of CPU again."""
_FLAKY_SHARE = 0.01
_FLAKY_SECONDS = 0.2
_AHEAD_SECONDS = 2.0
"""Shorter than the time after which a primary that is alone steps down."""
_AGAIN_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `alone`: no other fault of its component at the same time. `missing` says what it needs and lacks."""

    says: str
    components: tuple[str, ...]
    act: Callable[[Cluster, Fault, Sequence[Node]], AbstractAsyncContextManager[None]]
    alone: bool
    missing: Callable[[], str]


KINDS: dict[str, Kind] = {}


def kind(
    name: str, says: str, components: tuple[str, ...], *, alone: bool = False, missing: Callable[[], str] = str
) -> Callable[[Act], Act]:

    def enter(act: Act) -> Act:
        KINDS[name] = Kind(says, components, asynccontextmanager(act), alone, missing)
        return act

    return enter


async def _start_again(cluster: Cluster, nodes: Sequence[Node]) -> None:
    await asyncio.gather(*(node.start_again() for node in nodes))
    if cluster.brokers.forgetful and any(node.component == "broker" for node in nodes):
        await cluster.init()


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@kind("kill", "kill -9, started again later", PROCESSES)
async def _kill(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        node.kill()
    yield
    await _start_again(cluster, victims)


@kind("term", "SIGTERM, started again later", PROCESSES)
async def _term(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    await asyncio.gather(*(node.stop() for node in victims))
    yield
    await _start_again(cluster, victims)


@kind("freeze", "SIGSTOP, later SIGCONT", PROCESSES)
async def _freeze(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for node in victims:
            node.signal(signal.SIGCONT)


@kind("starve", "hardly any CPU: stopped for so much of every tenth of a second", PROCESSES)
async def _starve(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    async with _meanwhile(_stop_and_go(victims, fault.amount)):
        yield
    for node in victims:
        node.signal(signal.SIGCONT)


async def _stop_and_go(victims: Sequence[Node], stopped: float) -> None:
    while True:
        for number, pause in ((signal.SIGSTOP, stopped), (signal.SIGCONT, _ROUND_SECONDS - stopped)):
            for node in victims:
                node.signal(number)
            await asyncio.sleep(pause)


@kind("kill-one", "kill -9 of one of an edge's server processes", ("edge",))
async def _kill_one(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        _kill_server(node)
    yield


@kind(
    "no-room",
    "no room for its logs and metrics, and a server process must start so",
    ("edge",),
    missing=disk.what_is_missing,
)
async def _no_room(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        await asyncio.to_thread(cluster.disks[node.name].fill)
        _kill_server(node)
    yield
    for node in victims:
        cluster.disks[node.name].free()


def _kill_server(edge: Node) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(max(pid for pid, _ in processes_of({edge.pid: edge.name}) if pid != edge.pid), signal.SIGKILL)


@kind("outage", "kill -9 of every process at once", ("everything",), alone=True)
async def _outage(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        node.kill()
    yield
    for components in (("mongod", "broker"), PRODUCT):
        await _start_again(cluster, [node for node in victims if node.component in components])


@kind("step-down", "replSetStepDown of the primary", ("mongod",), alone=True)
async def _step_down(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    await cluster.databases.step_down(victims[0].number, max(1, round(fault.lasts)))
    yield
    await cluster.databases.settled()


@kind("kill-ahead", "kill -9 of a primary whose last 2 s of writes the others do not have", ("mongod",), alone=True)
async def _kill_ahead(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    names, others = [node.name for node in victims], ["mongod*"]
    with cluster.network.trouble(Trouble("cut", names, others), Trouble("cut", others, names)):
        await asyncio.sleep(_AHEAD_SECONDS)
        for node in victims:
            node.kill()
        yield  # the cut lasts beyond the kill: a mended link would still deliver the missing writes
    await _start_again(cluster, victims)
    await cluster.databases.settled()


@kind("wipe", "kill -9, and its disk is empty when it comes back", ("mongod", "broker"), alone=True)
async def _wipe(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    if fault.component == "mongod":
        await cluster.databases.settled()  # with two copies gone at once data is lost whatever the product does
    for node in victims:
        node.kill()
        await node.wipe()
    yield
    if fault.component == "mongod":
        await (
            cluster.databases.primary()
        )  # an empty member votes for any candidate, also for one without the latest writes
    await _start_again(cluster, victims)
    if fault.component == "mongod":
        await cluster.databases.settled()
    else:
        await cluster.init()


@kind("forget", "kill -9, all disks are empty when they come back, and `init` is run again", ("mongod",), alone=True)
async def _forget(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    for node in victims:
        node.kill()
        await node.wipe()
    yield
    cluster.databases.forget_set()
    await _start_again(cluster, victims)
    await cluster.databases.initiate()
    await cluster.init()


@kind("disk-full", "no room on its disk; it may die of that", ("mongod",), missing=disk.what_is_missing)
async def _disk_full(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    disks = [cluster.disks[node.name] for node in victims]
    await asyncio.gather(*(asyncio.to_thread(each.fill) for each in disks))
    yield
    for each in disks:
        each.free()
    await _start_again(cluster, [node for node in victims if not node.runs])
    await cluster.databases.settled()


@kind("delete-topic", "the topic of the load is deleted; later `init` is run again", ("broker",), alone=True)
async def _delete_topic(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    await asyncio.to_thread(delete_topic, await asyncio.to_thread(cluster.settings), _LOAD_MODALITY)
    yield
    await cluster.init()


@kind("poison", "records in the notification topics that are no notifications", ("broker",))
async def _poison(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    rng = random.Random(fault.at)
    unknown = [UUID(bytes=rng.randbytes(16)) for _ in range(8)]
    notifications = [None, b"", rng.randbytes(40), rng.randbytes(900_000), b"\x01" + rng.randbytes(15), b"\xff" * 17]
    settings = await asyncio.to_thread(cluster.settings)
    for modality in MODALITIES:
        await asyncio.to_thread(send_noise, settings, modality, [*notifications, encode_notification(unknown)])
    yield


@kind("notify-again", "the notifications of all live jobs notify again and again", ("broker",))
async def _notify_again(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    async with _meanwhile(_notify_live(await asyncio.to_thread(cluster.settings))):
        yield


async def _notify_live(settings: Settings) -> None:
    async with connect(settings, role="operator", wait=30) as database:
        while True:
            with contextlib.suppress(StoreUnavailable):
                found = await statuses(database)
                live = [job_id for job_id, status in found.items() if status in ("pending", "processing")]
                notifications = [encode_notification(live[at : at + MAX_IDS]) for at in range(0, len(live), MAX_IDS)]
                await asyncio.to_thread(send_noise, settings, _LOAD_MODALITY, notifications)
            await asyncio.sleep(_AGAIN_SECONDS)


@kind("flaky", "all links: up to 0.2 s late, and a connection in a hundred is reset each second", ("everything",))
async def _flaky(cluster: Cluster, fault: Fault, victims: Sequence[Node]) -> AsyncIterator[None]:
    async with _meanwhile(_late_and_reset(cluster, random.Random(fault.at))):
        yield


async def _late_and_reset(cluster: Cluster, rng: random.Random) -> None:
    while True:
        with cluster.network.trouble(Trouble("delay", ["*"], ["*"], rng.uniform(0, _FLAKY_SECONDS))):
            cluster.network.reset_some(_FLAKY_SHARE, rng)
            await asyncio.sleep(1.0)


def _linux() -> str:
    return "" if sys.platform.startswith("linux") else "telling connections apart needs Linux"


async def _network(
    name: Literal["cut", "reset", "truncate", "delay"], cluster: Cluster, fault: Fault, victims: Sequence[Node]
) -> AsyncIterator[None]:
    names, peers = [node.name for node in victims], [fault.peer]
    with cluster.network.trouble(Trouble(name, names, peers, fault.amount), Trouble(name, peers, names, fault.amount)):
        yield


for _name, _says in (
    ("cut", "nothing passes between it and its peers, and nobody is told"),
    ("reset", "its connections are reset, and new ones too"),
    ("truncate", "its connections break after some more bytes, and new ones too"),
    ("delay", "everything between it and its peers comes so much later"),
):
    kind(_name, _says, PROCESSES, missing=_linux)(partial(_network, _name))  # type: ignore[arg-type]


async def _preloaded(
    wrong: Literal["wrong_by", "sync_takes", "look_up_takes"], cluster: Cluster, fault: Fault, victims: Sequence[Node]
) -> AsyncIterator[None]:
    for node in victims:
        cluster.preload.set(node.name, **{wrong: fault.amount})
    yield
    for node in victims:
        cluster.preload.set(node.name)


for _name, _says, _components, _wrong in (
    ("clock", "its wall clock is wrong, later right again", (*PRODUCT, "mongod"), "wrong_by"),
    ("disk-slow", "each sync of a file to its disk takes so much longer", ("mongod",), "sync_takes"),
    ("look-up", "look-ups of hosts take so much longer; negative: fail", PRODUCT, "look_up_takes"),
):
    kind(_name, _says, _components, missing=preload.what_is_missing)(partial(_preloaded, _wrong))  # type: ignore[arg-type]
