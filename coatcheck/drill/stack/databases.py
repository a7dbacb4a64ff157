"""The databases of a drill: a replica set whose members know each other by the proxies in front of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.mongod import READY_SECONDS, find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK
from shared.domain.errors import StoreUnavailable
from shared.mongo.connection.replica_set import SET_NAME, initiate, mongod_answers, role, step_down, wait_primary

_ELECTION_MILLISECONDS = 3000
"""A third of the default, so that a drill has time for more than one election; shorter would flap on busy cores."""


class Mongod:
    """One member. `listen` is the port where it listens, `proxy` the host:port where all others find it."""

    name = "mongod"
    stop_seconds = 30.0

    def __init__(self, directory: Path, listen: int, proxy: str, environ: Mapping[str, str]) -> None:
        self.binary = find_mongod()
        self.files = directory / "db"
        self.address = f"{LOOPBACK}:{listen}"
        self.proxy = proxy
        self.of_a_set = False
        self._listen = listen
        self._log = directory / "mongod.log"
        self._environ = environ

    def start(self) -> Child:
        self.files.mkdir(parents=True, exist_ok=True)
        command = mongod_command(self.binary, self.files, self._listen)
        return Child(self.name, command, log=self._log, environ={**os.environ, **self._environ})

    def wait_ready(self, child: Child) -> None:
        """Block until it answers and, once there is a set, until it has found its place in it. Raises ChildFailed."""
        answers = role if self.of_a_set else mongod_answers
        child.wait_ready(lambda: bool(answers(self.address)), READY_SECONDS)

    def wipe(self) -> None:
        for entry in self.files.iterdir():  # the folder itself may be a mount
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class Databases:
    def __init__(self, nodes: Sequence[Mongod]) -> None:
        self.nodes = nodes

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(node.proxy for node in self.nodes)}/?replicaSet={SET_NAME}"

    async def initiate(self) -> None:
        """Make the set of fresh members and wait for a primary. Raises ChildFailed."""
        try:
            await asyncio.to_thread(
                initiate,
                [node.proxy for node in self.nodes],
                electionTimeoutMillis=_ELECTION_MILLISECONDS,
                heartbeatIntervalMillis=1000,
            )
            await asyncio.to_thread(wait_primary, self.uri, READY_SECONDS)
        except (StoreUnavailable, TimeoutError) as error:
            raise ChildFailed(f"mongod: {error}") from None
        for node in self.nodes:
            node.of_a_set = True

    def forget_set(self) -> None:
        """Expect members that know of no set, until the next `initiate`."""
        for node in self.nodes:
            node.of_a_set = False

    async def primary(self) -> int:
        """The primary's number; waits for one. Raises TimeoutError."""
        return (await self._roles(lambda roles: "primary" in roles, "have no primary")).index("primary")

    async def settled(self) -> None:
        """Wait until every member is primary or secondary. Raises TimeoutError."""
        await self._roles(lambda roles: all(roles) and "primary" in roles, "do not settle")

    async def _roles(self, wanted: Callable[[list[str]], bool], otherwise: str) -> list[str]:
        """What each member is once all is as wanted: "primary", "secondary" or ""."""
        give_up = time.monotonic() + READY_SECONDS
        while True:
            roles = list(await asyncio.gather(*(asyncio.to_thread(role, each.address) for each in self.nodes)))
            if wanted(roles):
                return roles
            if time.monotonic() > give_up:
                raise TimeoutError(f"the databases {otherwise}: {roles}")
            await asyncio.sleep(0.1)

    async def step_down(self, number: int, seconds: int) -> None:
        await asyncio.to_thread(step_down, self.nodes[number].address, seconds)
