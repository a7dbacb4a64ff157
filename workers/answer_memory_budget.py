"""A bound on the bytes of answers that a worker holds: on their way in from providers, or not yet in the database."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

from shared.telemetry.metrics import INCOMING_BYTES, UNRECORDED_BYTES

_SMALL_SHARE = 8
"""While less than this part of the limit waits for the database, it is not what the others wait for."""


class AnswerMemory:
    """At most `limit` bytes, and the rest of one answer more.

    Answers of unknown length may all hold some room and wait for more. The oldest then comes in beyond the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._incoming = 0
        self._unrecorded = 0
        self._numbers = itertools.count()
        self._receiving: dict[int, Incoming] = {}
        self._waiting: dict[int, tuple[int, asyncio.Future[None]]] = {}
        self._favoured = -1
        self._looking = False

    def show(self) -> None:
        INCOMING_BYTES.set_function(lambda: self._incoming)
        UNRECORDED_BYTES.set_function(lambda: self._unrecorded)

    @property
    def held(self) -> int:
        return self._incoming + self._unrecorded

    @property
    def full(self) -> bool:
        return self.held >= self._limit

    def incoming(self) -> Incoming:
        """Receive one answer in a `with`; what is made of it has to be counted again, as a result."""
        return Incoming(self, next(self._numbers))

    @contextlib.contextmanager
    def unrecorded(self, size: int) -> Iterator[None]:
        """Count a result until the database has it. It is here already, so it does not wait."""
        self._unrecorded += size
        try:
            yield
        finally:
            self._unrecorded -= size
            self._look_again()

    def take(self, answer: Incoming, more: int) -> asyncio.Future[None] | None:
        """Give room for `more` bytes at once and return None, or something to wait for."""
        self._receiving[answer.number] = answer
        if not self._waiting and self._fits(more):
            self._give(answer, more)
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting[answer.number] = more, turn
        self._look_again()
        return turn

    def leave(self, answer: Incoming) -> None:
        self._waiting.pop(answer.number, None)
        self._look_again()

    def end(self, answer: Incoming) -> None:
        """Take back the room of an answer that has come in, or will not."""
        if self._receiving.pop(answer.number, None) is not None:
            self._incoming -= answer.size
            self._look_again()

    def _fits(self, more: int) -> bool:
        return self.held == 0 or self.held + more <= self._limit

    def _give(self, answer: Incoming, more: int) -> None:
        self._incoming += more
        answer.size += more

    def _look_again(self) -> None:
        """Not at once: what has just come in is counted as a result before the loop's next turn."""
        if self._waiting and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        self._looking = False
        for number in sorted(self._waiting):
            if not self._fits(self._waiting[number][0]):
                break
            self._let_in(number)
        if self._favoured not in self._receiving:
            begun = [number for number in self._waiting if self._receiving[number].size]
            self._favoured = min(begun, default=-1)
        if self._favoured in self._waiting and self._unrecorded * _SMALL_SHARE <= self._limit:
            self._let_in(self._favoured)

    def _let_in(self, number: int) -> None:
        more, turn = self._waiting.pop(number)
        self._give(self._receiving[number], more)
        if not turn.done():
            turn.set_result(None)


class Incoming:
    """The room that one answer has while it comes in."""

    def __init__(self, memory: AnswerMemory, number: int) -> None:
        self.number = number
        self.size = 0
        self._memory = memory

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.end(self)

    async def up_to(self, size: int, deadline: asyncio.Timeout) -> None:
        """Wait for room for `size` bytes in all. The time is not the provider's: it is added to the deadline."""
        if size <= self.size:
            return
        turn = self._memory.take(self, size - self.size)
        if turn is not None:
            loop, until = asyncio.get_running_loop(), deadline.when()
            began = loop.time()
            deadline.reschedule(None)
            try:
                await turn
            finally:
                self._memory.leave(self)
                deadline.reschedule(None if until is None else until + loop.time() - began)
