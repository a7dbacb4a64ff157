"""The parts of a drill: real processes on loopback with proxies in between, each of which can be broken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from coatcheck.dev.apache_kafka import KafkaNode, NodePorts
from coatcheck.dev.broker import Broker
from coatcheck.dev.component import COMMAND, INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.drill.model.plan import Fault
from coatcheck.drill.stack.databases import Databases, Mongod
from coatcheck.drill.stack.disk import SmallDisk
from coatcheck.drill.stack.network import CLIENTS, Network
from coatcheck.drill.stack.node import Node
from coatcheck.drill.stack.preload import Preload
from coatcheck.drill.stack.processes import PortOwners
from shared.settings.reading import load_settings
from shared.settings.table import Settings

LEASE_SECONDS = 3
"""Short leases, so that what a killed worker held is taken over within the minute that a drill lasts."""

_THREADS = 64
_KAFKA_HEAP_MB = 256
_DATABASE_MB, _SMALL_MB = 1500, 8
"""Sizes of disks that can be filled: a database's, and one with nothing but logs and metrics."""

PRODUCT = ("edge", "worker", "reaper")
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
    reapers: int = 1
    databases: int = 1
    brokers: int = 1


CLUSTER = Size(edges=2, workers=3, reapers=2, databases=3, brokers=3)


@dataclass(frozen=True, slots=True)
class Setup:
    """`preload`: clocks, disks and look-ups of hosts can be tampered with. `named`: databases and brokers are known by
    a name that must be looked up, not by an address. `small_disks`: members, such as mongod0, whose disks can be
    filled. `commands` and `environ` override those of a component, `commands` those of a member too, such as worker1.
    `settings` is appended to the file. Ended jobs are kept for `keeps` seconds: by default none expires while a clock
    is wrong.
    """

    size: Size = field(default_factory=Size)
    preload: bool = False
    named: bool = False
    small_disks: tuple[str, ...] = ()
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: str = ""
    keeps: int = 7200


@dataclass(frozen=True, slots=True)
class Brokers:
    """The embedded one, or nodes of Apache Kafka. `forgetful`: they lose their topics when they stop."""

    nodes: list[Node]
    bootstrap: str
    settings: Mapping[str, str]
    forgetful: bool


