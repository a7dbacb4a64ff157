"""One request and its answer on a connection: uvicorn's, with less work for what is alike in every request here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent, HTTPScope

    from edge.protocol import HardenedProtocol

Headers = Iterable[tuple[bytes, bytes]]

JOINED_BYTES = 64 * 1024
"""A body up to this size is copied behind its head, so that both leave in one write; a larger one is not copied."""
_CONTROLS = bytes({*range(32), 127} - {9})
"""What no header may hold."""


class CommonHead:
    """The headers that every answer begins with, as bytes. The server makes a new list of them each second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._text = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """These headers, one a line."""
        if headers is not self._headers:
            self._text = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._headers = headers
        return self._text


class RequestCycle(RequestResponseCycle):
    """What uvicorn's RequestResponseCycle is to the protocol and to the application, with the same attributes.

    The head of an answer leaves together with the first piece of its body. A task ends its own registration.
    """

    common = CommonHead()
    disconnected = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    _head = b""

    def __init__(self, connection: HardenedProtocol, scope: HTTPScope, *, keep_alive: bool) -> None:
        # Not the connection itself: it holds this, and what holds each other is left to the garbage collector.
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.server_state = connection.server_state
        self.on_response = connection.on_response_complete
        self.message_event = Signal()
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = connection.expect_100_continue
        self.body = bytearray()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Serve the request. What the application leaves open after an error ends with the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            self.logger.error("the application failed", exc_info=error)
        finally:
            if not self.response_complete and not self.disconnected:
                await self._give_up()
            self.on_response = _nothing
            self.server_state.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _give_up(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    async def receive(self) -> ASGIReceiveEvent:
        """The next piece of the body, or the end of the connection."""
        if self.waiting_for_100_continue or not self.message_event.is_set():
            return await super().receive()
        self.flow.resume_reading()
        self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: ASGISendEvent) -> None:
        """Take an event of the answer. Raises RuntimeError for one that HTTP has no place for."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._made_head(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"an ASGI event at the wrong time: {message['type']}")

    def _made_head(self, status: int, headers: Headers) -> bytes:
        common = self.server_state.default_headers
        pieces = [STATUS_LINE[status], self.common.of(common)]
        lines = 1 + len(common)
        for name, value in headers:
            lines += 1
            pieces += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection":
                self.keep_alive = False  # nothing but `close` is ever said by it here
        if not self.keep_alive and b"connection" not in pieces:
            lines += 1
            pieces.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines += 1
            pieces.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(pieces)
        if len(head.translate(None, _CONTROLS)) != len(head) - 2 * lines:
            raise RuntimeError("a header of the answer holds a control character")
        return head + b"\r\n"

    def _write(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the answer is longer than its Content-Length")
        self._flush(body)
        if not more:
            if self.expected_content_length != 0:
                raise RuntimeError("the answer is shorter than its Content-Length")
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _flush(self, body: bytes) -> None:
        head, self._head = self._head, b""
        if len(body) <= JOINED_BYTES:
            body = head + body
        elif head:
            self.transport.write(head)
        if body:
            self.transport.write(body)


def _nothing() -> None:
    """Stands where the connection was told of the end of an answer: what holds each other would be garbage."""


class Signal(asyncio.Event):
    """An event for one waiter at a time. It holds nothing until somebody waits: most requests come whole."""

    def __init__(self) -> None:
        self._value = False
        self._waiter: asyncio.Future[Any] | None = None

    def set(self) -> None:
        """Wake who waits, and let the next one pass."""
        self._value = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> Literal[True]:
        """Wait until set. Raises RuntimeError when somebody waits already."""
        if not self._value:
            if self._waiter is not None and not self._waiter.done():
                raise RuntimeError("one waiter at a time")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return True
