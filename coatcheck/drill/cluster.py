"""The parts of a drill: real processes on loopback, each of which can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coatcheck.dev.broker import Broker
from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.component import INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.dev.supervisor import Part
from coatcheck.drill.plan import Fault

LEASE_SECONDS = 3
"""Short leases, so that what a killed worker held is taken over within the minute that a drill lasts."""

_RESTARTS = 5

PROVIDER = "upstream"
_SETTINGS = """\
[providers.{provider}]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
trace_calls = true
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many processes of each kind."""

    edges: int = 1
    workers: int = 2
    keepers: int = 1


class BrokerPart(Part, Protocol):
    """A broker that can be started; `bootstrap` is its host:port, the same over restarts.

    `settings` are variables that suit it.
    """

    @property
    def bootstrap(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, str]: ...


class Member:
    """One process with a place in the cluster; it may be dead for a while."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._child: Child | None = None

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.exit_code is None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        child = self._part.start()  # not in a thread: the kernel ties a child to the thread that forked it
        self._child = child
        await asyncio.to_thread(self._part.wait_ready, child)

    async def stop(self) -> None:
        """Ask it to stop and wait."""
        if self._child is not None:
            self._child.signal(signal.SIGCONT)
            await asyncio.to_thread(self._child.stop, self._part.stop_seconds)

    def kill(self) -> None:
        """kill -9 the process and what it started."""
        if self._child is not None:
            self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and what it started."""
        if self._child is not None and self.runs:
            os.killpg(self._child.pid, number)


class Cluster:
    """Everything below `directory`. Start, break by `apply`, stop. `more_settings` is appended to the settings file."""

    def __init__(
        self,
        directory: Path,
        size: Size,
        upstream_port: int,
        broker: BrokerPart | None = None,
        more_settings: str = "",
    ) -> None:
        self._directory = directory
        self._config = directory / "coatcheck.toml"
        self._config.write_text(_SETTINGS.format(provider=PROVIDER, port=upstream_port) + more_settings)
        self._mongod = Mongod(directory, directory / "mongod.log")
        self._broker = broker or Broker(directory / "broker.log")
        self.edge_ports = free_ports(size.edges)
        self._members: dict[str, list[Member]] = {
            "mongod": [Member(self._mongod)],
            "broker": [Member(self._broker)],
            "edge": [
                Member(self._component(["edge", "--port", str(port)], number, port))
                for number, port in enumerate(self.edge_ports)
            ],
            "worker": [self._with_admin("worker", number) for number in range(size.workers)],
            "keeper": [self._with_admin("keeper", number) for number in range(size.keepers)],
        }

    @property
    def urls(self) -> list[str]:
        """Where the edges answer."""
        return [f"http://{LOOPBACK}:{port}" for port in self.edge_ports]

    @property
    def counts(self) -> dict[str, int]:
        """How many members each component has."""
        return {name: len(members) for name, members in self._members.items()}

    @property
    def environ(self) -> Mapping[str, str]:
        """What every component gets."""
        return {
            **self._broker.settings,
            "PATH": os.environ.get("PATH", os.defpath),
            "COATCHECK_CONFIG": str(self._config),
            "COATCHECK_MONGODB_URI": self._mongod.uri,
            "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap,
            "COATCHECK_ALLOW_ANONYMOUS": "true",
            "COATCHECK_LEASE_SECONDS": str(LEASE_SECONDS),
            "COATCHECK_DRAIN_SECONDS": "2",
            "COATCHECK_LOG_LEVEL": "warning",
        }

    async def start(self, say: Callable[[str], None]) -> None:
        """Bring everything up in order."""
        for name in ("mongod", "broker"):
            await self._members[name][0].start()
            say(f"{name} ready")
        await self._init()
        say("indexes and topics made")
        for name in ("edge", "worker", "keeper"):
            await asyncio.gather(*(member.start() for member in self._members[name]))
            say(f"{len(self._members[name])} x {name} ready")

    async def stop(self) -> None:
        """Stop everything in order."""
        for name in ("edge", "worker", "keeper", "broker", "mongod"):
            await asyncio.gather(*(member.stop() for member in self._members[name]))

    def kill_all(self) -> None:
        """kill -9 whatever is left."""
        for members in self._members.values():
            for member in members:
                member.kill()

    async def apply(self, fault: Fault) -> None:
        """Do it, wait as long as it lasts, and undo it; returns when the member answers again."""
        member = self._members[fault.component][fault.member]
        if fault.kind == "freeze":
            member.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.lasts)
            member.signal(signal.SIGCONT)
            return
        if fault.kind == "term":
            await member.stop()
        else:
            member.kill()
        await asyncio.sleep(fault.lasts)
        await _start_again(member)
        if fault.component == "broker":
            await self._init()  # a broker in memory has forgotten its topics

    async def _init(self) -> None:
        child = self._component(["init", "--wait", str(INIT_SECONDS)], 0, 0).start()
        await asyncio.to_thread(run_to_the_end, child, 2 * INIT_SECONDS)

    def _with_admin(self, name: str, number: int) -> Member:
        (port,) = free_ports(1)
        return Member(self._component([name, "--admin-port", str(port)], number, port))

    def _component(self, arguments: Sequence[str], number: int, ready_port: int) -> Component:
        with_admin = [*arguments, "--admin-port", "0"] if arguments[0] == "edge" else list(arguments)
        return Component(
            with_admin,
            ready_port=ready_port,
            stop_seconds=30.0,
            logs=self._directory / f"{arguments[0]}{number}",
            environ=self.environ,
        )

    def logs(self) -> Iterator[Path]:
        """Every log file, for a report of what went wrong."""
        return self._directory.rglob("*.log")


async def _start_again(member: Member) -> None:
    """As a supervisor would: a component that gives up because what it needs is down too is started once more."""
    for tries_left in reversed(range(_RESTARTS)):
        try:
            await member.start()
            break
        except ChildFailed:
            if not tries_left:
                raise
