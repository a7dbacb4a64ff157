"""uvicorn's HTTP protocol with bounds: on time and bytes of a head, on pipelines, on connections, on slow readers.

It is a subclass of uvicorn's HttpToolsProtocol, which is not documented. Overridden, and none of it for speed:
- data_received, and the parser's callbacks on_message_begin, on_header, on_headers_complete, on_body and
  on_message_complete: time-outs and byte limits of heads, trailers and pipelines; an Upgrade header is ignored.
- connection_made, connection_lost, shutdown: the limit of connections; each pipelined request learns of a lost client.
- on_response_complete, pause_writing, resume_writing: one timer a process, not one a request; slow readers are dropped.
- _start_asgi_task: the task has a name, and an answer that failed half way ends its connection at once.
- the cycle's transport is an `UnclosedTransport`, so that a client that is still sending does not lose the answer.

tests/unit/edge/server/test_upgrades.py fails when an upgrade changes the code of what is overridden;
tests/system/ingress tries every case on the real server.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edge.ingress.cors import RefusalOrigins
from edge.ingress.rejection import RequestRejected, raw_answer
from edge.server.connections import Connections
from edge.server.upgrade import body_follows, parser_behind_upgrade


class UnclosedTransport:
    """For uvicorn's cycle, which would close behind an answer, while the client may be sending. The protocol closes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        pass


_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_CLOSED = (7, 8)
"""Linux's numbers for a connection that was reset, and for one whose other side will send no more."""


