"""A started stack and its processes: alike for the product and for every peer, so that all are metered alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.stacks.processes import Usage, usage
from coatcheck.dev.child import Child

READY_SECONDS = 60.0


class Children:
    """Started in order, killed in reverse: what a stack holds at the end of a run is thrown away anyway."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> Child:
        """Start one process with our environment and some more."""
        log = self.directory / f"{name}.log"
        child = Child(name, command, log=log, environ={**os.environ, **(environ or {})})
        self.running[name] = child
        return child

    def kill(self) -> None:
        """kill -9 what runs."""
        for child in reversed(self.running.values()):
            child.kill()


@contextlib.asynccontextmanager
async def children(directory: Path) -> AsyncIterator[Children]:
    """Processes that are gone at the end."""
    started = Children(directory)
    try:
        yield started
    finally:
        await asyncio.to_thread(started.kill)


@dataclass(frozen=True, slots=True)
class Running:
    """A started stack: where it answers, its processes by component, and where they tell their metrics."""

    name: str
    url: str
    children: Children
    start_workers: Callable[[], Awaitable[None]]
    """Starts the workers again, once they were killed."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    bootstrap: str = ""

    def used(self) -> dict[str, Usage]:
        """What each component has used so far."""
        return {name: usage(child.pid) for name, child in self.children.running.items() if child.exit_code is None}

    def kill(self, component: str) -> None:
        """kill -9 what runs under this name: `worker` are all workers."""
        for name, child in self.children.running.items():
            if name.rstrip("0123456789") == component:
                child.kill()


async def until_it_answers(child: Child, url: str) -> None:
    """Wait until anything speaks HTTP there. Raises ChildFailed."""
    await asyncio.to_thread(child.wait_ready, lambda: answers(url), READY_SECONDS)


def answers(url: str) -> bool:
    """Whether anything speaks HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
