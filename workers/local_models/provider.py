"""The `local` provider: which model answers a call, and the line in front of each model."""

import asyncio
import logging
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from shared.providers.local_models import why_unavailable
from workers.local_models.model_process import ModelProcess
from workers.local_models.requests.task import Task, abandoned
from workers.provider_interface import Answer, Call, ProviderError

log = logging.getLogger(__name__)

_MODULES = {
    "minilm": "minilm",
    "minilm-biencoder": "minilm",  # the same network: one copy in memory serves both
    "hibari-heart": "hibari",
    "whisper-tiny-en": "whisper",
    "rapidocr": "rapid_ocr",
    "smollm2-135m-demo": "smollm",
}
_CAPACITY = 1024  # calls per model; the worker's slots bound them before, and their bodies are in memory anyway
_MOST_THREADS = 4
CLOSE_SECONDS = 5.0
"""How long `close` waits for what runs; longer than a model is given to come to a stopping point."""
_LONGEST_RETRY_AFTER = 10.0  # it pauses the model of all workers, so it is short
_WEIGHT_OF_THE_LATEST = 0.2


class LocalProvider:
    """Answers with the models that ship inside packages. A model that nobody asks for costs nothing."""

    def __init__(self, *, threads: int | None = None, capacity: int = _CAPACITY) -> None:
        """`threads`: CPU threads per model; `capacity`: calls that may wait or run per model."""
        self._threads = threads or default_threads()
        self._capacity = capacity
        self._queues: dict[str, ModelQueue] = {}
        self._closed = False

    async def call(self, call: Call) -> Answer:
        reason = why_unavailable(call.request_type, call.model)
        if reason is not None:
            kind, code = "invalid_request_error", "model_not_found"
            raise ProviderError(reason, 404, "caller_model_not_available", type=kind, code=code)
        if self._closed:
            raise abandoned()
        return await self._model_queue(_MODULES[call.model]).run(call)

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(model_queue.close() for model_queue in self._queues.values()))

    def _model_queue(self, module: str) -> "ModelQueue":
        if module not in self._queues:
            name = next(model for model, its_module in _MODULES.items() if its_module == module)
            engine = ModelProcess(name, f"{__package__}.engines.{module}", self._threads)
            self._queues[module] = ModelQueue(name, engine, capacity=self._capacity)
        return self._queues[module]


def default_threads() -> int:
    """CPU threads for one model: what this process may use, less one for the event loop, at most four."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(usable - 1, 1), _MOST_THREADS)


class Engine(Protocol):
    """What answers the calls of a line: `answer` and `close` block its thread, `kill` makes them return soon."""

    def answer(self, task: Task) -> Answer: ...

    def close(self) -> None: ...

    def kill(self) -> None: ...


class ModelQueue:
    """Runs the calls of one model one at a time, in a thread of its own. `capacity`: calls that may wait or run."""

    def __init__(self, name: str, engine: Engine, *, capacity: int) -> None:
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
            message = f"local model {self.name} did not finish within {call.timeout:g} s"
            raise ProviderError(message, 504, "provider_timeout", type="request_timed_out", retryable=True) from None
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
        ended = asyncio.create_task(asyncio.to_thread(self._thread.shutdown), name="thread-shutdown")
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
                message = f"local model {self.name} has {len(self._tasks)} calls waiting, about {wait:.0f} s of work"
                after = float(math.ceil(min(max(wait, 1.0), _LONGEST_RETRY_AFTER)))
                raise ProviderError(message, 503, "provider_overloaded", retryable=True, retry_after=after)
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
