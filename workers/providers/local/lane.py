"""One model in a thread of its own: loaded at first use, one call at a time, a bounded line in front of it."""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from workers.providers.base import Answer, Call, ProviderError
from workers.providers.local.task import Model, Task, abandoned

log = logging.getLogger(__name__)

CLOSE_SECONDS = 30.0
"""How long `close` waits for a model in native code; longer than the longest stretch between two questions to Task."""
_RETRY_AFTER_SECONDS = (1.0, 60.0)
_WEIGHT_OF_THE_LATEST = 0.2


class Lane:
    """Runs the calls of one model. Native code releases the interpreter lock, so the event loop stays responsive."""

    def __init__(self, name: str, load: Callable[[], Model], *, capacity: int) -> None:
        self.name = name
        self._load = load
        self._capacity = capacity
        self._model: Model | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"local-{name}")
        self._lock = threading.Lock()
        self._tasks: set[Task] = set()  # waiting or running; guarded by the lock
        self._closed = False
        self._seconds_per_call = 0.5  # a running mean, for Retry-After only

    async def run(self, call: Call) -> Answer:
        """Answers the call in time. Raises ProviderError: 503 when the line is full, 504 when the time is up."""
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
        """Stops what runs at its next stopping point, unloads the model and ends the thread. Safe to call twice."""
        with self._lock:
            first = not self._closed
            self._closed = True
            for task in self._tasks:
                task.abandon()
        if first:
            self._thread.submit(self._unload)
            self._thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.to_thread(self._thread.shutdown)
        except TimeoutError:
            log.warning("local model %s is still busy after %.0f s, leaving it behind", self.name, CLOSE_SECONDS)

    def _enter(self, task: Task) -> None:
        with self._lock:
            if self._closed:
                raise abandoned()
            if len(self._tasks) >= self._capacity:
                raise self._busy()
            self._tasks.add(task)

    def _leave(self, task: Task) -> None:
        with self._lock:
            self._tasks.discard(task)

    def _work(self, task: Task) -> Answer:
        task.stop_if_abandoned()
        model = self._loaded()
        started = time.monotonic()
        try:
            return model.answer(task)
        except ProviderError:
            raise
        except Exception as error:
            raise self._failed(error) from None
        finally:
            took = time.monotonic() - started
            self._seconds_per_call += _WEIGHT_OF_THE_LATEST * (took - self._seconds_per_call)

    def _loaded(self) -> Model:
        if self._model is None:
            started = time.monotonic()
            try:
                self._model = self._load()
            except Exception as error:
                raise self._not_loaded(error) from None
            log.info("local model %s loaded in %.2f s", self.name, time.monotonic() - started)
        return self._model

    def _unload(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None

    def _busy(self) -> ProviderError:
        shortest, longest = _RETRY_AFTER_SECONDS
        wait = min(max(len(self._tasks) * self._seconds_per_call, shortest), longest)
        return ProviderError(
            f"local model {self.name} has {len(self._tasks)} calls waiting, as many as it takes",
            status_code=503,
            error_type="provider_overloaded",
            retryable=True,
            retry_after=float(math.ceil(wait)),
        )

    def _timed_out(self, seconds: float) -> ProviderError:
        return ProviderError(
            f"local model {self.name} did not finish within {seconds:g} s",
            status_code=504,
            error_type="provider_timeout",
            retryable=True,
        )

    def _failed(self, error: Exception) -> ProviderError:
        self._log_failure("failed", error)
        return ProviderError(
            f"local model {self.name} failed: {type(error).__name__}",
            status_code=500,
            error_type="provider_server_error",
            retryable=False,
        )

    def _not_loaded(self, error: Exception) -> ProviderError:
        self._log_failure("could not be loaded", error)
        return ProviderError(
            f"local model {self.name} could not be loaded: {type(error).__name__}",
            status_code=503,
            error_type="provider_server_error",
            retryable=True,
        )

    def _log_failure(self, what: str, error: Exception) -> None:
        """Logs where it happened but not the error's text, which may quote the client's request."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("local model %s %s: %s\n%s", self.name, what, type(error).__name__, frames)
