"""One process of a drill with its place in it: started, stopped, killed, and started again as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.supervisor import Part

_RESTARTS = 5
_Work = Callable[[], None] | None


class Node:
    """Member `number` of a component. `prepare` runs in a thread before the first start, `wipe` empties its disk."""

    def __init__(self, component: str, number: int, part: Part, *, prepare: _Work = None, wipe: _Work = None) -> None:
        self.component = component
        self.number = number
        self.part = part
        self.turn = asyncio.Lock()
        """Held by whoever breaks it, so that faults of one member never overlap."""
        self._prepare = prepare
        self._wipe = wipe
        self._child: Child | None = None

    @property
    def name(self) -> str:
        return f"{self.component}{self.number}"

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group; 0 if it does not run."""
        return self._child.pid if self._child is not None and self.runs else 0

    async def start(self) -> None:
        """Start it and wait until it answers. Raises ChildFailed."""
        if self._prepare is not None:
            await asyncio.to_thread(self._prepare)
        self._child = self.part.start()  # not in a thread: the kernel ties a child to the thread that forked it
        await asyncio.to_thread(self.part.wait_ready, self._child)

    async def start_again(self) -> None:
        """As a supervisor would: one that gives up because what it needs is down too is started once more."""
        for tries_left in reversed(range(_RESTARTS)):
            try:
                await self.start()
                break
            except ChildFailed:
                if not tries_left:
                    raise
                self.kill()

    async def stop(self) -> None:
        if self._child is not None:
            self.signal(signal.SIGCONT)
            await asyncio.to_thread(self._child.stop, self.part.stop_seconds)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """To the process and what it started; nothing happens if it has ended."""
        if self._child is not None and self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    async def wipe(self) -> None:
        """Empty its disk. It must not run, and it must have one."""
        if self._wipe is None:
            raise ValueError(f"{self.name} has no disk to wipe")
        await asyncio.to_thread(self._wipe)

    def epitaph(self) -> str:
        return self._child.epitaph() if self._child is not None else "never started"

    def trim_log(self) -> None:
        if self._child is not None:
            self._child.trim_log()
