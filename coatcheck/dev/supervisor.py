"""Starts children together, notices when one dies, stops them in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from coatcheck.dev.child import Child, ChildFailed

WATCH_SECONDS = 0.2
TRIM_SECONDS = 5.0


class Part(Protocol):
    """Something that can be started as a child process. It is killed if it has not stopped within `stop_seconds`."""

    @property
    def name(self) -> str: ...
    @property
    def stop_seconds(self) -> float: ...

    def start(self) -> Child:
        """Start it without waiting."""

    def wait_ready(self, child: Child) -> None:
        """Block until it can be used. Raises ChildFailed."""


class Supervisor:
    """Holds the running children by stages, each started together. `say(name, text)` shows one line of progress."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._stages: list[list[tuple[Part, Child]]] = []

    async def start(self, *parts: Part) -> None:
        """Start all, wait until each is ready. Raises ChildFailed as soon as one fails."""
        stage: list[tuple[Part, Child]] = []
        self._stages.append(stage)
        for part in parts:  # not in a thread: the kernel ties a child to the thread that forked it
            stage.append((part, part.start()))
        try:
            async with asyncio.TaskGroup() as group:
                for part, child in stage:
                    group.create_task(self._wait_ready(part, child))
        except* ChildFailed as failures:
            raise failures.exceptions[0] from None

    async def watch(self) -> NoReturn:
        """Raise ChildFailed when a child ends by itself; keep the logs short meanwhile."""
        next_trim = time.monotonic() + TRIM_SECONDS
        while True:
            trim = time.monotonic() >= next_trim
            for child in self._running():
                if child.exit_code is not None:
                    raise ChildFailed(child.epitaph())
                if trim:
                    child.trim_log()
            if trim:
                next_trim = time.monotonic() + TRIM_SECONDS
            await asyncio.sleep(WATCH_SECONDS)

    async def stop(self) -> None:
        """Stop what runs: the last stage first, its parts in the order they were given. Stubborn ones are killed."""
        for stage in reversed(self._stages):
            for part, child in stage:
                if child.exit_code is None:
                    began = time.monotonic()
                    when_asked = await asyncio.to_thread(child.stop, part.stop_seconds)
                    how = "stopped" if when_asked else f"killed, it did not stop in {part.stop_seconds:g} s"
                    self._say(part.name, f"{how}  {time.monotonic() - began:.1f} s")
                child.kill()  # leaves nothing behind of what it had started itself

    def kill(self) -> None:
        for child in self._running():
            child.kill()

    def _running(self) -> Iterator[Child]:
        return (child for stage in self._stages for _, child in stage)

    async def _wait_ready(self, part: Part, child: Child) -> None:
        began = time.monotonic()
        await asyncio.to_thread(part.wait_ready, child)
        self._say(part.name, f"ready {time.monotonic() - began:.1f} s")
