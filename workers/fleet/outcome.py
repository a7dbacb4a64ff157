"""What one attempt came to, as values; and the record that each becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.job import AttemptNote, ClaimedJob, Finish, Record, Release, Status
from shared.providers import Target
from workers.providers.base import ProviderError
from workers.providers.shape import shape_error

Notes = tuple[AttemptNote, ...]


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The provider answered; `result` is what the client will read."""

    result: bytes
    notes: Notes


@dataclass(frozen=True, slots=True)
class Dead:
    """No further attempt will help or is allowed; `error` is what the client will read."""

    status_code: int
    error: bytes
    notes: Notes


@dataclass(frozen=True, slots=True)
class Retry:
    """The target failed and may succeed later: a failure is spent."""

    due_in: float
    failures: int
    target: int
    notes: Notes


@dataclass(frozen=True, slots=True)
class Snooze:
    """Every target is paused: come back when one is not. Spends nothing."""

    due_in: float
    notes: Notes


@dataclass(frozen=True, slots=True)
class GiveBack:
    """This worker stops: somebody else shall run the job at once. Spends a release."""

    notes: Notes = ()


def died(job: ClaimedJob, target: Target, error: ProviderError, notes: Sequence[AttemptNote] = ()) -> Dead:
    """The end of a job by an error of one of its targets."""
    body = shape_error(
        error,
        request_type=job.request_type,
        provider=target.provider,
        model_requested=job.targets[0].model,
        resolved_model=target.model,
    )
    return Dead(error.status_code, body, tuple(notes))


Outcome = Succeeded | Dead | Retry | Snooze | GiveBack


def to_record(job: ClaimedJob, outcome: Outcome) -> Record:
    """Say what to write about a held job."""
    match outcome:
        case Succeeded(result, notes):
            return Finish(job.id, job.lease, Status.COMPLETED, 200, result, job.result_ttl, notes)
        case Dead(status_code, error, notes):
            return Finish(job.id, job.lease, Status.FAILED, status_code, error, job.result_ttl, notes)
        case Retry(due_in, failures, target, notes):
            return Release(job.id, job.lease, due_in, failures, target, notes=notes)
        case Snooze(due_in, notes):
            return Release(job.id, job.lease, due_in, job.failures, job.target, notes=notes)
        case GiveBack(notes):
            return Release(job.id, job.lease, 0.0, job.failures, job.target, given_back=True, notes=notes)
