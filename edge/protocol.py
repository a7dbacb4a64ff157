"""uvicorn's HTTP protocol, hardened: no connection is held for ever, no byte is taken without bound, no half request
is served.

It overrides and reads parts of uvicorn's HttpToolsProtocol that are not public: `cycle` (made by edge/cycle.py),
`app`, `app_state`, `asgi_version`, `client`, `server`, `scheme`, `connections`, `server_state`, `transport`, `flow`,
`loop`, `parser`, `url`, `headers`, `expect_100_continue`, `pipeline`, `on_headers_complete` and `_start_asgi_task`. So
the exact versions of uvicorn and httptools are pinned, and tests/system/test_door*.py try every case on the real server
before a pin moves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edge.connections import Connections
from edge.cycle import RequestCycle
from edge.refusal import DoorRefusal, raw_answer
from edge.request_id import new_request_id

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, HTTPScope


class _PipelineFull(Exception):
    """Too many requests wait behind others; raised through the parser."""


class HardenedProtocol(HttpToolsProtocol):
    """One connection. Use `protocol_class`, which ties it to the register of its process."""

    register: Connections
    head_open = False
    """A request's head is expected or half here."""
    raw_bytes = 0
    body_bytes = 0
    served: RequestResponseCycle | None = None
    """The request that the application works on, or worked on last; `cycle` may be a later one in the pipeline."""
    deaf = False
    """What still comes is thrown away: it cannot be a request any more."""

    # Connection
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.head_open = True
        self.deaf = not self.register.opened(self, len(self.connections), self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.register.closed(self)
        self.register.pipelined -= len(self.pipeline)
        self.pipeline.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        """Tell the request being served that its client is gone: uvicorn tells only the newest of several."""
        if self.served is not None and not self.served.response_complete:
            self.served.disconnected = True
            self.served.message_event.set()

    def abort(self) -> None:
        """End at once, whatever was written."""
        self._disconnect()
        self.transport.abort()

    def close(self) -> None:
        """Close as soon as what was written is sent, and not later than a slow reader may take."""
        self.transport.close()
        self.register.watch_unsent(self)

    def shutdown(self) -> None:
        """The process is stopping. A fresh connection gets a moment: its request may be on the way already."""
        register = self.register
        register.stopping = True
        if self in register.heads and not self._serving():
            self.loop.call_later(register.limits.stop_grace, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if not self.transport.is_closing() and not self._serving():
            self.close()

    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Bytes in
    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        register = self.register
        if self.cycle is None or self.cycle.response_complete:
            register.idle.pop(self, None)
            self.head_open = True
        self.raw_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(_unparsable(error))
            return
        limits = register.limits
        if self.raw_bytes > limits.raw_allowance + limits.raw_per_body_byte * self.body_bytes:
            self._refuse(_too_raw(self.raw_bytes))
        elif self.head_open and self not in register.heads:
            register.heads[self] = register.now

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.head_open = True
        self.raw_bytes = 0
        self.body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_open:
            return  # a trailer: it must not look like a header that was checked
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        register = self.register
        serving = self._serving()
        if serving:
            if register.pipelined >= register.limits.max_pipelined:
                raise _PipelineFull
            register.pipelined += 1
        scope = self._scope()
        keep_alive = scope["http_version"] != "1.0" and self.parser.should_keep_alive() and not register.stopping
        self.cycle = cycle = RequestCycle(self, scope, keep_alive=keep_alive)
        if serving:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)
        self.head_open = False
        register.heads.pop(self, None)

    def _scope(self) -> HTTPScope:
        """The ASGI scope of the head that has come. Raises for a target that is none."""
        parser, raw_path, query = self.parser, self.url, b""
        if raw_path[:1] != b"/" or b"?" in raw_path or b"#" in raw_path:
            url = httptools.parse_url(raw_path)
            raw_path, query = url.path, url.query or b""
        path = raw_path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "state": self.app_state.copy(),
        }
        return cast("HTTPScope", scope)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.served = cycle
        self.server_state.tasks.add(self.loop.create_task(cycle.run_asgi(app)))

    # Bytes out
    def on_response_complete(self) -> None:
        """As uvicorn's, with an entry in the register in place of a keep-alive timer per request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.register.watch_unsent(self)
            return
        self.flow.resume_reading()
        if self.pipeline:
            self.register.pipelined -= 1
            self._start_asgi_task(*self.pipeline.pop())
        elif not self.head_open:
            self.register.idle[self] = self.register.now

    def pause_writing(self) -> None:
        super().pause_writing()
        self.register.watch_unsent(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.register.unsent.pop(self, None)

    # Refusals below the application
    def head_late(self) -> None:
        """The head did not come in time. A connection that never said anything is closed without a word."""
        if self._serving():
            self.deaf = True
            self.cycle.keep_alive = False
        elif self.raw_bytes:
            self._refuse(_late(self.register.limits.head_timeout))
        else:
            self.register.on_refuse("silent_connection")
            self.close()

    def _refuse(self, refusal: DoorRefusal) -> None:
        self.deaf = True
        self.register.heads.pop(self, None)
        self.register.on_refuse(refusal.reason)
        if not self._serving():
            self._answer(refusal)
        elif self.head_open or not self.cycle.more_body:
            self.cycle.keep_alive = False  # what was asked before is complete and is still answered
        elif self.pipeline:
            self.pipeline.popleft()  # the broken one; those before it are complete
            self.register.pipelined -= 1
            self._newest_complete().keep_alive = False
        else:
            # The guard has not seen the head yet: let it speak first, it knows better what is wrong.
            self.loop.call_soon(self._break_body, refusal)

    def _newest_complete(self) -> RequestResponseCycle:
        if self.pipeline:
            return self.pipeline[0][0]
        assert self.served is not None
        return self.served

    def _break_body(self, refusal: DoorRefusal) -> None:
        if self.transport.is_closing():
            return
        if self.cycle.response_started:
            self._linger()
        else:
            self._answer(refusal)
        self._disconnect()

    def _answer(self, refusal: DoorRefusal) -> None:
        self.transport.write(raw_answer(refusal, new_request_id()))
        self._linger()

    def _linger(self) -> None:
        """Close our side now and theirs a moment later: closing on unread bytes would destroy the answer."""
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(self.register.limits.linger, self._end)

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.abort()


def protocol_class(register: Connections) -> type[HardenedProtocol]:
    """The protocol class for one server process, for uvicorn's `Config(http=...)`."""
    return type("DoorProtocol", (HardenedProtocol,), {"register": register})


def _unparsable(error: Exception) -> DoorRefusal:
    if isinstance(error.__context__, _PipelineFull):
        return DoorRefusal(503, "pipeline_full", "too many pipelined requests; wait for answers before sending more")
    cause = "bad request target" if isinstance(error, httptools.HttpParserCallbackError) else error
    message = f"request: expected HTTP/1.1, got bytes that cannot be read ({cause}); send plain HTTP/1.1 to this port"
    return DoorRefusal(400, "unparsable", message)


def _too_raw(got: int) -> DoorRefusal:
    message = f"headers, trailers and chunk extensions: got {got} bytes, far more than the body explains; send fewer"
    return DoorRefusal(431, "large_headers", message)


def _late(seconds: float) -> DoorRefusal:
    message = f"request head: expected within {seconds:g} s, got a part of it; send the head at once"
    return DoorRefusal(408, "slow_head", message)