class Cluster:
    """Everything below `directory`. `open`, `start`, break it through its members and network, `stop`."""

    def __init__(self, directory: Path, setup: Setup, upstream_port: int) -> None:
        self.directory = directory
        self.setup = setup
        self.preload = Preload(directory / "preload")
        self.network = Network(PortOwners(lambda: {os.getpgid(0): CLIENTS, **self.pids}).of)
        self.nodes: dict[str, list[Node]] = {}
        self.databases: Databases
        self.brokers: Brokers
        self.disks: dict[str, SmallDisk] = {}
        self.urls: list[str] = []
        self._host = "localhost" if setup.named else LOOPBACK
        self._config = directory / "coatcheck.toml"
        self._config.write_text(_SETTINGS.format(provider=PROVIDER, port=upstream_port) + setup.settings)

    async def open(self) -> None:
        """Open the proxies and say who stands behind them; nothing runs yet."""
        # A part that starts blocks a thread until it is ready, and proxies need threads to look up who connects.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "drill"))
        size = self.setup.size
        if self.setup.preload:
            await asyncio.to_thread(self.preload.build)
        for name in self.setup.small_disks:
            await self._mount(name)
        mongods = [await self._mongod(number) for number in range(size.databases)]
        self.databases = Databases(mongods)
        self.brokers = await self._open_brokers(size.brokers)
        self.nodes["mongod"] = [Node("mongod", i, part, wipe=part.wipe) for i, part in enumerate(mongods)]
        self.nodes["broker"] = self.brokers.nodes
        for name, count in zip(PRODUCT, (size.edges, size.workers, size.reapers), strict=True):
            self.nodes[name] = [await self._member(name, number) for number in range(count)]

    @property
    def everybody(self) -> list[Node]:
        """All members, in the order in which they are started."""
        return [node for nodes in self.nodes.values() for node in nodes]

    @property
    def pids(self) -> dict[int, str]:
        return {node.pid: node.name for node in self.everybody if node.pid}

    @property
    def environ(self) -> Mapping[str, str]:
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

    def settings(self) -> Settings:
        """Those of every component. Blocks for a moment."""
        return load_settings(environ={k: v for k, v in self.environ.items() if k.startswith("COATCHECK_")})

    async def start(self, say: Callable[[str], None]) -> None:
        for name in ("mongod", "broker", *PRODUCT):
            if name == PRODUCT[0]:
                await self.databases.initiate()
                await self.init()
                say("indexes and topics made")
            await asyncio.gather(*(node.start() for node in self.nodes[name]))
            say(f"{len(self.nodes[name])} x {name} ready")

    async def stop(self) -> None:
        for name in (*PRODUCT, "broker", "mongod"):
            await asyncio.gather(*(node.stop() for node in self.nodes.get(name, [])))
        self.network.close()

    def kill_all(self) -> None:
        for node in self.everybody:
            node.kill()
        for disk in self.disks.values():
            disk.unmount()

    async def victims(self, fault: Fault) -> list[Node]:
        if fault.component == "everything":
            return self.everybody
        nodes = self.nodes[fault.component]
        if isinstance(fault.node, int):
            return [nodes[fault.node]]
        if fault.node == "all":
            return list(nodes)
        primary = await self.databases.primary()
        others = [node for node in nodes if node.number != primary]
        return {"primary": [nodes[primary]], "secondaries": others, "secondary": others[:1]}[fault.node]

    async def init(self) -> None:
        child = self._component("init", ["--wait", str(INIT_SECONDS)], 0, 0).start()
        await asyncio.to_thread(run_to_the_end, child, 2 * INIT_SECONDS)

    async def _mount(self, name: str) -> None:
        folder = self.directory / name
        disk = SmallDisk(folder / "db", _DATABASE_MB) if name[:6] == "mongod" else SmallDisk(folder, _SMALL_MB)
        await asyncio.to_thread(disk.mount)
        self.disks[name] = disk

    async def _mongod(self, number: int) -> Mongod:
        (port,) = free_ports(1)
        proxy = await self.network.open_proxy(f"mongod{number}", port)
        place = self.directory / f"mongod{number}"
        return Mongod(place, port, f"{self._host}:{proxy}", self._own_environ("mongod", number))

    async def _open_brokers(self, count: int) -> Brokers:
        if count == 1:
            (port,) = free_ports(1)
            proxy = await self.network.open_proxy("broker0", port)
            broker = Broker(self.directory / "broker.log", port=port, advertised=proxy, host=self._host)
            return Brokers([Node("broker", 0, broker)], broker.bootstrap, broker.settings, forgetful=True)
        ports = [await self._kafka_ports(f"broker{number}") for number in range(count)]
        parts = [KafkaNode(self.directory / f"broker{i}", i, ports, heap_mb=_KAFKA_HEAP_MB) for i in range(count)]
        return Brokers(
            nodes=[Node("broker", i, part, prepare=part.prepare, wipe=part.wipe) for i, part in enumerate(parts)],
            bootstrap=",".join(part.bootstrap for part in parts),
            settings={"COATCHECK_KAFKA_PARTITIONS": "3"},
            forgetful=False,
        )

    async def _kafka_ports(self, name: str) -> NodePorts:
        listen, controller = free_ports(2)
        proxies = [await self.network.open_proxy(name, port) for port in (listen, controller)]
        return NodePorts(listen, controller, *proxies)

    async def _member(self, name: str, number: int) -> Node:
        (port,) = free_ports(1)
        arguments = ["--admin-port", str(port)]
        if name == "edge":
            arguments = ["--port", str(port), "--admin-port", "0"]
            self.urls.append(f"http://{LOOPBACK}:{await self.network.open_proxy(f'edge{number}', port)}")
        return Node(name, number, self._component(name, arguments, number, port))

    def _component(self, name: str, arguments: Sequence[str], number: int, ready_port: int) -> Component:
        return Component(
            [name, *arguments],
            ready_port=ready_port,
            stop_seconds=30.0,
            logs=self.directory / f"{name}{number}",
            environ={**self.environ, **self._own_environ(name, number)},
            command=self.setup.commands.get(f"{name}{number}", self.setup.commands.get(name, COMMAND)),
        )

    def _own_environ(self, name: str, number: int) -> Mapping[str, str]:
        node = f"{name}{number}"
        metrics = {"PROMETHEUS_MULTIPROC_DIR": str(self.directory / node / "metrics")} if node in self.disks else {}
        return {**self.preload.environ(node), **metrics, **self.setup.environ.get(name, {})}
