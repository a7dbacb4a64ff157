"""All connections of one server process: who owes us what since when, whom to drop, and one timer that looks."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Protocol

from edge.limits import ConnectionLimits


class Connection(Protocol):
    """What the register asks of a connection."""

    transport: asyncio.Transport

    def head_late(self) -> None:
        """The head did not come in time: say so, or just close."""

    def close(self) -> None:
        """Close as soon as what was written is sent."""

    def abort(self) -> None:
        """End at once."""


class Connections:
    """The register of one process.

    A connection is in `heads` while a request's head is expected or half here, in `idle` between two requests, in
    `unsent` while its client reads too slowly, and in none of them while a request is served. The dicts keep order,
    oldest first, and hold the moment of entry, rounded down to the last tick: reading the clock and arming timers for
    each request would cost more than all checks together.
    """

    def __init__(self, limits: ConnectionLimits, on_refuse: Callable[[str], None]) -> None:
        self.limits = limits
        self.on_refuse = on_refuse
        self.stopping = False
        self.now = 0.0
        self.heads: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self.unsent: dict[Connection, tuple[int, float]] = {}
        self.pipelined = 0
        self._timer: TimerHandle | None = None

    def opened(self, connection: Connection, open_now: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Enter a new connection, the `open_now`-th; if there are too many, drop who has kept us waiting longest."""
        if self._timer is None:
            self._tick(loop)
        if open_now > self.limits.max_connections and not self._drop_oldest():
            self.on_refuse("connection_cap")
            connection.abort()
            return False
        self.heads[connection] = self.now
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.heads.pop(connection, None)
        self.idle.pop(connection, None)
        self.unsent.pop(connection, None)

    def watch_unsent(self, connection: Connection) -> None:
        """Abort this connection unless its client takes what was written to it."""
        size = connection.transport.get_write_buffer_size()
        if size:
            self.unsent.setdefault(connection, (size, self.now))

    def _drop_oldest(self) -> bool:
        for waiting in (self.heads, self.idle):
            for connection in waiting:
                del waiting[connection]
                self.on_refuse("connection_cap")
                connection.abort()
                return True
        return False

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = now = loop.time()
        for connection in _older(self.heads, now - self.limits.head_timeout):
            connection.head_late()
        for connection in _older(self.idle, now - self.limits.keepalive):
            connection.close()
        self._abort_slow_readers(now)
        self._timer = loop.call_later(self.limits.tick, self._tick, loop)

    def _abort_slow_readers(self, now: float) -> None:
        least = self.limits.write_interval * self.limits.write_min_rate
        for connection, (size, since) in list(self.unsent.items()):
            if now - since < self.limits.write_interval:
                continue
            left = connection.transport.get_write_buffer_size()
            self.unsent[connection] = (left, now)
            if left and size - left < least:
                self.on_refuse("slow_reader")
                connection.abort()


def _older(waiting: dict[Connection, float], moment: float) -> list[Connection]:
    """Take out the connections that have waited since before `moment`."""
    old = []
    for connection, since in waiting.items():
        if since > moment:
            break
        old.append(connection)
    for connection in old:
        del waiting[connection]
    return old
