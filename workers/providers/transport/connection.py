"""One HTTP/1.1 connection to a provider: a request goes out, its answer comes in, and the next may follow."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

import httptools
import httpx

MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of an answer, beside its body, that are read: the head, interim answers, trailers."""
_FRAMING_PER_BYTE = 16
"""Beyond that, for each byte of a body: a chunk with one byte in it has five more around it."""
_READ_AHEAD_BYTES = 64 * 1024
_JOINED_BYTES = 64 * 1024
"""A body up to this size is copied behind its head, so that both leave in one packet."""


class Origin(NamedTuple):
    encrypted: bool
    host: str
    port: int


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: `exchange`, then `read` until it gives nothing.

    It is not `reusable` after any doubt about where an answer ends: nothing of one can get into the next.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.exchanges = 0
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._wire = cast(asyncio.Transport, None)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._begin()
        self._ended = True

    def _begin(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._failure: httpx.TransportError | None = None
        self._received = 0
        self._body_bytes = 0
        self._pieces: list[bytes] = []
        self._unread = 0
        self._has_head = self._ended = self._keep_alive = self._halted = False

    @property
    def heard(self) -> bool:
        return self._received > 0

    @property
    def reusable(self) -> bool:
        return self._ended and self._keep_alive and not self._closed and not self._wire.get_write_buffer_size()

    async def exchange(self, head: bytes, content: bytes) -> None:
        """Send a request and wait for the head of its answer: `status`, `headers`. Raises httpx.TransportError."""
        self._begin()
        self.exchanges += 1
        if self._closed:
            self._fail(httpx.ReadError("the connection was closed"))
        elif len(content) <= _JOINED_BYTES:
            self._wire.write(head + content)
        else:
            self._wire.writelines((head, content))
        while not self._has_head:
            await self._more()

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises httpx.TransportError when it was cut off."""
        while not self._pieces and not self._ended:
            await self._more()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._unread = [], 0
        if self._halted and not self._closed:
            self._halted = False
            self._wire.resume_reading()
        return piece

    def abort(self) -> None:
        self._closed = True
        if self._wire is not None:
            self._wire.abort()

    async def _more(self) -> None:
        if self._failure is None:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        """End an exchange under way; what comes after the end of an answer concerns nobody."""
        self._keep_alive = False
        if not self._ended and self._failure is None:
            self._failure = error
            self._wake()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self.abort()  # nobody asked for anything
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(f"the answer is no HTTP: {str(error)[:100]}"))
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("the answer changes to another protocol"))
        if self._received - self._body_bytes > MAX_HEAD_BYTES + _FRAMING_PER_BYTE * self._body_bytes:
            self._fail(httpx.RemoteProtocolError(f"more than {MAX_HEAD_BYTES} bytes of an answer beside its body"))
        if self._failure is not None:
            self.abort()
        elif self._unread > _READ_AHEAD_BYTES and not self._ended and not self._halted:
            self._halted = True
            self._wire.pause_reading()
        if self._has_head:
            self._wake()

    def eof_received(self) -> bool:
        self._end_of_stream(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end_of_stream(error)
        del self._parser  # it holds our methods: a circle that the rare garbage collector would have to find

    def _end_of_stream(self, error: Exception | None) -> None:
        self._closed = True
        if self._ended:
            return
        if self._has_head and error is None and self._ends_with_the_stream():
            self._ended = True
            self._wake()
        elif error is not None:
            self._fail(httpx.ReadError(f"the connection broke: {error}"))
        else:
            self._fail(httpx.RemoteProtocolError("the connection was closed before the end of the answer"))

    def _ends_with_the_stream(self) -> bool:
        return not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._ended:
            self._keep_alive = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # what comes later are trailers
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self._has_head = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        if self._has_head and not self._ended:
            self._pieces.append(piece)
            self._body_bytes += len(piece)
            self._unread += len(piece)

    def on_message_complete(self) -> None:
        self._ended = self._ended or self._has_head
