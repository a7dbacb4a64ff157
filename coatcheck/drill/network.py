"""The network of a drill: whoever talks to a member goes through a door of ours, where the connection can suffer."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

from coatcheck.dev.ports import LOOPBACK
from coatcheck.drill.pipe import Pipe

CLIENTS = "client"
"""The name of the drill itself, which is where the load comes from."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What connections from `sources` to `targets` suffer; both are names of members in which `*` is a wildcard.

    "cut": nothing passes, nobody is told. "reset": RST at once. "truncate": RST after some more bytes. "delay":
    everything comes `seconds` later.
    """

    kind: Literal["cut", "reset", "truncate", "delay"]
    sources: Sequence[str]
    targets: Sequence[str]
    seconds: float = 0.0

    def hits(self, source: str, target: str) -> bool:
        """Whether a connection suffers. A member's connections to itself never do."""
        return (
            source != target
            and any(fnmatch(source, pattern) for pattern in self.sources)
            and any(fnmatch(target, pattern) for pattern in self.targets)
        )


class Network:
    """All doors. `owner_of(port, door)` names the member that a connection comes from."""

    def __init__(self, owner_of: Callable[[int, int], Awaitable[str]]) -> None:
        self._owner_of = owner_of
        self._troubles: list[Trouble] = []
        self._doors: list[asyncio.Server] = []
        self._pipes: set[Pipe] = set()
        self._joining: set[asyncio.Task[None]] = set()

    async def open_door(self, target: str, port: int) -> int:
        """Listen on a new port and pass everything on to `port`, where the member `target` listens."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Pipe(self._joined(target, port), self._pipes.discard), LOOPBACK, 0)
        self._doors.append(server)
        return int(server.sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def trouble(self, *troubles: Trouble) -> Iterator[None]:
        """Let connections suffer while inside."""
        self._troubles += troubles
        self._spread()
        try:
            yield
        finally:
            for each in troubles:
                self._troubles.remove(each)
            self._spread()

    def reset_some(self, share: float, rng: random.Random) -> None:
        """RST to this share of all connections, chance deciding which, and about how many."""
        for pipe in list(self._pipes):
            if rng.random() < share:
                pipe.abort()

    def close(self) -> None:
        """Close all doors and what goes through them."""
        for door in self._doors:
            door.close()
        for task in self._joining:
            task.cancel()
        for pipe in list(self._pipes):
            pipe.abort()

    def _joined(self, target: str, port: int) -> Callable[[Pipe, int, int], None]:
        def arrived(pipe: Pipe, source_port: int, door: int) -> None:
            task = asyncio.get_running_loop().create_task(self._join(pipe, target, port, source_port, door))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

        return arrived

    async def _join(self, pipe: Pipe, target: str, port: int, source_port: int, door: int) -> None:
        pipe.source, pipe.target = await self._owner_of(source_port, door), target
        self._pipes.add(pipe)
        self._suffer(pipe)
        await pipe.connect(port)

    def _spread(self) -> None:
        for pipe in list(self._pipes):
            self._suffer(pipe)

    def _suffer(self, pipe: Pipe) -> None:
        hits = [trouble for trouble in self._troubles if trouble.hits(pipe.source, pipe.target)]
        kinds = {trouble.kind for trouble in hits}
        pipe.set_delay(max((trouble.seconds for trouble in hits if trouble.kind == "delay"), default=0.0))
        pipe.set_cut(on="cut" in kinds)
        if "reset" in kinds:
            pipe.abort()
        elif "truncate" in kinds:
            pipe.abort_soon()
