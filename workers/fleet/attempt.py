"""One attempt at one job: call its targets in order and say what happened. Raises nothing, writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from shared.content import Content
from shared.errors import StoreUnavailable
from shared.job import AttemptNote, ClaimedJob
from shared.metrics import JOB_FAILURES, PROVIDER_DURATION, PROVIDER_REPEATED, PROVIDER_REQUESTS
from shared.providers import Target
from shared.store import FleetStore
from workers.fleet.outcome import Outcome, Retry, Snooze, Succeeded, died
from workers.fleet.pauses import Pauses, channel_of
from workers.fleet.retry import RetryPolicy, asks_to_pause, retry_in, snooze_seconds
from workers.fleet.weight import Weight
from workers.providers.base import Call, Provider, ProviderError
from workers.providers.shape import shape_result

log = logging.getLogger(__name__)

_requests, _provider_duration = cache(PROVIDER_REQUESTS.labels), cache(PROVIDER_DURATION.labels)

_BODY_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may take, in seconds; what a result may weigh, and all large bodies held at a time, in bytes."""

    call_seconds: float
    result_bytes: int
    body_bytes: int


class Attempts:
    """Runs attempts. One per worker process; holds no state of a job."""

    def __init__(
        self,
        *,
        store: FleetStore,
        providers: Mapping[str, Provider],
        pauses: Pauses,
        policy: RetryPolicy,
        bounds: Bounds,
        worker: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._providers = providers
        self._pauses = pauses
        self._policy = policy
        self._bounds = bounds
        self._weight = Weight(bounds.body_bytes)
        self._worker = worker
        self._draw = draw

    async def execute(self, job: ClaimedJob) -> Outcome:
        """Run one attempt within the job's deadline."""
        deadline = asyncio.timeout(max(0.0, job.deadline_in))
        notes: list[AttemptNote] = []
        try:
            async with deadline:
                return await self._attempt(job, notes)
        except TimeoutError:
            # Ours or a stray one from below? Ask the timeout, not the type.
            if deadline.expired():
                return died(job, job.targets[job.target], _past_deadline(), notes)
            log.exception("job %s: a time-out nobody expected", job.id)
        except Exception:
            log.exception("job %s: an error nobody expected", job.id)
        error = ProviderError("an internal error stopped the attempt", status_code=500, error_type="bifrost_internal")
        return died(job, job.targets[job.target], error, notes)

    async def _attempt(self, job: ClaimedJob, notes: list[AttemptNote]) -> Outcome:
        if isinstance(job.content, Content):
            return await self._through_targets(job, job.content, notes)
        async with self._weight.hold(job.content.size):
            try:
                data = await self._store.load(job.content)
            except LookupError:
                gone = ProviderError(
                    "the request's body is gone from the database", status_code=500, error_type="bifrost_internal"
                )
                return died(job, job.targets[job.target], gone, notes)
            except StoreUnavailable:
                return Snooze(_BODY_RETRY_SECONDS, ())
            return await self._through_targets(job, Content(job.content_kind, data, job.content_type), notes)

    async def _through_targets(self, job: ClaimedJob, content: Content, notes: list[AttemptNote]) -> Outcome:
        """Call the current target and then the fallbacks, until one answers or asks for time.

        A paused target is passed over without spending anything.
        """
        waits: list[float] = []
        failed: tuple[Target, ProviderError] | None = None
        for index in range(job.target, len(job.targets)):
            target = job.targets[index]
            channel = channel_of(target)
            if wait := self._pauses.left(channel):
                waits.append(wait)
                continue
            try:
                return await self._call(job, target, content, notes)
            except ProviderError as error:
                if asks_to_pause(error):
                    await self._pauses.pause(channel, error)
                    waits.append(self._pauses.left(channel))
                    continue
                JOB_FAILURES.labels(job.modality).inc()
                failures = 1 + (job.failures if index == job.target else 0)
                delay = retry_in(error, failures, self._policy, self._draw())
                if delay is not None:
                    return Retry(delay, failures, index, tuple(notes))
                # Its traceback holds this frame, and an answer of 64 MB with it: until the next collection of garbage.
                failed = (target, error.with_traceback(None))
        return self._all_tried(job, waits, failed, notes)

    def _all_tried(
        self,
        job: ClaimedJob,
        waits: list[float],
        failed: tuple[Target, ProviderError] | None,
        notes: list[AttemptNote],
    ) -> Outcome:
        """No target is left for now. Where one is paused the job waits, spread out so that not all come at once."""
        due_in = snooze_seconds(min(waits), self._draw()) if waits else 0.0
        if failed is None:
            return Snooze(due_in, tuple(notes))
        if waits and job.failures + 1 < self._policy.max_failures:
            # A fallback failed for good while another target is paused: spending a failure bounds its calls.
            return Retry(due_in, job.failures + 1, job.target, tuple(notes))
        target, error = failed
        return died(job, target, error, notes)

    async def _call(self, job: ClaimedJob, target: Target, content: Content, notes: list[AttemptNote]) -> Succeeded:
        """Make one call, measured and noted. Raises ProviderError."""
        provider = self._provider(target)
        if job.taken_over and not notes:
            PROVIDER_REPEATED.labels(target.provider).inc()
        call = Call(
            request_type=job.request_type,
            model=target.model,
            content=content,
            forward=dict(job.forward),
            extra_params=job.extra_params,
            timeout=self._bounds.call_seconds,
            call_id=f"{job.id}/{job.claims}/{len(notes)}",
            params=target.params,
        )
        with self._noted(target, notes) as watch:
            answer = await provider.call(call)
            watch.upstream_request_id = answer.upstream_request_id
            result = shape_result(
                job.request_type,
                answer,
                provider=target.provider,
                model_requested=job.targets[0].model,
                resolved_model=target.model,
                latency_ms=watch.milliseconds,
            )
            self._check_size(result)
        self._pauses.succeeded(channel_of(target))
        return Succeeded(result, tuple(notes))

    def _provider(self, target: Target) -> Provider:
        provider = self._providers.get(target.provider)
        if provider is None:
            raise ProviderError(
                f"provider '{target.provider}' is not configured on this worker",
                status_code=500,
                error_type="caller_model_not_available",
            )
        return provider

    @contextlib.contextmanager
    def _noted(self, target: Target, notes: list[AttemptNote]) -> Iterator[_Watch]:
        """Time a call and write down how it ended, in the job's history and in the metrics."""
        watch = _Watch()
        outcome = "cancelled"
        try:
            yield watch
            outcome = "200"
        except ProviderError as error:
            outcome = str(error.status_code)
            raise
        finally:
            notes.append(
                AttemptNote(self._worker, target.provider, outcome, watch.milliseconds, watch.upstream_request_id)
            )
            _requests(target.provider, _code_class(outcome)).inc()
            _provider_duration(target.provider).observe(watch.seconds)

    def _check_size(self, result: bytes) -> None:
        if len(result) > self._bounds.result_bytes:
            raise ProviderError(
                f"the result has {len(result)} bytes, more than the {self._bounds.result_bytes} that are kept "
                "(setting max_result_bytes)",
                status_code=502,
                error_type="provider_server_error",
            )


class _Watch:
    """The time since a call began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.upstream_request_id = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def milliseconds(self) -> int:
        return round(self.seconds * 1000)


def _past_deadline() -> ProviderError:
    return ProviderError("the job's deadline passed while it ran", status_code=504, error_type="provider_timeout")


def _code_class(outcome: str) -> str:
    return f"{outcome[0]}xx" if outcome.isdigit() else outcome
