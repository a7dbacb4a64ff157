"""Request bodies on their way in: each reaches the application complete, in time and within the caps, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import Task, TimerHandle
from typing import Any

from edge.asgi_types import Message, Receive
from edge.head import Framing, too_large
from edge.limits import GuardLimits
from edge.refusal import DoorRefusal


class Arrivals:
    """The bodies of one server process: how many bytes they hold, and which are still on their way."""

    def __init__(self, limits: GuardLimits) -> None:
        self.limits = limits
        self.bytes = 0
        self._arriving: dict[Body, None] = {}
        self._timer: TimerHandle | None = None

    def require_room(self, size: int) -> None:
        """Raise DoorRefusal if `size` more bytes are more than this process may hold."""
        if self.bytes + size > self.limits.max_bytes:
            raise busy("busy_bytes", f"{self.limits.max_bytes} body bytes", self.limits)

    def took(self, size: int) -> None:
        """Count bytes that came; raise DoorRefusal when they are too many.

        They are counted as they come and not by the declared length: a few clients that declare much and send nothing
        could otherwise lock everybody out.
        """
        self.bytes += size
        if self.bytes > self.limits.max_bytes:
            self.require_room(0)

    def expect(self, body: Body) -> None:
        """Hold a body to its deadline. One timer serves all of them: a timer each would cost more than the checks."""
        self._arriving[body] = None
        if self._timer is None:
            self._arm(asyncio.get_running_loop())

    def ended(self, body: Body) -> None:
        """The body is complete or given up: no deadline any more."""
        self._arriving.pop(body, None)

    def release(self, body: Body) -> None:
        """The request is over and its body's bytes are free again."""
        self._arriving.pop(body, None)
        self.bytes -= body.held

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(min(1.0, self.limits.body_grace / 8), self._stop_late, loop)

    def _stop_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for body in self._arriving:
            body.stop_if_late(now)
        self._timer = None
        if self._arriving:
            self._arm(loop)


class Body:
    """The body of one request, read by the application through `receive`."""

    held = 0
    """Bytes so far."""
    complete = False
    refusal: DoorRefusal | None = None
    _offered = False
    _asked = False
    _started: float | None = None
    _waiter: Task[Any] | None = None
    _late = False

    def __init__(self, arrivals: Arrivals, framing: Framing, receive: Receive) -> None:
        self._arrivals = arrivals
        self._length, self._expects_continue = framing
        self._receive = receive

    async def receive(self) -> Message:
        """The next ASGI event. Raises DoorRefusal unless all of the body comes, in time and within the caps."""
        if self.complete:
            return await self._receive()
        if self.refusal is not None:
            raise self.refusal
        if not self._asked:
            if self._expects_continue and not self._offered:
                # Nothing is asked of the client yet, so that the application can refuse from the head alone.
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
        except DoorRefusal as refusal:
            raise self._refused(refusal) from None
        finally:
            self._waiter = None

    def _refused(self, refusal: DoorRefusal) -> DoorRefusal:
        self.refusal = refusal
        self._arrivals.ended(self)
        return refusal

    def _count(self, event: Message) -> None:
        if event["type"] == "http.disconnect":
            raise self._cut()
        size = len(event.get("body", b""))
        self.held += size
        self._arrivals.took(size)
        limit = self._arrivals.limits.max_body_bytes
        if self.held > limit:
            raise too_large(limit, f"{self.held} so far")
        if not event.get("more_body", False):
            if self._length is not None and self.held != self._length:
                raise self._cut()
            self.complete = True
            self._arrivals.ended(self)

    def stop_if_late(self, now: float) -> None:
        """Interrupt the wait for the client once the deadline has passed. Time the application takes is not its."""
        if self._started is None:
            self._started = now  # a reading of the clock per body saved, at the price of one round of the timer
        if self._waiter is None or self._late:
            return
        if self._arrivals.limits.body_deadline(self._started, self.held) <= now:
            self._late = True
            self._waiter.cancel()

    def let_go(self) -> None:
        """The application keeps nothing of the body any more, though it has not answered yet."""
        self._arrivals.release(self)
        self.held = 0

    async def drain(self) -> None:
        """Throw away what still comes, unless the client waits for permission to send."""
        if not self.complete and (self._asked or not self._expects_continue):
            await drain(self._receive, self._arrivals.limits.drain)

    def _cut(self) -> DoorRefusal:
        expected = "its last chunk" if self._length is None else f"{self._length} bytes"
        message = f"body: expected {expected}, got {self.held} bytes and then the end; send the request again"
        return DoorRefusal(400, "cut_body", message)

    def _too_slow(self) -> DoorRefusal:
        limits = self._arrivals.limits
        message = (
            f"body: expected at least {limits.body_min_rate:.0f} bytes/s after {limits.body_grace:g} s, "
            f"got {self.held} bytes so far; send the request again"
        )
        return DoorRefusal(408, "slow_body", message)


def busy(reason: str, bound: str, limits: GuardLimits) -> DoorRefusal:
    """The refusal of a request that finds this process full."""
    after = limits.retry_after
    message = f"server busy: this process holds at most {bound} at a time; repeat the request after {after} s"
    return DoorRefusal(503, reason, message, retry_after=after)


async def drain(receive: Receive, seconds: float) -> None:
    """Read on for a moment and throw it away: closing on unread bytes would destroy the answer on its way."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (event := await receive())["type"] == "http.request" and event.get("more_body", False):
                pass
