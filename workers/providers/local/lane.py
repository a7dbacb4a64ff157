"""The line in front of one model: one call at a time, no more waiting than can be done in time, each with its limit."""

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from workers.providers.base import Answer, Call, ProviderError
from workers.providers.local.task import Task, abandoned

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long `close` waits for what runs; longer than a model is given to come to a stopping point."""
_LONGEST_RETRY_AFTER = 10.0  # it pauses every local model of the fleet, so it is no more than a breath
_WEIGHT_OF_THE_LATEST = 0.2


class Engine(Protocol):
    """What answers the calls of a lane: blocking, from the lane's thread."""

    def answer(self, task: Task) -> Answer:
        """Answers one call. Raises ProviderError."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...

    def kill(self) -> None:
        """Makes `answer` and `close` return soon. Called from another thread."""
        ...


class Lane:
    """Runs the calls of one model, in a thread that does nothing but wait for the model."""

    def __init__(self, name: str, engine: Engine, *, capacity: int) -> None:
        """`capacity`: calls that may wait or run."""
        self.name = name
        self._engine = engine
        self._capacity = capacity
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"local-{name}")
        self._lock = threading.Lock()
        self._tasks: set[Task] = set()  # waiting or running; guarded by the lock
        self._closed = False
        self._seconds_per_call = 0.5  # a running mean, to tell how long the line is

    async def run(self, call: Call) -> Answer:
        """Answers the call in time. Raises ProviderError: 503 when the line is too long, 504 when the time is up."""
        task = Task(call)
        self._enter(task)
        future = self._thread.submit(self._work, task)
        future.add_done_callback(lambda _: self._leave(task))
        try:
            async with asyncio.timeout(call.timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._timed_out(call.timeout) from None
        finally:
            task.abandon()

    async def close(self) -> None:
        """Stops what runs, in a few seconds at most, and ends engine and thread. Safe to call twice."""
        with self._lock:
            first = not self._closed
            self._closed = True
            for task in self._tasks:
                task.abandon()
        if first:
            self._thread.submit(self._engine.close)
            self._thread.shutdown(wait=False)
        ended = asyncio.ensure_future(asyncio.to_thread(self._thread.shutdown))
        done, _ = await asyncio.wait([ended], timeout=CLOSE_SECONDS)
        if not done:
            log.warning("local model %s is still busy after %.0f s and is killed", self.name, CLOSE_SECONDS)
            self._engine.kill()
        await ended

    def _enter(self, task: Task) -> None:
        with self._lock:
            if self._closed:
                raise abandoned()
            wait = len(self._tasks) * self._seconds_per_call
            if len(self._tasks) >= self._capacity or wait > task.call.timeout / 2:
                raise self._busy(wait)
            self._tasks.add(task)

    def _leave(self, task: Task) -> None:
        with self._lock:
            self._tasks.discard(task)

    def _work(self, task: Task) -> Answer:
        task.stop_if_abandoned()
        started = time.monotonic()
        try:
            return self._engine.answer(task)
        finally:
            took = time.monotonic() - started
            self._seconds_per_call += _WEIGHT_OF_THE_LATEST * (took - self._seconds_per_call)

    def _busy(self, wait: float) -> ProviderError:
        return ProviderError(
            f"local model {self.name} has {len(self._tasks)} calls waiting, about {wait:.0f} s of work",
            status_code=503,
            error_type="provider_overloaded",
            retryable=True,
            retry_after=float(math.ceil(min(max(wait, 1.0), _LONGEST_RETRY_AFTER))),
        )

    def _timed_out(self, seconds: float) -> ProviderError:
        return ProviderError(
            f"local model {self.name} did not finish within {seconds:g} s",
            status_code=504,
            error_type="provider_timeout",
            type="request_timed_out",
            retryable=True,
        )
