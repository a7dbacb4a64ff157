"""Request bodies on their way in: each reaches the application complete, in time and within the caps, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Task, TimerHandle
from typing import Any

from edge.ingress.asgi_types import Message, Receive
from edge.ingress.head_checks import Framing, too_large
from edge.ingress.limits import GuardLimits
from edge.ingress.rejection import RequestRejected

log = logging.getLogger(__name__)


class InflightBodies:
    """The bodies of one server process: how many bytes they hold, and which are still on their way."""

    def __init__(self, limits: GuardLimits) -> None:
        self.limits = limits
        self.bytes = 0
        self._arriving: dict[Body, None] = {}
        self._timer: TimerHandle | None = None

    def require_room(self, size: int) -> None:
        if self.bytes + size > self.limits.max_bytes:
            raise busy("busy_bytes", f"{self.limits.max_bytes} body bytes", self.limits)

    def add_bytes(self, size: int) -> None:
        """Count bytes as they come, not by the declared length: a few clients that declare much would lock out all."""
        self.bytes += size
        if self.bytes > self.limits.max_bytes:
            self.require_room(0)

    def expect(self, body: Body) -> None:
        """Hold a body to its deadline. One timer serves all: a timer each would cost more than the checks."""
        self._arriving[body] = None
        if self._timer is None:
            self._arm(asyncio.get_running_loop())

    def ended(self, body: Body) -> None:
        self._arriving.pop(body, None)

    def release(self, body: Body) -> None:
        self._arriving.pop(body, None)
        self.bytes -= body.held

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(min(1.0, self.limits.body_grace / 8), self._stop_late, loop)

    def _stop_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._arriving:
            self._arm(loop)  # first, so that an error below does not stop the timer
        now = loop.time()
        for body in self._arriving:
            try:
                body.stop_if_late(now)
            except Exception:
                log.exception("a body that is late could not be refused")


class Body:
    held = 0
    """Bytes so far."""
    complete = False
    refusal: RequestRejected | None = None
    _offered = False
    _asked = False
    _started: float | None = None
    _waiter: Task[Any] | None = None
    _late = False

    def __init__(self, arrivals: InflightBodies, framing: Framing, receive: Receive) -> None:
        self._arrivals = arrivals
        self._length, self._expects_continue = framing
        self._receive = receive

    async def receive(self) -> Message:
        """The next ASGI event. Raises RequestRejected unless all of the body comes, in time and within the caps."""
        if self.complete:
            return await self._receive()
        if self.refusal is not None:
            raise self.refusal
        if not self._asked:
            if self._expects_continue and not self._offered:
                # An empty piece first, before 100 Continue goes out: the application may refuse by the head alone.
                self._offered = True
                return {"type": "http.request", "body": b"", "more_body": True}
            self._asked = True
            self._arrivals.expect(self)
        self._waiter = task = asyncio.current_task()
        try:
            event = await self._receive()
            self._count(event)
            return event
        except asyncio.CancelledError:
            if not self._late or task is None or task.uncancel() > 0:
                raise
            raise self._refused(self._too_slow()) from None
        except RequestRejected as refusal:
            raise self._refused(refusal) from None
        finally:
            self._waiter = None

    def _refused(self, refusal: RequestRejected) -> RequestRejected:
        self.refusal = refusal
        self._arrivals.ended(self)
        return refusal

    def _count(self, event: Message) -> None:
        if event["type"] == "http.disconnect":
            raise self._cut()
        size = len(event.get("body", b""))
        self.held += size
        self._arrivals.add_bytes(size)
        limit = self._arrivals.limits.max_body_bytes
        if self.held > limit:
            raise too_large(limit, f"{self.held} so far")
        if not event.get("more_body", False):
            if self._length is not None and self.held != self._length:
                raise self._cut()
            self.complete = True
            self._arrivals.ended(self)

    def stop_if_late(self, now: float) -> None:
        """Interrupt the wait for the client once its deadline has passed."""
        if self._started is None:
            self._started = now  # at the first look: up to one tick late, but no clock reading for each body
        if self._waiter is None or self._late:
            return
        if self._arrivals.limits.body_deadline(self._started, self.held) <= now:
            self._late = True
            self._waiter.cancel()

    def release_early(self) -> None:
        """The application holds nothing of the body any more."""
        self._arrivals.release(self)
        self.held = 0

    async def drain(self) -> None:
        if not self.complete and (self._asked or not self._expects_continue):
            await drain(self._receive, self._arrivals.limits.drain)

    def _cut(self) -> RequestRejected:
        expected = "its last chunk" if self._length is None else f"{self._length} bytes"
        message = f"body: expected {expected}, got {self.held} bytes and then the end; send the request again"
        return RequestRejected(400, "cut_body", message)

    def _too_slow(self) -> RequestRejected:
        limits = self._arrivals.limits
        rate = f"{limits.body_min_rate:.0f} bytes/s after {limits.body_grace:g} s"
        message = f"body: expected at least {rate}, got {self.held} bytes so far; send the request again"
        return RequestRejected(408, "slow_body", message)


def busy(reason: str, bound: str, limits: GuardLimits) -> RequestRejected:
    after = limits.retry_after
    message = f"server busy: this process holds at most {bound} at a time; repeat the request after {after} s"
    return RequestRejected(503, reason, message, retry_after=after)


async def drain(receive: Receive, seconds: float) -> None:
    """Read for up to `seconds` and throw it away: closing on unread bytes would destroy the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (event := await receive())["type"] == "http.request" and event.get("more_body", False):
                pass
