"""Group commit: items gather while the previous batch is in flight, travel as one, and each gets its own outcome."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from shared.domain.errors import Overloaded

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
_OVERLOADED = "too much is waiting for the database: retry in a moment"
_Entry = tuple[Item, int, asyncio.Future[Outcome]]


class GroupCommit(Generic[Item, Outcome]):
    """Batches calls of `flush`, one in flight at a time: an item that comes alone leaves at once.

    `flush` gets at most `max_items` items of at most `max_bytes` together (one larger item travels alone) and returns
    one outcome per item, in order; an exception, returned or raised, goes to whom it concerns. More than `max_waiting`
    items in line, or a batch in flight for longer than `max_stall` seconds, refuse new items with Overloaded; if that
    batch then fails, so is who waits in line: nobody shall wait for two failures in turn. Batches start at least
    `spacing` seconds apart, for a flush that costs hardly more for many items; one of `unspaced` items leaves at once.
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
        self._line: deque[_Entry[Item, Outcome]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._batch_started = 0.0
        self._next_at = 0.0

    async def submit(self, item: Item, size: int = 0) -> Outcome:
        """A cancelled caller leaves; its item stays in the batch, so that its fate is never half decided."""
        loop = asyncio.get_running_loop()
        if self._runner is None:
            self._batch_started = loop.time()
            self._runner = loop.create_task(self._run(), name="batches")
        elif len(self._line) >= self._max_waiting or loop.time() - self._batch_started > self._max_stall:
            raise Overloaded(_OVERLOADED)
        future: asyncio.Future[Outcome] = loop.create_future()
        self._line.append((item, size, future))
        if self._pause is not None and len(self._line) >= self._unspaced:
            _end(self._pause)
        return await future

    @property
    def waiting(self) -> int:
        return len(self._line)

    async def drain(self) -> None:
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
                await self._send(batch)
        finally:
            self._runner = None
            # Not empty only when this task was ended from outside: the waiting items then fail here.
            _fail(self._line, RuntimeError("the batches broke off"))
            self._line.clear()

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

    def _take(self) -> list[_Entry[Item, Outcome]]:
        batch = [self._line.popleft()]
        total = batch[0][1]
        while self._line and len(batch) < self._max_items and total + self._line[0][1] <= self._max_bytes:
            total += self._line[0][1]
            batch.append(self._line.popleft())
        return batch

    async def _send(self, batch: list[_Entry[Item, Outcome]]) -> None:
        try:
            self._on_batch(len(batch))
            outcomes = await self._flush([item for item, _, _ in batch])
            for entry, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    _fail([entry], outcome)
                elif not entry[2].done():
                    entry[2].set_result(outcome)
        except Exception as error:
            _fail(batch, error)
            if asyncio.get_running_loop().time() - self._batch_started > self._max_stall:
                _fail(self._line, Overloaded(_OVERLOADED))
                self._line.clear()
        finally:
            _fail(batch, RuntimeError("the batch broke off"))  # no caller waits here unless this task was cancelled


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _fail(line: Iterable[_Entry[Item, Outcome]], reason: BaseException) -> None:
    for _, _, future in line:
        if not future.done():
            future.set_exception(reason)
