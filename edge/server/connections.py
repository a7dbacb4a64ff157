"""All connections of one server process: since when each is waited for, which to drop, and the timer that looks."""

from __future__ import annotations

import asyncio
import logging
from asyncio import TimerHandle
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

from edge.ingress.limits import ConnectionLimits

log = logging.getLogger(__name__)


class Connection(Protocol):
    transport: asyncio.Transport

    def head_late(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def abort_if_left(self) -> None: ...


class Connections:
    """The register of one process.

    Times of entry are in seconds as of the last tick, oldest first: a clock reading and a timer for each request would
    cost more than all checks together. A connection whose request is served is in no map.
    """

    def __init__(self, limits: ConnectionLimits, on_refuse: Callable[[str], None]) -> None:
        self.limits = limits
        self.on_refuse = on_refuse
        self.stopping = False
        self.now = 0.0
        self.heads: dict[Connection, float] = {}  # the head of a request is awaited
        self.idle: dict[Connection, float] = {}  # between two requests
        self.unsent: dict[Connection, tuple[int, float]] = {}  # bytes that the client does not take
        self.unread: set[Connection] = set()  # reading is paused behind a full pipeline, so a close goes unnoticed
        self.pipelined = 0
        self._timer: TimerHandle | None = None

    def opened(self, connection: Connection, open_now: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Enter a new connection, the `open_now`-th; if there are too many, drop the one waited for longest."""
        if self._timer is None:
            self._tick(loop)
        if open_now > self.limits.max_connections and not self._drop_oldest():
            self.on_refuse("connection_cap")
            connection.abort()
            return False
        self.heads[connection] = self.now
        return True

    def closed(self, connection: Connection) -> None:
        self.heads.pop(connection, None)
        self.idle.pop(connection, None)
        self.unsent.pop(connection, None)
        self.unread.discard(connection)

    def watch_unsent(self, connection: Connection) -> None:
        """Abort it unless its client takes what was written."""
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
        self._timer = loop.call_later(
            self.limits.tick, self._tick, loop
        )  # first, so that an error below does not stop the timer
        self.now = now = loop.time()
        for connection in _older(self.heads, now - self.limits.head_timeout):
            _try(connection.head_late)
        for connection in _older(self.idle, now - self.limits.keepalive):
            _try(connection.close)
        self._abort_slow_readers(now)
        for connection in list(self.unread):
            _try(connection.abort_if_left)

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


def _try(act: Callable[[], None]) -> None:
    """Act; a connection that fails must not keep the others from their end."""
    try:
        act()
    except Exception:
        log.exception("a connection could not be ended")


def _older(waiting: dict[Connection, float], moment: float) -> list[Connection]:
    """Take out the connections that have waited since before `moment`."""
    old = list(takewhile(lambda connection: waiting[connection] <= moment, waiting))
    for connection in old:
        del waiting[connection]
    return old
