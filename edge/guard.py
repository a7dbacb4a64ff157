"""The guard in front of the application: turns away what must not become a job, and bounds what is in flight.

It is a plain ASGI callable because a framework reads the first body event before any of its own code can refuse, and
takes a connection that breaks off for the end of the body: a cut request would become a shorter one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from edge.asgi_types import ASGIApp, Message, Receive, Scope, Send
from edge.body import Arrivals, Body, busy, drain
from edge.head import NO_BODY, Framing, Seen, check_head, watch
from edge.limits import GuardLimits
from edge.refusal import DoorRefusal, error_body, error_headers
from edge.request_id import request_id_from

Drain = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class Guard:
    """Wraps an ASGI application; one per server process.

    `on_refuse` is called with the reason of each refusal, one word of a fixed set. `requests` and `arrivals.bytes` say
    what is in flight now. Every answer gets x-request-id; the application finds it in `scope["state"]["request_id"]`.
    """

    def __init__(
        self, app: ASGIApp, limits: GuardLimits | None = None, on_refuse: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.app = app
        self.limits = limits or GuardLimits()
        self.on_refuse = on_refuse
        self.requests = 0
        self.arrivals = Arrivals(self.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        seen, size = watch(scope["headers"], self.limits.max_headers)
        request_id = request_id_from(seen.get(b"x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        reply = _Reply(send, request_id)
        body: Body | None = None
        admitted = False
        try:
            framing = self._admit(scope, seen, size)
            self.requests += 1
            admitted = True
            if framing is NO_BODY:
                await self.app(scope, receive, reply.send)
            else:
                reply.body = body = Body(self.arrivals, framing, receive)
                scope["state"]["body"] = body
                await self.app(scope, body.receive, reply.send)
                if body.refusal is not None:
                    raise body.refusal  # the application took the broken body for an ended one, or for its own error
        except DoorRefusal as refusal:
            self.on_refuse(refusal.reason)
            await reply.refuse(refusal, self._drain_unread(seen, receive))
        except Exception:
            if reply.started:
                raise  # the server logs it and breaks the connection, the only way to say that the answer is not whole
            logger.exception("request %s failed", request_id)
            await reply.refuse(_crash(), self._drain_unread(seen, receive))
        finally:
            self.requests -= admitted  # who is refused takes no place, however long he lets himself be drained
            if body is not None:
                self.arrivals.release(body)
                del scope["state"]["body"]  # they hold each other, and the garbage collector would have to find out

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.on_refuse("websocket")
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    def _admit(self, scope: Scope, seen: Seen, size: int) -> Framing:
        framing = check_head(scope, seen, size, self.limits)
        if self.requests >= self.limits.max_requests:
            raise busy("busy_requests", f"{self.limits.max_requests} requests", self.limits)
        length = framing[0]
        if length:
            self.arrivals.require_room(length)
        return framing

    def _drain_unread(self, seen: Seen, receive: Receive) -> Drain:
        """How to drain a body that nobody began to read, if one is coming."""
        coming = b"expect" not in seen and (b"content-length" in seen or b"transfer-encoding" in seen)
        return lambda: drain(receive, self.limits.drain) if coming else _nothing()


def _crash() -> DoorRefusal:
    return DoorRefusal(500, "crash", "internal error; the x-request-id of this answer finds it in the log")


async def _nothing() -> None:
    """Something to await."""


class _Reply:
    """The answer on its way out: gets the request id, and closes the connection if the body was not read to its end."""

    __slots__ = ("_id", "_send", "body", "started")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = (b"x-request-id", request_id.encode("ascii"))
        self.body: Body | None = None
        self.started = False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on an event of the application, unless its request body turned out broken before it began to answer.

        Not a coroutine function: with most events there is nothing to do afterwards, so the server's own will do.
        """
        body = self.body
        if not self.started:
            if body is not None and body.refusal is not None:
                return _nothing()
            self.started = True
            message["headers"] = headers = [*message.get("headers", ()), self._id]
            if body is not None and not body.complete:
                headers.append((b"connection", b"close"))
        elif body is not None and not body.complete and not message.get("more_body", False):
            return self._end(message, body.drain)
        return self._send(message)

    async def refuse(self, refusal: DoorRefusal, drain_unread: Drain) -> None:
        """Answer in the application's place, if it has not begun to, and end the connection."""
        if self.started:
            return
        self.started = True
        body = error_body(refusal.status, refusal.message)
        headers = [*error_headers(refusal, body), self._id]
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        message: Message = {"type": "http.response.body", "body": body}
        await self._end(message, self.body.drain if self.body is not None else drain_unread)

    async def _end(self, message: Message, drain_unread: Drain) -> None:
        """Send all of the answer, let the client finish its own sending for a moment, then end."""
        await self._send({**message, "more_body": True})
        await drain_unread()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
