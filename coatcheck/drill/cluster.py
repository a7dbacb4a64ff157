"""The parts of a drill: real processes on loopback with doors in between, each of which can be broken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from coatcheck.dev.component import COMMAND, INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.drill.brokers import Brokers, open_brokers
from coatcheck.drill.databases import Databases, Mongod
from coatcheck.drill.disk import SmallDisk
from coatcheck.drill.member import Member
from coatcheck.drill.network import CLIENTS, Network
from coatcheck.drill.owners import Owners
from coatcheck.drill.plan import Fault
from coatcheck.drill.preload import Preload

LEASE_SECONDS = 3
"""Short leases, so that what a killed worker held is taken over within the minute that a drill lasts."""

_THREADS = 64
_DATABASE_MB, _SMALL_MB = 1500, 8
"""Sizes of disks that can be filled: a database's, and one with nothing but logs and metrics."""

PRODUCT = ("edge", "worker", "keeper")
PROVIDER = "upstream"
_SETTINGS = """\
[providers.{provider}]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
trace_calls = true
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many processes of each kind. More than one broker are Apache Kafka."""

    edges: int = 1
    workers: int = 2
    keepers: int = 1
    databases: int = 1
    brokers: int = 1


CLUSTER = Size(edges=2, workers=3, keepers=2, databases=3, brokers=3)


@dataclass(frozen=True, slots=True)
class Setup:
    """What the parts are started with. `commands` and `environ` override those of a component, by its name; `commands`
    those of one member too, such as worker1.

    `settings` is appended to the settings file.
    """

    size: Size = field(default_factory=Size)
    apache: bool = False
    preload: bool = False
    """Whether clocks, disks and look-ups of hosts can be tampered with."""
    named: bool = False
    """Whether databases and brokers are known by a name that must be looked up, and not by an address."""
    small_disks: tuple[str, ...] = ()
    """Members, such as mongod0 or edge0, whose disks can be filled."""
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: str = ""
    keeps: int = 7200
    """Seconds for which ended jobs are kept: by default nothing may expire while a clock is wrong."""


