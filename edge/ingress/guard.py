"""The guard in front of the application: turns away what must not become a job, and bounds what is in flight.

A framework takes a connection that breaks off for the end of the body: a cut request would become a shorter one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from edge.ingress.asgi_types import ASGIApp, Message, Receive, Scope, Send
from edge.ingress.body_stream import Body, InflightBodies, busy, drain
from edge.ingress.cors import RefusalOrigins
from edge.ingress.head_checks import NO_BODY, Framing, Headers, HeadersByName, check_head, collect_headers
from edge.ingress.limits import GuardLimits
from edge.ingress.rejection import RequestRejected, last_answer, request_id_from

Drain = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class Guard:
    """Wraps an ASGI application, which finds the request's id in `scope["state"]["request_id"]`.

    One per server process. `on_refuse` gets the reason of each refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: GuardLimits | None = None,
        on_refuse: Callable[[str], None] = lambda reason: None,
        origins: RefusalOrigins | None = None,
    ) -> None:
        self.app = app
        self.origins = origins or RefusalOrigins()
        self.limits = limits or GuardLimits()
        self.on_refuse = on_refuse
        self.requests = 0
        self.arrivals = InflightBodies(self.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        seen, size = collect_headers(scope["headers"], self.limits.max_headers)
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
                    raise body.refusal  # the application saw a whole body, or made an error of its own
        except RequestRejected as refusal:
            self.on_refuse(refusal.reason)
            scope["state"]["refused"] = True  # an answer under way ends here
            await reply.refuse(refusal, self._cors(seen), self._drain_unread(seen, receive))
        except Exception:
            if reply.started:
                raise  # the server logs it and breaks the connection, the only way to say that the answer is not whole
            logger.exception("request %s failed", request_id)
            crash = RequestRejected(500, "crash", "internal error; the x-request-id of this answer finds it in the log")
            await reply.refuse(crash, self._cors(seen), self._drain_unread(seen, receive))
        finally:
            self.requests -= admitted  # a refused request takes no place while it is drained
            if body is not None:
                self.arrivals.release(body)
                del scope["state"]["body"]  # breaks a reference cycle of scope and body

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.on_refuse("websocket")
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    def _admit(self, scope: Scope, seen: HeadersByName, size: int) -> Framing:
        framing = check_head(scope, seen, size, self.limits)
        if self.requests >= self.limits.max_requests:
            raise busy("busy_requests", f"{self.limits.max_requests} requests", self.limits)
        if length := framing[0]:
            self.arrivals.require_room(length)
        return framing

    def _cors(self, seen: HeadersByName) -> Headers:
        return self.origins.headers(seen.get(b"origin", ()))

    def _drain_unread(self, seen: HeadersByName, receive: Receive) -> Drain:
        coming = b"expect" not in seen and (b"content-length" in seen or b"transfer-encoding" in seen)
        return lambda: drain(receive, self.limits.drain) if coming else _nothing()


async def _nothing() -> None:
    pass


class _Reply:
    """The answer on its way out: gets the request id, and closes the connection if the body was not read to its end."""

    __slots__ = ("_id", "_send", "body", "started")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = (b"x-request-id", request_id.encode("ascii"))
        self.body: Body | None = None
        self.started = False

    def send(self, message: Message) -> Awaitable[None]:
        """Not a coroutine function: for most events the server's own awaitable will do."""
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

    async def refuse(self, refusal: RequestRejected, cors: Headers, drain_unread: Drain) -> None:
        if self.started:
            return
        self.started = True
        headers, body = last_answer(refusal, *cors, self._id)
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        message: Message = {"type": "http.response.body", "body": body}
        await self._end(message, self.body.drain if self.body is not None else drain_unread)

    async def _end(self, message: Message, drain_unread: Drain) -> None:
        await self._send({**message, "more_body": True})
        await drain_unread()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
