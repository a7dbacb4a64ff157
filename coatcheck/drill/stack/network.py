"""The network of a drill: whoever talks to a member goes through a proxy of ours, where the connection can suffer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, cast

from coatcheck.dev.ports import LOOPBACK

CLIENTS = "client"
"""The name of the drill itself, which is where the load comes from."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_MOST_LATE_BYTES = 4 * 1024 * 1024
_BYTES_BEFORE_ABORT = 300
"""A truncated connection lets this much through: more than a head, less than most answers."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What connections from `sources` to `targets` suffer; both are names of members in which `*` is a wildcard.
    "cut": nothing passes, nobody is told; "reset": RST at once; "truncate": RST after some more bytes; "delay":
    everything comes `seconds` later.
    """

    kind: Literal["cut", "reset", "truncate", "delay"]
    sources: Sequence[str]
    targets: Sequence[str]
    seconds: float = 0.0

    def hits(self, source: str, target: str) -> bool:
        """Whether a connection suffers. A member's connections to itself never do."""
        ends = ((source, self.sources), (target, self.targets))
        return source != target and all(any(fnmatch(end, each) for each in patterns) for end, patterns in ends)


class _End(asyncio.Protocol):
    """One end. What it receives is carried to the other one."""

    def __init__(self, pipe: ProxyConnection) -> None:
        self.pipe = pipe
        self.transport: asyncio.Transport | None = None
        self._reasons_to_wait: set[str] = set()
        self._late: deque[tuple[float, bytes]] = deque()
        self._late_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # uvloop begins to read after this, so a pause now would not last.
        asyncio.get_running_loop().call_soon(self._wait_or_read)

    def data_received(self, data: bytes) -> None:
        self.pipe.carry(self, data)

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        self.pipe.other(self).hold("room", on=True)

    def resume_writing(self) -> None:
        self.pipe.other(self).hold("room", on=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipe.lost(self)

    def hold(self, reason: str, *, on: bool) -> None:
        """Read nothing while there is any reason not to."""
        if on:
            self._reasons_to_wait.add(reason)
        else:
            self._reasons_to_wait.discard(reason)
        self._wait_or_read()

    def _wait_or_read(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._reasons_to_wait:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def write(self, data: bytes, delay: float) -> None:
        """Send after `delay` seconds, never before what was given earlier."""
        if not delay and not self._late:
            self._send(data)
            return
        self._late.append((asyncio.get_running_loop().time() + delay, data))
        self._late_bytes += len(data)
        if self._late_bytes > _MOST_LATE_BYTES:
            self.pipe.other(self).hold("the late", on=True)
        self._arm()

    def _send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def _arm(self) -> None:
        if self._late and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._late[0][0], self._send_late)

    def _send_late(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + 0.002  # timers may fire this much early
        while self._late and self._late[0][0] <= now:
            data = self._late.popleft()[1]
            self._late_bytes -= len(data)
            self._send(data)
        if self._late_bytes <= _MOST_LATE_BYTES:
            self.pipe.other(self).hold("the late", on=False)
        self._arm()

    def abort(self) -> None:
        """RST."""
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is None or self.transport.is_closing():
            return
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class ProxyConnection(_End):
    """The near end, which owns the far one. `arrived(pipe, source port, proxy port)` names its ends and connects it."""

    def __init__(
        self, arrived: Callable[[ProxyConnection, int, int], None], gone: Callable[[ProxyConnection], None]
    ) -> None:
        super().__init__(self)
        self.source = self.target = ""
        self._arrived = arrived
        self._gone = gone
        self._far = _End(self)
        self.delay = 0.0
        self._bytes_left: int | None = None
        self._ended = asyncio.Event()
        self._early: list[bytes] | None = []  # received before the far end is connected; None afterwards
        self._flows = asyncio.Event()
        self._flows.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arrived(self, transport.get_extra_info("peername")[1], transport.get_extra_info("sockname")[1])

    async def connect(self, port: int) -> None:
        """Reach the member behind the proxy; if it is not there, neither is the proxy's connection."""
        await self._flows.wait()
        if self._ended.is_set():
            return
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._far, LOOPBACK, port)
        except OSError:
            self.abort()
            return
        if self._ended.is_set():  # the near end closed during the connect
            self._far.abort()
        early, self._early = self._early or [], None
        for data in early:
            self.carry(self, data)

    def other(self, end: _End) -> _End:
        return self._far if end is self else self

    def carry(self, end: _End, data: bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            return
        if self._bytes_left is not None:
            data, self._bytes_left = data[: self._bytes_left], self._bytes_left - len(data)
        self.other(end).write(data, self.delay)
        if self._bytes_left is not None and self._bytes_left <= 0:
            asyncio.get_running_loop().call_later(0.05, self.abort)  # so that the piece is sent first

    def lost(self, end: _End) -> None:
        """Close the other end too, once it has sent what is in its buffer."""
        if not self._ended.is_set():
            self._ended.set()
            self._flows.set()
            self._gone(self)
        other = self.other(end)
        if other.transport is not None and not other.transport.is_closing():
            other.transport.close()

    def set_cut(self, *, on: bool) -> None:
        for end in (self, self._far):
            end.hold("cut", on=on)
        if on:
            self._flows.clear()
        else:
            self._flows.set()

    def abort_soon(self) -> None:
        if self._bytes_left is None:
            self._bytes_left = _BYTES_BEFORE_ABORT

    def abort(self) -> None:
        super().abort()
        self._far.abort()


class Network:
    """All proxies. `owner_of(port, proxy)` names the member that a connection comes from."""

    def __init__(self, owner_of: Callable[[int, int], Awaitable[str]]) -> None:
        self._owner_of = owner_of
        self._troubles: list[Trouble] = []
        self._proxies: list[asyncio.Server] = []
        self._pipes: set[ProxyConnection] = set()
        self._joining: set[asyncio.Task[None]] = set()

    async def open_proxy(self, target: str, port: int) -> int:
        """Listen on a new port and pass everything on to `port`, where the member `target` listens."""

        def arrived(pipe: ProxyConnection, source_port: int, proxy: int) -> None:
            task = asyncio.create_task(self._join(pipe, target, port, source_port, proxy))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ProxyConnection(arrived, self._pipes.discard), LOOPBACK, 0)
        self._proxies.append(server)
        return int(server.sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def trouble(self, *troubles: Trouble) -> Iterator[None]:
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
        for proxy in self._proxies:
            proxy.close()
        for task in self._joining:
            task.cancel()
        for pipe in list(self._pipes):
            pipe.abort()

    async def _join(self, pipe: ProxyConnection, target: str, port: int, source_port: int, proxy: int) -> None:
        pipe.source, pipe.target = await self._owner_of(source_port, proxy), target
        self._pipes.add(pipe)
        self._suffer(pipe)
        await pipe.connect(port)

    def _spread(self) -> None:
        for pipe in list(self._pipes):
            self._suffer(pipe)

    def _suffer(self, pipe: ProxyConnection) -> None:
        hits = [trouble for trouble in self._troubles if trouble.hits(pipe.source, pipe.target)]
        kinds = {trouble.kind for trouble in hits}
        pipe.delay = max((trouble.seconds for trouble in hits if trouble.kind == "delay"), default=0.0)
        pipe.set_cut(on="cut" in kinds)
        if "reset" in kinds:
            pipe.abort()
        elif "truncate" in kinds:
            pipe.abort_soon()
