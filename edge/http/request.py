"""Requests as the resources see them: Falcon's, with the time they began, their whole body and the client's hang-up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter

import falcon
from falcon.asgi import Request
from falcon.request import RequestOptions

from edge.http.errors import ClientGone
from edge.ingress.asgi_types import Message, Receive, Scope
from edge.ingress.rejection import RequestRejected

_METHODS = frozenset(falcon.HTTP_METHODS)
_UNROUTED_METHOD = "TRACE"
"""Stands for methods that the router does not know: it answers 405 and names those that the path has."""


class EdgeRequest(Request):
    """Raises RequestRejected for a query that is not ASCII."""

    __slots__ = ("_events", "_first", "started")

    def __init__(
        self, scope: Scope, receive: Receive, first_event: Message | None = None, options: RequestOptions | None = None
    ) -> None:
        self.started = perf_counter()
        self._events = receive
        self._first = first_event
        if not scope["query_string"].isascii():
            raise RequestRejected(400, "unparsable", "request target: expected ASCII, got other bytes in the query")
        super().__init__(scope, receive, first_event, options)  # type: ignore[arg-type]
        if self.method not in _METHODS:
            self.method = _UNROUTED_METHOD
        self.path = self.path.rstrip("/") or "/"  # base URLs are often joined with one slash too many

    def restart_clock(self) -> None:
        """Measure from now on: time that the client took to send or wanted to wait is not ours."""
        self.started = perf_counter()

    async def whole_body(self) -> bytes:
        """To be asked for once. Raises RequestRejected unless all of it comes.

        `stream.read()` stops at Content-Length, one event before the end that the guard waits for.
        """
        event, self._first = self._first or {}, None
        pieces: list[bytes] = [event.get("body", b"")]
        while event.get("more_body"):
            event = await self._events()
            pieces.append(event.get("body", b""))
        self.restart_clock()
        return b"".join(pieces)  # a single piece is not copied

    @contextlib.asynccontextmanager
    async def waiting_client(self) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Gives a sleep that raises ClientGone as soon as the client hangs up. Only when the body has been read."""
        gone = asyncio.create_task(self._hung_up(), name="presence of a waiting client")
        # The guard answers for a broken body. Retrieved here, or asyncio logs the exception as never retrieved.
        gone.add_done_callback(lambda gone: gone.cancelled() or gone.exception())

        async def pause(seconds: float) -> None:
            await asyncio.wait([gone], timeout=seconds)
            if gone.done():
                raise ClientGone

        try:
            yield pause
        finally:
            gone.cancel()

    async def _hung_up(self) -> None:
        while (await self._events())["type"] != "http.disconnect":
            pass
