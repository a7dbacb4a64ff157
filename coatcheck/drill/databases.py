"""The databases of a drill: a replica set whose members know each other by the doors in front of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.mongod import READY_SECONDS, find_mongod, mongod_command
from coatcheck.dev.ports import LOOPBACK
from shared.errors import StoreUnavailable
from shared.mongo.replica_set import SET_NAME, initiate, mongod_answers, role, step_down, wait_primary

_ELECTION_MILLISECONDS = 3000
"""A third of the default, so that a drill has time for more than one election; shorter would flap on busy cores."""


class Mongod:
    """One member. `listen` is the port where it listens, `door` the host:port where all others find it."""

    name = "mongod"
    stop_seconds = 30.0

    def __init__(self, directory: Path, listen: int, door: str, environ: Mapping[str, str]) -> None:
        self.binary = find_mongod()
        self.files = directory / "db"
        self.address = f"{LOOPBACK}:{listen}"
        self.door = door
        self.of_a_set = False
        self._listen = listen
        self._log = directory / "mongod.log"
        self._environ = environ

    def start(self) -> Child:
        """Start it without waiting."""
        self.files.mkdir(parents=True, exist_ok=True)
        command = mongod_command(self.binary, self.files, self._listen)
        return Child(self.name, command, log=self._log, environ={**os.environ, **self._environ})

    def wait_ready(self, child: Child) -> None:
        """Block until it answers and, once there is a set, until it has found its place in it. Raises ChildFailed."""
        child.wait_ready(
            lambda: bool(role(self.address)) if self.of_a_set else mongod_answers(self.address), READY_SECONDS
        )

    def wipe(self) -> None:
        """Empty its disk: it will copy everything from the others."""
        for entry in self.files.iterdir():  # the folder itself may be a mount
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class Databases:
    """The set. Methods are for the event loop."""

    def __init__(self, members: Sequence[Mongod]) -> None:
        self.members = members

    @property
    def uri(self) -> str:
        """For clients: every member's door and the name of the set."""
        return f"mongodb://{','.join(member.door for member in self.members)}/?replicaSet={SET_NAME}"

    async def initiate(self) -> None:
        """Make the set of fresh members and wait for a primary. Raises ChildFailed."""
        try:
            await asyncio.to_thread(
                initiate,
                [member.door for member in self.members],
                electionTimeoutMillis=_ELECTION_MILLISECONDS,
                heartbeatIntervalMillis=1000,
            )
            await asyncio.to_thread(wait_primary, self.uri, READY_SECONDS)
        except (StoreUnavailable, TimeoutError) as error:
            raise ChildFailed(f"mongod: {error}") from None
        for member in self.members:
            member.of_a_set = True

    def forget_set(self) -> None:
        """Expect members that know of no set, until the next `initiate`."""
        for member in self.members:
            member.of_a_set = False

    async def roles(self) -> list[str]:
        """What each member is at the moment: "primary", "secondary" or ""."""
        return list(await asyncio.gather(*(asyncio.to_thread(role, each.address) for each in self.members)))

    async def primary(self) -> int:
        """The primary's number; waits for one. Raises TimeoutError."""
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            roles = await self.roles()
            if "primary" in roles:
                return roles.index("primary")
            await asyncio.sleep(0.1)
        raise TimeoutError("the databases have no primary")

    async def settled(self) -> None:
        """Wait until every member is primary or secondary. Raises TimeoutError."""
        give_up = time.monotonic() + READY_SECONDS
        while not all(await self.roles()) or "primary" not in await self.roles():
            if time.monotonic() > give_up:
                raise TimeoutError(f"the databases do not settle: {await self.roles()}")
            await asyncio.sleep(0.2)

    async def step_down(self, number: int, seconds: int) -> None:
        """Ask a primary to step down."""
        await asyncio.to_thread(step_down, self.members[number].address, seconds)
