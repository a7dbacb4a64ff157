"""A replica set of one or three real mongod processes that a test or a benchmark can kill, restart and freeze."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from coatcheck.dev.child import Child
from coatcheck.dev.mongod import find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.mongo.connection.replica_set import SET_NAME, initiate, mongod_answers, wait_primary
from tests.support.servers.started import Started

READY_SECONDS = 60.0
PARAMETERS = ("ttlMonitorSleepSecs=1", "enableTestCommands=1")
"""Documents go within a second of their time; `configureFailPoint` can make commands fail on purpose."""


class MongodSet(Started):
    """Everything below `directory` belongs to it. Methods block; members are counted from 0."""

    def __init__(self, directory: Path, *, members: int = 1, parameters: Sequence[str] = PARAMETERS) -> None:
        self.directory = directory
        self.ports = free_ports(members)
        self.addresses = [f"{LOOPBACK}:{port}" for port in self.ports]
        self._parameters = parameters
        self._children: list[Child | None] = [None] * members

    @property
    def uri(self) -> str:
        """For clients: every member and the name of the set."""
        return f"mongodb://{','.join(self.addresses)}/?replicaSet={SET_NAME}"

    def start(self) -> None:
        """Start all members and wait for a primary."""
        for member in range(len(self.ports)):
            self._spawn(member)
        for member in range(len(self.ports)):
            self._wait_answer(member)
        # A member that missed a vote asks again after the election time-out: 10 s by default, too long for a test.
        initiate(self.addresses, electionTimeoutMillis=2000, heartbeatIntervalMillis=500)
        self.primary()

    def stop(self) -> None:
        """Stop what runs, all at the same time; frozen members are thawed first."""
        running = [child for child in self._children if child is not None]
        for child in running:
            child.signal(signal.SIGCONT)
            child.signal(signal.SIGTERM)
        for child in running:
            child.stop(READY_SECONDS)
        self._children = [None] * len(self.ports)

    def primary(self, timeout: float = READY_SECONDS) -> int:
        """Wait for a primary; which member it is. Raises TimeoutError."""
        return self.addresses.index(wait_primary(self.uri, timeout))

    def pid(self, member: int = 0) -> int:
        """Process id of a member that runs."""
        return self._running(member).pid

    def kill(self, member: int = 0) -> None:
        """kill -9."""
        self._running(member).kill()
        self._children[member] = None

    def restart(self, member: int = 0) -> None:
        """Start a killed member again on its old files and port, and wait until the set has a primary."""
        self._spawn(member)
        self._wait_answer(member)
        self.primary()

    def freeze(self, member: int = 0) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._running(member).signal(signal.SIGSTOP)

    def thaw(self, member: int = 0) -> None:
        """SIGCONT."""
        self._running(member).signal(signal.SIGCONT)

    def _spawn(self, member: int) -> None:
        files = self.directory / f"mongod{member}"
        files.mkdir(parents=True, exist_ok=True)
        binary = find_mongod()
        command = mongod_command(binary, files, self.ports[member], parameters=self._parameters)
        self._children[member] = Child(f"mongod{member}", command, log=self.directory / f"mongod{member}.log")

    def _wait_answer(self, member: int) -> None:
        address = self.addresses[member]
        self._running(member).wait_ready(lambda: mongod_answers(address), READY_SECONDS)

    def _running(self, member: int) -> Child:
        child = self._children[member]
        if child is None:
            raise RuntimeError(f"member {member} does not run")
        return child
