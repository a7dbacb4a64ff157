"""What one attempt came to, as values; the record that each becomes, and what metrics and log say of a job's end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from functools import cache

import msgspec

from shared.domain.errors import StoreUnavailable
from shared.domain.job import AttemptRecord, ClaimedJob, Finish, PayloadRef, Record, Release, Status
from shared.domain.store_interface import WorkerStore
from shared.domain.target import Target
from shared.telemetry.metrics import JOB_DURATION, JOBS_FINISHED
from workers.error_classification import internal
from workers.provider_interface import ProviderError
from workers.result_shapes import shape_error

job_log = logging.getLogger("coatcheck.jobs")

_finished, _duration = cache(JOBS_FINISHED.labels), cache(JOB_DURATION.labels)

Notes = tuple[AttemptRecord, ...]


class Succeeded(msgspec.Struct, frozen=True):
    """The provider answered; `result` is what the client will read."""

    result: bytes
    notes: Notes


class Failed(msgspec.Struct, frozen=True):
    """No further attempt will help or is allowed; `error` is what the client will read."""

    status_code: int
    error: bytes
    notes: Notes


class Retry(msgspec.Struct, frozen=True):
    """The target failed and may succeed later: a failure is spent."""

    due_in: float
    failures: int
    target: int
    notes: Notes


class Deferred(msgspec.Struct, frozen=True):
    """Every target is paused: come back when one is not. Spends nothing."""

    due_in: float
    notes: Notes


class Released(msgspec.Struct, frozen=True):
    """This worker stops: somebody else shall run the job at once. Spends a release when a call had begun."""

    called: bool
    notes: Notes = ()


def failed_with(
    job: ClaimedJob, error: ProviderError, notes: Sequence[AttemptRecord] = (), target: Target | None = None
) -> Failed:
    """The end of a job by an error of one of its targets, the current one unless told otherwise."""
    target = target or job.targets[job.target]
    body = shape_error(job.request_type, error, target, model_requested=job.targets[0].model)
    return Failed(error.status_code, body, tuple(notes))


def worn_out(job: ClaimedJob) -> Failed:
    """The end of a job that was given back once too often."""
    times = job.releases + 1
    error = internal(f"the job was given back {times} times by workers that had to stop before it was done")
    return failed_with(job, error)


Outcome = Succeeded | Failed | Retry | Deferred | Released


def to_record(job: ClaimedJob, outcome: Outcome) -> Record:
    match outcome:
        case Succeeded(result, notes):
            request = job.content if isinstance(job.content, PayloadRef) else None
            return Finish(job.id, job.lease, Status.COMPLETED, 200, result, job.result_ttl, notes, request)
        case Failed(status_code, error, notes):
            return Finish(job.id, job.lease, Status.FAILED, status_code, error, job.result_ttl, notes)
        case Retry(due_in, failures, target, notes):
            return Release(job.id, job.lease, due_in, failures, target, notes=notes)
        case Deferred(due_in, notes):
            return Release(job.id, job.lease, due_in, job.failures, job.target, notes=notes)
        case Released(called, notes):
            return Release(job.id, job.lease, 0.0, job.failures, job.target, given_back=called, notes=notes)


def count_ended(store: WorkerStore, job: ClaimedJob, record: Finish, outcome: Outcome) -> None:
    name = "completed" if isinstance(outcome, Succeeded) else "failed"
    _finished(job.modality, name).inc()
    with contextlib.suppress(StoreUnavailable):
        seconds = max(0.0, (store.now() - job.created_at).total_seconds())
        _duration(job.modality).observe(seconds)
    if not job_log.isEnabledFor(logging.INFO):
        return
    job_log.info(
        "job %s",
        name,
        extra={
            "job": str(job.id),
            "request_id": job.request_id,
            "request_type": job.request_type,
            "status_code": record.status_code,
            "claims": job.claims,
            "provider": record.notes[-1].provider if record.notes else "",
            "provider_ms": record.notes[-1].milliseconds if record.notes else 0,
        },
    )
