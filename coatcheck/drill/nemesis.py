"""Applies the schedule of faults, notes when each began and ended, and starts again whoever died unasked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from coatcheck.dev.child import ChildFailed
from coatcheck.drill.cluster import Cluster
from coatcheck.drill.faults import KINDS
from coatcheck.drill.member import Member
from coatcheck.drill.plan import Applied, Fault

_WATCH_SECONDS = 0.5


class Nemesis:
    """Breaks `cluster` by `plan`, whose times count from `started` (monotonic)."""

    def __init__(self, cluster: Cluster, plan: Sequence[Fault], started: float, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._plan = plan
        self._started = started
        self._say = say
        self.applied: list[Applied] = []
        self.deaths: list[str] = []
        """Members that ended although nobody broke them, or did not come back."""

    async def run(self) -> None:
        """Apply everything. Faults of one member never overlap: the next one waits until it is back."""
        async with asyncio.TaskGroup() as group:
            for fault in self._plan:
                group.create_task(self._one(fault))

    async def _one(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, self._started + fault.at - time.monotonic()))
        async with AsyncExitStack() as turns:
            for member in self._concerned(fault):
                await turns.enter_async_context(member.turn)
            try:
                await self._apply(fault)
            except (ChildFailed, TimeoutError) as error:
                self.deaths.append(f"after {fault}: {error}")

    async def _apply(self, fault: Fault) -> None:
        victims = await self._cluster.victims(fault)
        self._tell(f"{fault} for {fault.lasts:.1f} s")
        began = over = time.monotonic()
        async with KINDS[fault.kind].act(self._cluster, fault, victims):
            await asyncio.sleep(fault.lasts)
            over = time.monotonic()
        self.applied.append(Applied(fault, began, over, time.monotonic()))

    def _concerned(self, fault: Fault) -> list[Member]:
        """Whose turn it must be, always in the same order."""
        if fault.component == "everything":
            return self._cluster.everybody
        members = self._cluster.members[fault.component]
        if isinstance(fault.member, int) and not KINDS[fault.kind].alone:
            return [members[fault.member]]
        return members

    async def watch(self) -> None:
        """For ever: start again who died by himself, and keep the logs short."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for member in self._cluster.everybody:
                if not member.turn.locked():
                    await self._look_after(member)
                await asyncio.to_thread(member.trim_log)

    async def _look_after(self, member: Member) -> None:
        if member.runs:
            return
        async with member.turn:
            if not member.runs:
                self.deaths.append(f"{member.name}: {member.epitaph()}")
                self._tell(f"{member.name} died by itself")
                await member.start_again()

    def _tell(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._started:5.1f} s  {what}")