class HttpProtocol(HttpToolsProtocol):
    register: Connections
    head_open = False
    """A request's head is expected or half here."""
    raw_bytes = 0
    body_bytes = 0
    bodiless_bytes = 0
    """Bytes since the last piece of the body: of a trailer, or of what will never be one."""
    trailer_bytes = 0
    body_withheld = False
    """The parser skips the body of the request at hand, because of its Upgrade header."""
    served: RequestResponseCycle | None = None
    """The request that the application works on, or worked on last; `cycle` may be a later one in the pipeline."""
    last_cycle: RequestResponseCycle | None = None
    """The last request of the connection: the client said so, or the process is stopping."""
    discard_input = False
    """Input is thrown away: it cannot be a request any more."""
    last_words: RequestRejected | None = None
    """The answer to a broken request that waits behind others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.unclosed = UnclosedTransport(transport)
        self.headers = []  # none was read yet; uvicorn leaves it None
        self.head_open = True
        self.discard_input = not self.register.opened(self, len(self.connections), self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.register.closed(self)
        self.register.pipelined -= len(self.pipeline)
        self.pipeline.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        """Tell the request being served; uvicorn tells only the newest of several."""
        if self.served is not None and not self.served.response_complete:
            self.served.disconnected = True
            self.served.message_event.set()

    def abort(self) -> None:
        self._disconnect()
        self.transport.abort()

    def abort_if_left(self) -> None:
        """End what a client waits for that has closed its side behind bytes that we do not read. Only Linux tells."""
        if not self.flow.read_paused or self.served is self.cycle:
            self.register.unread.discard(self)
        elif _TCP_INFO is not None:
            state = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)
            if state[0] in _CLOSED:
                self.abort()

    def close(self) -> None:
        self.transport.close()
        self.register.watch_unsent(self)

    def shutdown(self) -> None:
        """The process is stopping: the answer under way says `close`, idle connections get `stop_grace` seconds."""
        self.register.stopping = True
        if not self._serving():
            self._close_soon()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _close_soon(self) -> None:
        self.loop.call_later(self.register.limits.stop_grace, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.transport.is_closing() and not self._serving():
            self.close()

    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self.discard_input:
            return
        register = self.register
        if self.cycle is None or self.cycle.response_complete:
            register.idle.pop(self, None)
            self.head_open = True
        self.raw_bytes += len(data)
        self.bodiless_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(_refusal_of(error))
            return
        limits = register.limits
        if (
            self.raw_bytes > limits.raw_allowance + limits.raw_per_body_byte * self.body_bytes
            or self.bodiless_bytes > limits.raw_allowance
        ):
            self._refuse(_too_raw(self.raw_bytes, limits.max_trailer_bytes))
        elif self.head_open and self not in register.heads:
            register.heads[self] = register.now
        if self.flow.read_paused and self.served is not self.cycle:
            register.unread.add(self)

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse, and read on behind each head at which the parser stops. Behind a CONNECT there is no HTTP."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                data = memoryview(data)[stop.args[0] :]
            if self.parser.get_method() == b"CONNECT":
                self.discard_input = True
                self.cycle.keep_alive = False
                return
            self.parser = parser_behind_upgrade(self)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_open = True
        self.raw_bytes = 1  # not 0: head_late tells a late head from a silent connection by it
        self.body_bytes = 0
        self.bodiless_bytes = 0
        self.trailer_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_open:
            self._count_trailer(len(name) + len(value))
            return  # a trailer must not get among the headers, which were checked
        name = name.lower()
        value = value.rstrip(b" \t")  # the parser takes only the blanks in front of a value away
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        register = self.register
        if self._serving() and register.pipelined >= register.limits.max_pipelined:
            message = "too many pipelined requests; wait for answers before sending more"
            raise RequestRejected(503, "pipeline_full", message)
        super().on_headers_complete()  # raises for some targets that the parser takes
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            register.pipelined += 1
        cycle = self.cycle
        cycle.transport = cast("asyncio.Transport", self.unclosed)
        cycle.keep_alive &= not register.stopping
        if not cycle.keep_alive and self.last_cycle is None:
            self.last_cycle = cycle
        self.body_withheld = self.parser.should_upgrade() and body_follows(self.headers)
        self.head_open = False
        register.heads.pop(self, None)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        self.bodiless_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.bodiless_bytes = 0
        if self.body_withheld:
            self.body_withheld = False  # the new parser, which reads the body, calls this again at its end
        else:
            super().on_message_complete()

    def _count_trailer(self, size: int) -> None:
        self.trailer_bytes += size
        most = self.register.limits.max_trailer_bytes
        if self.trailer_bytes > most:
            message = f"trailers: at most {most} bytes expected, got {self.trailer_bytes}; send fewer"
            raise RequestRejected(431, "large_headers", message)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.served = cycle
        task = self.loop.create_task(self._serve(cycle, app), name="request")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def until_refused(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            if scope["state"].get("refused") and cycle.response_started and not cycle.response_complete:
                self.transport.abort()
                cycle.disconnected = True  # keeps uvicorn from logging the unfinished answer as an error

        await cycle.run_asgi(until_refused)
        if cycle.response_started and not cycle.response_complete and not cycle.disconnected:
            self.transport.abort()  # close() would keep unsent bytes in memory

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        assert self.served is not None
        if self.transport.is_closing():
            self.register.watch_unsent(self)
            return
        if not self.served.keep_alive:
            self._leave()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self.register.pipelined -= 1
            self._start_asgi_task(*self.pipeline.pop())
            if self.last_words is not None and self.served is self.cycle and self.cycle.more_body:
                self.loop.call_soon(self._break_body, self.last_words)
        elif self.last_words is not None:
            self._answer(self.last_words)
        elif not self.head_open:
            self.register.idle[self] = self.register.now
            if self.register.stopping:
                self._close_soon()  # its head was sent before the stop and said keep-alive

    def _leave(self) -> None:
        if self.served is self.last_cycle and not self.flow.read_paused:
            self.close()
        else:
            self._linger()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.register.watch_unsent(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.register.unsent.pop(self, None)

    def head_late(self) -> None:
        if self.raw_bytes or self._serving():
            seconds = self.register.limits.head_timeout
            message = f"request head: expected within {seconds:g} s, got a part of it; send the head at once"
            self._refuse(RequestRejected(408, "slow_head", message))
        else:
            self.register.on_refuse("silent_connection")
            self.close()

    def _refuse(self, refusal: RequestRejected) -> None:
        self.discard_input = True
        self.register.heads.pop(self, None)
        self.register.on_refuse(refusal.reason)
        if not self._serving():
            self._answer(refusal)
        elif self.pipeline or self.head_open or not self.cycle.more_body:
            self.last_words = refusal  # complete requests in front of it are answered first
        else:
            # In the next turn of the loop: the guard may refuse the head first, with a better reason.
            self.loop.call_soon(self._break_body, refusal)

    def _break_body(self, refusal: RequestRejected) -> None:
        if self.transport.is_closing():
            return
        if self.cycle.response_started:
            self._linger()
        else:
            self._answer(refusal)
        self._disconnect()

    def _answer(self, refusal: RequestRejected) -> None:
        origins = [value for name, value in self.headers if name == b"origin"]  # as far as the head was read
        cors = RefusalOrigins.published(self.app_state).headers(origins)
        self.transport.write(raw_answer(refusal, *cors))
        self._linger()

    def _linger(self) -> None:
        """Close our side now, and theirs after `linger` seconds: closing on unread bytes destroys the answer."""
        self.discard_input = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(self.register.limits.linger, self._end)

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():
            self.close()
        elif not self.transport.is_closing():
            self.abort()


def _refusal_of(error: Exception) -> RequestRejected:
    if isinstance(error.__context__, RequestRejected):  # raised by a callback, through the parser
        return error.__context__
    cause = "bad request target" if isinstance(error, httptools.HttpParserCallbackError) else error
    message = f"request: expected HTTP/1.1, got bytes that cannot be read ({cause}); send plain HTTP/1.1 to this port"
    return RequestRejected(400, "unparsable", message)


def _too_raw(got: int, most_in_trailers: int) -> RequestRejected:
    kinds = f"headers, chunk extensions and trailers (of trailers: at most {most_in_trailers} bytes)"
    message = f"{kinds}: got {got} bytes, far more than the body explains; send fewer"
    return RequestRejected(431, "large_headers", message)


def protocol_class(register: Connections) -> type[HttpProtocol]:
    return type("HttpProtocol", (HttpProtocol,), {"register": register})