class Cluster:
    """Everything below `directory`. `open`, `start`, break it through its members and network, `stop`."""

    def __init__(self, directory: Path, setup: Setup, upstream_port: int) -> None:
        self.directory = directory
        self.setup = setup
        self.preload = Preload(directory / "preload")
        self.network = Network(Owners(self._groups).of)
        self.members: dict[str, list[Member]] = {}
        self.databases: Databases
        self.brokers: Brokers
        self.disks: dict[str, SmallDisk] = {}
        self.urls: list[str] = []
        self._host = "localhost" if setup.named else LOOPBACK
        self._config = directory / "coatcheck.toml"
        self._config.write_text(_SETTINGS.format(provider=PROVIDER, port=upstream_port) + setup.settings)

    async def open(self) -> None:
        """Open the doors and say who stands behind them; nothing runs yet."""
        # Whoever starts keeps a thread until it is ready, and the doors need threads meanwhile to let it in.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "drill"))
        size = self.setup.size
        if self.setup.preload:
            await asyncio.to_thread(self.preload.build)
        for name in self.setup.small_disks:
            await self._mount(name)
        mongods = [await self._mongod(number) for number in range(size.databases)]
        self.databases = Databases(mongods)
        apache = self.setup.apache or size.brokers > 1
        self.brokers = await open_brokers(self.directory, self.network, size.brokers, apache=apache, host=self._host)
        self.members["mongod"] = [Member("mongod", i, part, wipe=part.wipe) for i, part in enumerate(mongods)]
        self.members["broker"] = self.brokers.members
        self.members["edge"] = [await self._edge(number) for number in range(size.edges)]
        self.members["worker"] = [self._with_admin("worker", number) for number in range(size.workers)]
        self.members["keeper"] = [self._with_admin("keeper", number) for number in range(size.keepers)]

    @property
    def counts(self) -> dict[str, int]:
        """How many members each component has."""
        return {name: len(members) for name, members in self.members.items()}

    @property
    def everybody(self) -> list[Member]:
        """All members, in the order in which they are started."""
        return list(chain.from_iterable(self.members.values()))

    @property
    def environ(self) -> Mapping[str, str]:
        """What every component of the product gets."""
        return {
            **self.brokers.settings,
            "PATH": os.environ.get("PATH", os.defpath),
            "COATCHECK_CONFIG": str(self._config),
            "COATCHECK_MONGODB_URI": self.databases.uri,
            "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": self.brokers.bootstrap,
            "COATCHECK_ALLOW_ANONYMOUS": "true",
            "COATCHECK_LEASE_SECONDS": str(LEASE_SECONDS),
            "COATCHECK_RESULT_TTL_SECONDS": str(self.setup.keeps),
            "COATCHECK_DRAIN_SECONDS": "2",
            "COATCHECK_LOG_LEVEL": "warning",
        }

    async def start(self, say: Callable[[str], None]) -> None:
        """Bring everything up in order."""
        for name in ("mongod", "broker"):
            await asyncio.gather(*(member.start() for member in self.members[name]))
            say(f"{len(self.members[name])} x {name} ready")
        await self.databases.initiate()
        await self.init()
        say("indexes and topics made")
        for name in PRODUCT:
            await asyncio.gather(*(member.start() for member in self.members[name]))
            say(f"{len(self.members[name])} x {name} ready")

    async def stop(self) -> None:
        """Stop everything in order."""
        for name in (*PRODUCT, "broker", "mongod"):
            await asyncio.gather(*(member.stop() for member in self.members.get(name, [])))
        self.network.close()

    def kill_all(self) -> None:
        """kill -9 whatever is left, and take the disks away."""
        for member in self.everybody:
            member.kill()
        for disk in self.disks.values():
            disk.unmount()

    async def victims(self, fault: Fault) -> list[Member]:
        """The members that a fault means at this moment."""
        if fault.component == "everything":
            return self.everybody
        members = self.members[fault.component]
        if isinstance(fault.member, int):
            return [members[fault.member]]
        if fault.member == "all":
            return list(members)
        primary = await self.databases.primary()
        others = [member for member in members if member.number != primary]
        return {"primary": [members[primary]], "secondaries": others, "secondary": others[:1]}[fault.member]

    async def init(self) -> None:
        """Make indexes and topics, as `coatcheck init` does."""
        child = self._component(["init", "--wait", str(INIT_SECONDS)], 0, 0).start()
        await asyncio.to_thread(run_to_the_end, child, 2 * INIT_SECONDS)

    def logs(self) -> Iterator[Path]:
        """Every log file, for a report of what went wrong."""
        return self.directory.rglob("*.log")

    def _groups(self) -> dict[int, str]:
        groups = {member.pid: member.name for member in self.everybody if member.pid}
        return {os.getpgid(0): CLIENTS, **groups}

    async def _mount(self, name: str) -> None:
        of_a_database = name.startswith("mongod")
        folder = self.directory / name
        disk = SmallDisk(folder / "db", _DATABASE_MB) if of_a_database else SmallDisk(folder, _SMALL_MB)
        await asyncio.to_thread(disk.mount)
        self.disks[name] = disk

    async def _mongod(self, number: int) -> Mongod:
        (port,) = free_ports(1)
        door = await self.network.open_door(f"mongod{number}", port)
        place = self.directory / f"mongod{number}"
        return Mongod(place, port, f"{self._host}:{door}", self._own_environ("mongod", number))

    async def _edge(self, number: int) -> Member:
        (port,) = free_ports(1)
        self.urls.append(f"http://{LOOPBACK}:{await self.network.open_door(f'edge{number}', port)}")
        return Member("edge", number, self._component(["edge", "--port", str(port)], number, port))

    def _with_admin(self, name: str, number: int) -> Member:
        (port,) = free_ports(1)
        return Member(name, number, self._component([name, "--admin-port", str(port)], number, port))

    def _component(self, arguments: Sequence[str], number: int, ready_port: int) -> Component:
        name = arguments[0]
        return Component(
            [*arguments, "--admin-port", "0"] if name == "edge" else list(arguments),
            ready_port=ready_port,
            stop_seconds=30.0,
            logs=self.directory / f"{name}{number}",
            environ={**self.environ, **self._own_environ(name, number)},
            command=self.setup.commands.get(f"{name}{number}", self.setup.commands.get(name, COMMAND)),
        )

    def _own_environ(self, name: str, number: int) -> Mapping[str, str]:
        member = f"{name}{number}"
        metrics = {"PROMETHEUS_MULTIPROC_DIR": str(self.directory / member / "metrics")} if member in self.disks else {}
        return {**self.preload.environ(member), **metrics, **self.setup.environ.get(name, {})}
