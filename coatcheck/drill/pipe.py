"""One connection through a door: bytes in at one end, out at the other, unless it is made to suffer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

from coatcheck.dev.ports import LOOPBACK

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_MOST_LATE_BYTES = 4 * 1024 * 1024
_BYTES_BEFORE_ABORT = 300
"""A truncated connection lets this much through: more than a head, less than most answers."""


class _End(asyncio.Protocol):
    """One end. What it receives is carried to the other one."""

    def __init__(self, pipe: Pipe) -> None:
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
        self.pipe.other(self).wait_for("room")

    def resume_writing(self) -> None:
        self.pipe.other(self).wait_no_more("room")

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipe.lost(self)

    def wait_for(self, reason: str) -> None:
        """Read nothing while there is a reason not to."""
        self._reasons_to_wait.add(reason)
        self._wait_or_read()

    def wait_no_more(self, reason: str) -> None:
        """Read again unless another reason is left."""
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
        loop = asyncio.get_running_loop()
        if not delay and not self._late:
            self._send(data)
            return
        self._late.append((loop.time() + delay, data))
        self._late_bytes += len(data)
        if self._late_bytes > _MOST_LATE_BYTES:
            self.pipe.other(self).wait_for("the late")
        self._arm(loop)

    def _send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._late and self._timer is None:
            self._timer = loop.call_at(self._late[0][0], self._send_late)

    def _send_late(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._late and self._late[0][0] <= loop.time() + 0.002:  # timers are only so exact
            data = self._late.popleft()[1]
            self._late_bytes -= len(data)
            self._send(data)
        if self._late_bytes <= _MOST_LATE_BYTES:
            self.pipe.other(self).wait_no_more("the late")
        self._arm(loop)

    def abort(self) -> None:
        """RST."""
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is None or self.transport.is_closing():
            return
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class Pipe(_End):
    """The near end, made when somebody knocks; it owns the far one.

    `arrived(pipe, source port, door port)` is told, and shall name source and target and call `connect`.
    """

    def __init__(self, arrived: Callable[[Pipe, int, int], None], gone: Callable[[Pipe], None]) -> None:
        super().__init__(self)
        self.source = self.target = ""
        self._arrived = arrived
        self._gone = gone
        self._far = _End(self)
        self._delay = 0.0
        self._bytes_left: int | None = None
        self._ended = False
        self._early: list[bytes] | None = []  # what came before there was anybody to give it to
        self._flows = asyncio.Event()
        self._flows.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arrived(self, transport.get_extra_info("peername")[1], transport.get_extra_info("sockname")[1])

    async def connect(self, port: int) -> None:
        """Reach the member behind the door; if it is not there, neither is the door's connection."""
        await self._flows.wait()
        if self._ended:
            return
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._far, LOOPBACK, port)
        except OSError:
            self.abort()
            return
        if self._gone_for_good():
            self._far.abort()
        early, self._early = self._early or [], None
        for data in early:
            self.carry(self, data)

    def _gone_for_good(self) -> bool:
        return self._ended

    def other(self, end: _End) -> _End:
        """The opposite end."""
        return self._far if end is self else self

    def carry(self, end: _End, data: bytes) -> None:
        """Bring what one end received to the other."""
        if self._early is not None:
            self._early.append(data)
            return
        if self._bytes_left is not None:
            data, self._bytes_left = data[: self._bytes_left], self._bytes_left - len(data)
        self.other(end).write(data, self._delay)
        if self._bytes_left is not None and self._bytes_left <= 0:
            asyncio.get_running_loop().call_later(0.05, self.abort)  # let it out first

    def lost(self, end: _End) -> None:
        """Close the other end too, once it has sent what is in its buffer."""
        if not self._ended:
            self._ended = True
            self._flows.set()
            self._gone(self)
        other = self.other(end)
        if other.transport is not None and not other.transport.is_closing():
            other.transport.close()

    def set_delay(self, seconds: float) -> None:
        """Let everything come later from now on."""
        self._delay = seconds

    def set_cut(self, *, on: bool) -> None:
        """Let nothing pass, or let it flow again."""
        for end in (self, self._far):
            if on:
                end.wait_for("cut")
            else:
                end.wait_no_more("cut")
        if on:
            self._flows.clear()
        else:
            self._flows.set()

    def abort_soon(self) -> None:
        """RST after a few more bytes."""
        if self._bytes_left is None:
            self._bytes_left = _BYTES_BEFORE_ABORT

    def abort(self) -> None:
        """RST to both sides."""
        super().abort()
        if self._far.transport is not None:
            _End.abort(self._far)
