"""Applies the schedule of faults, notes when each began and ended, and starts again whoever died unasked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from coatcheck.dev.child import ChildFailed
from coatcheck.drill.faults.kinds import KINDS
from coatcheck.drill.model.plan import Applied, Fault
from coatcheck.drill.stack.cluster import Cluster
from coatcheck.drill.stack.node import Node

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
            for node in self._concerned(fault):
                await turns.enter_async_context(node.turn)
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

    def _concerned(self, fault: Fault) -> list[Node]:
        """Whose turn it must be, always in the same order."""
        if fault.component == "everything":
            return self._cluster.everybody
        nodes = self._cluster.nodes[fault.component]
        if isinstance(fault.node, int) and not KINDS[fault.kind].alone:
            return [nodes[fault.node]]
        return nodes

    async def watch(self) -> None:
        """For ever: start again who died by himself, and keep the logs short."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for node in self._cluster.everybody:
                if not node.runs and not node.turn.locked():
                    await self._look_after(node)
                await asyncio.to_thread(node.trim_log)

    async def _look_after(self, node: Node) -> None:
        async with node.turn:
            if not node.runs:
                self.deaths.append(f"{node.name}: {node.epitaph()}")
                self._tell(f"{node.name} died by itself")
                await node.start_again()

    def _tell(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._started:5.1f} s  {what}")
