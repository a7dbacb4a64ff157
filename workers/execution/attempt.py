"""One attempt at one job: call its targets in order and say what happened. Raises nothing, writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache

from shared.domain.content import Content
from shared.domain.errors import StoreUnavailable
from shared.domain.job import AttemptRecord, ClaimedJob
from shared.domain.store_interface import WorkerStore
from shared.domain.target import Target
from shared.telemetry.metrics import JOB_FAILURES, PROVIDER_DURATION, PROVIDER_REQUESTS
from workers.error_classification import internal
from workers.execution.attempt_outcome import Deferred, Outcome, Retry, Succeeded, failed_with
from workers.execution.provider_pauses import Pauses
from workers.execution.retry import RetryPolicy, asks_to_pause, defer_seconds, retry_in
from workers.provider_interface import CALLS, Call, Calls, NoPlace, Provider, ProviderError
from workers.result_shapes import shape_result

log = logging.getLogger(__name__)

_requests, _provider_duration = cache(PROVIDER_REQUESTS.labels), cache(PROVIDER_DURATION.labels)

_Notes = list[AttemptRecord]
_Failure = tuple[Target, ProviderError]
_BODY_RETRY_SECONDS = 2.0
_PLACE_RETRY_SECONDS = 1.0
_COPIES = 2
"""Of a request while its call runs: as it came, and as it is sent."""


class Attempts:
    """One per worker process; holds no state of a job. `body_bytes`: of all large requests at a time."""

    def __init__(
        self,
        *,
        store: WorkerStore,
        providers: Mapping[str, Provider],
        pauses: Pauses,
        policy: RetryPolicy,
        call_seconds: float,
        result_bytes: int,
        body_bytes: int,
        worker: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._providers = providers
        self._pauses = pauses
        self._policy = policy
        self._call_seconds = call_seconds
        self._result_bytes = result_bytes
        self._bodies = ByteSemaphore(body_bytes)
        self._worker = worker
        self._draw = draw

    async def execute(self, job: ClaimedJob) -> Outcome:
        deadline = asyncio.timeout(max(0.0, job.deadline_in))
        notes: _Notes = []
        try:
            async with deadline:
                return await self._attempt(job, notes)
        except TimeoutError:
            # A TimeoutError may also come from a library: only the timeout object knows whether it was ours.
            if deadline.expired():
                message = "the job's deadline passed while it ran"
                return failed_with(job, ProviderError(message, 504, "provider_timeout"), notes)
            log.exception("job %s: a time-out nobody expected", job.id)
        except Exception:
            log.exception("job %s: an error nobody expected", job.id)
        return failed_with(job, internal("an internal error stopped the attempt"), notes)

    async def _attempt(self, job: ClaimedJob, notes: _Notes) -> Outcome:
        if isinstance(job.content, Content):
            return await self._through_targets(job, job.content, notes)
        async with self._bodies.held(_COPIES * job.content.size):
            try:
                async with CALLS.get(Calls()).reading():
                    data = await self._store.load(job.content)
            except LookupError:
                return failed_with(job, internal("the request's body is gone from the database"), notes)
            except StoreUnavailable:
                return Deferred(_BODY_RETRY_SECONDS, ())
            return await self._through_targets(job, Content(job.content_kind, data, job.content_type), notes)

    async def _through_targets(self, job: ClaimedJob, content: Content, notes: _Notes) -> Outcome:
        """Until one answers or asks for time. A paused target is passed over without spending anything."""
        waits: list[float] = []
        failed: _Failure | None = None
        for index in range(job.target, len(job.targets)):
            target = job.targets[index]
            if wait := self._pauses.left(target):
                waits.append(wait)
                continue
            try:
                return await self._call(job, target, content, notes)
            except NoPlace:
                waits.append(_PLACE_RETRY_SECONDS)
            except ProviderError as error:
                if asks_to_pause(error):
                    await self._pauses.pause(target, error)
                    waits.append(self._pauses.left(target))
                    continue
                JOB_FAILURES.labels(job.modality).inc()
                failures = 1 + (job.failures if index == job.target else 0)
                delay = retry_in(error, failures, self._policy, self._draw())
                if delay is not None:
                    return Retry(delay, failures, index, tuple(notes))
                # The traceback refers to this frame: an answer of 64 MB would stay until the next garbage collection.
                failed = (target, error.with_traceback(None))
        return self._all_tried(job, waits, failed, notes)

    def _all_tried(self, job: ClaimedJob, waits: list[float], failed: _Failure | None, notes: _Notes) -> Outcome:
        """No target is left for now. Where one is paused the job waits, spread out so that not all come at once."""
        due_in = defer_seconds(min(waits), self._draw()) if waits else 0.0
        if failed is None:
            return Deferred(due_in, tuple(notes))
        if waits and job.failures + 1 < self._policy.max_failures:
            # A fallback failed for good while another target is paused: spending a failure bounds its calls.
            return Retry(due_in, job.failures + 1, job.target, tuple(notes))
        target, error = failed
        return failed_with(job, error, notes, target)

    async def _call(self, job: ClaimedJob, target: Target, content: Content, notes: _Notes) -> Succeeded:
        provider = self._providers.get(target.provider)
        if provider is None:
            message = f"provider '{target.provider}' is not configured on this worker"
            raise ProviderError(message, 500, "caller_model_not_available")
        call = self._request(job, target, content, len(notes))
        await CALLS.get(Calls()).begin()
        began, outcome, upstream_request_id = time.monotonic(), "cancelled", ""
        try:
            answer = await provider.call(call)
            upstream_request_id = answer.upstream_request_id
            asked, took = job.targets[0].model, _milliseconds(began)
            result = shape_result(job.request_type, answer, target, model_requested=asked, latency_ms=took)
            size, most = len(result), self._result_bytes
            if size > most:
                message = f"the result has {size} bytes, more than the {most} that are kept (setting max_result_bytes)"
                raise ProviderError(message, 502, "provider_server_error")
            outcome = "200"
        except NoPlace:
            outcome = ""  # no call began
            raise
        except ProviderError as error:
            outcome = str(error.status_code)
            raise
        finally:
            if outcome:
                took = _milliseconds(began)
                notes.append(AttemptRecord(self._worker, target.provider, outcome, took, upstream_request_id))
                _requests(target.provider, f"{outcome[0]}xx" if outcome.isdigit() else outcome).inc()
                _provider_duration(target.provider).observe(time.monotonic() - began)
        self._pauses.succeeded(target)
        return Succeeded(result, tuple(notes))

    def _request(self, job: ClaimedJob, target: Target, content: Content, number: int) -> Call:
        return Call(
            request_type=job.request_type,
            model=target.model,
            content=content,
            forward=dict(job.forward),
            extra_params=job.extra_params,
            timeout=self._call_seconds,
            call_id=f"{job.id}/{job.claims}/{number}",
            params=target.params,
        )


def _milliseconds(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


class ByteSemaphore:
    """At most `limit` bytes at a time, first come, first served. One body larger than the limit is held alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._line: deque[tuple[int, asyncio.Event]] = deque()

    @property
    def bytes_held(self) -> int:
        return self._held

    @contextlib.asynccontextmanager
    async def held(self, size: int) -> AsyncIterator[None]:
        turn = asyncio.Event()
        self._line.append((size, turn))
        self._admit()
        try:
            await turn.wait()
            yield
        finally:
            if turn.is_set():
                self._held -= size
            else:
                self._line.remove((size, turn))
            self._admit()

    def _admit(self) -> None:
        while self._line and (self._held == 0 or self._held + self._line[0][0] <= self._limit):
            size, turn = self._line.popleft()
            self._held += size
            turn.set()
