"""The kinds of faults: how each is done to a member and how it is undone. A new kind is one more function here.

A kind is an async context manager: what comes before `yield` breaks, what comes after mends and waits until it works.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from uuid import UUID

from coatcheck.drill import disk, preload
from coatcheck.drill.cluster import PRODUCT, Cluster
from coatcheck.drill.member import Member
from coatcheck.drill.network import Trouble
from coatcheck.drill.plan import Fault
from shared.catalogue import MODALITIES
from shared.kafka.bell import encode_bell
from shared.kafka.noise import send_noise
from shared.settings import load_settings

Act = Callable[[Cluster, Fault, Sequence[Member]], AsyncIterator[None]]

PROCESSES = (*PRODUCT, "broker", "mongod")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `alone`: no other fault of its component at the same time. `missing` says what it needs and lacks."""

    says: str
    components: tuple[str, ...]
    act: Callable[[Cluster, Fault, Sequence[Member]], AbstractAsyncContextManager[None]]
    alone: bool
    missing: Callable[[], str]


KINDS: dict[str, Kind] = {}


def kind(
    name: str, says: str, components: tuple[str, ...], *, alone: bool = False, missing: Callable[[], str] = str
) -> Callable[[Act], Act]:
    """Enter a function into KINDS."""

    def enter(act: Act) -> Act:
        KINDS[name] = Kind(says, components, asynccontextmanager(act), alone, missing)
        return act

    return enter


@kind("kill", "kill -9, started again later", PROCESSES)
async def _kill(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        member.kill()
    yield
    await _start_again(cluster, victims)


@kind("term", "SIGTERM, started again later", PROCESSES)
async def _term(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    await asyncio.gather(*(member.stop() for member in victims))
    yield
    await _start_again(cluster, victims)


@kind("freeze", "SIGSTOP, later SIGCONT", PROCESSES)
async def _freeze(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        member.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for member in victims:
            member.signal(signal.SIGCONT)


@kind("outage", "kill -9 of every process at once", ("everything",), alone=True)
async def _outage(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    for member in victims:
        member.kill()
    yield
    for components in (("mongod", "broker"), PRODUCT):
        await _start_again(cluster, [member for member in victims if member.component in components])


@kind("step-down", "replSetStepDown of the primary", ("mongod",), alone=True)
async def _step_down(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    await cluster.databases.step_down(victims[0].number, max(1, round(fault.lasts)))
    yield
    await cluster.databases.settled()


@kind("wipe", "kill -9, and its disk is empty when it comes back", ("mongod", "broker"), alone=True)
async def _wipe(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    if fault.component == "mongod":
        await cluster.databases.settled()  # two copies gone at a time would be a loss that nothing can prevent
    for member in victims:
        member.kill()
        await member.wipe()
    yield
    if fault.component == "mongod":
        await cluster.databases.primary()  # one without memory votes for anybody, also for who lacks what it had
    await _start_again(cluster, victims)
    if fault.component == "mongod":
        await cluster.databases.settled()
    else:
        await cluster.init()


@kind("poison", "records in the bell topics that are no bells", ("broker",))
async def _poison(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    rng = random.Random(fault.at)
    unknown = [UUID(bytes=rng.randbytes(16)) for _ in range(8)]
    bells = [None, b"", rng.randbytes(40), rng.randbytes(900_000), b"\x01" + rng.randbytes(15), b"\xff" * 17]
    environ = {name: value for name, value in cluster.environ.items() if name.startswith("COATCHECK_")}
    settings = await asyncio.to_thread(load_settings, environ=environ)
    for modality in MODALITIES:
        await asyncio.to_thread(send_noise, settings, modality, [*bells, encode_bell(unknown)])
    yield


def _linux() -> str:
    return "" if sys.platform.startswith("linux") else "telling connections apart needs Linux"


async def _network(
    name: Literal["cut", "reset", "truncate", "delay"], cluster: Cluster, fault: Fault, victims: Sequence[Member]
) -> AsyncIterator[None]:
    names, peers = [member.name for member in victims], [fault.peer]
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
    wrong: Literal["wrong_by", "sync_takes", "look_up_takes"],
    cluster: Cluster,
    fault: Fault,
    victims: Sequence[Member],
) -> AsyncIterator[None]:
    for member in victims:
        cluster.preload.set(member.name, **{wrong: fault.amount})
    yield
    for member in victims:
        cluster.preload.set(member.name)


for _name, _says, _components, _wrong in (
    ("clock", "its wall clock is wrong, later right again", (*PRODUCT, "mongod"), "wrong_by"),
    ("disk-slow", "each sync of a file to its disk takes so much longer", ("mongod",), "sync_takes"),
    ("look-up", "look-ups of hosts take so much longer; negative: fail", PRODUCT, "look_up_takes"),
):
    kind(_name, _says, _components, missing=preload.what_is_missing)(partial(_preloaded, _wrong))  # type: ignore[arg-type]


async def _start_again(cluster: Cluster, members: Sequence[Member]) -> None:
    await asyncio.gather(*(member.start_again() for member in members))
    if cluster.brokers.forgetful and any(member.component == "broker" for member in members):
        await cluster.init()


@kind("disk-full", "no room on its disk; it may die of that", ("mongod",), missing=disk.what_is_missing)
async def _disk_full(cluster: Cluster, fault: Fault, victims: Sequence[Member]) -> AsyncIterator[None]:
    disks = [cluster.disks[member.name] for member in victims]
    await asyncio.gather(*(asyncio.to_thread(each.fill) for each in disks))
    yield
    for each in disks:
        each.free()
    await _start_again(cluster, [member for member in victims if not member.runs])
    await cluster.databases.settled()
