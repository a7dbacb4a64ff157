"""Group commit: items gather while the previous batch is in flight, travel as one, and each gets its own outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from shared.errors import Overloaded

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class GroupCommit(Generic[Item, Outcome]):
    """Batches calls of `flush`, one in flight at a time: an item that comes alone leaves at once.

    `flush` gets at most `max_items` items of at most `max_bytes` together (one larger item travels alone) and returns
    one outcome per item, in order; an outcome that is an exception is raised to its caller. When `flush` itself raises,
    every caller of that batch gets the error. More than `max_waiting` items in line, or a batch in flight for longer
    than `max_stall` seconds, refuse new items with Overloaded; if that batch then fails, so is who waits in line, for
    nobody shall wait for two failures in turn. Batches start at least `spacing` seconds apart, for a
    flush that costs hardly more for many items than for one; one of `unspaced` items is worth its cost and leaves at
    once.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | BaseException]]],
        *,
        max_items: int,
        max_bytes: int = 1 << 62,
        max_waiting: int = 1 << 62,
        max_stall: float = float("inf"),
        spacing: float = 0.0,
        unspaced: int = 1 << 62,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._max_stall = max_stall
        self._spacing = spacing
        self._unspaced = min(unspaced, max_items)
        self._pause: asyncio.Future[None] | None = None
        self._on_batch = on_batch
        self._line: deque[tuple[Item, int, asyncio.Future[Outcome]]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._batch_started = 0.0
        self._next_at = 0.0

    async def submit(self, item: Item, size: int = 0) -> Outcome:
        """Send one item with the next batch and return its outcome.

        A cancelled caller leaves; the item stays in its batch, so that its fate is never half decided.
        """
        loop = asyncio.get_running_loop()
        if self._runner is None:
            self._batch_started = loop.time()
            self._runner = loop.create_task(self._run())
        elif len(self._line) >= self._max_waiting or loop.time() - self._batch_started > self._max_stall:
            raise _overloaded()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._line.append((item, size, future))
        if self._pause is not None and len(self._line) >= self._unspaced:
            _end(self._pause)
        return await future

    @property
    def waiting(self) -> int:
        """Items not yet part of a batch."""
        return len(self._line)

    async def drain(self) -> None:
        """Wait until nothing waits or is in flight."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            # One turn of the loop lets everything that is ready now join the first batch.
            await asyncio.sleep(0)
            while self._line:
                await self._space(loop)
                batch = self._take()
                self._batch_started = loop.time()
                self._next_at = self._batch_started + self._spacing
                self._on_batch(len(batch))
                await self._send(batch)
        finally:
            self._runner = None

    async def _space(self, loop: asyncio.AbstractEventLoop) -> None:
        early = self._next_at - loop.time()
        if early <= 0 or len(self._line) >= self._unspaced:
            return
        self._pause = loop.create_future()
        timer = loop.call_later(early, _end, self._pause)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None

    def _take(self) -> list[tuple[Item, int, asyncio.Future[Outcome]]]:
        batch = [self._line.popleft()]
        total = batch[0][1]
        while self._line and len(batch) < self._max_items and total + self._line[0][1] <= self._max_bytes:
            total += self._line[0][1]
            batch.append(self._line.popleft())
        return batch

    async def _send(self, batch: list[tuple[Item, int, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._flush([item for item, _, _ in batch])
        except Exception as error:
            _fail(batch, error)
            if asyncio.get_running_loop().time() - self._batch_started > self._max_stall:
                _fail(self._line, _overloaded())
                self._line.clear()
            return
        for (_, _, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _overloaded() -> Overloaded:
    return Overloaded("too much is waiting for the database: retry in a moment")


def _fail(line: Iterable[tuple[object, int, asyncio.Future[Outcome]]], reason: BaseException) -> None:
    for _, _, future in line:
        if not future.done():
            future.set_exception(reason)
