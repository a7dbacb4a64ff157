"""Why an overdue job ends and what its client reads. Pure."""

from __future__ import annotations

from shared.job import Ending, OverdueJob
from workers.providers.base import ProviderError
from workers.providers.shape import shape_error


def explain(job: OverdueJob) -> Ending:
    """Past the deadline: 504; otherwise its workers kept dying: 500."""
    if job.past_deadline:
        message = "the job's deadline passed " + ("before it succeeded" if job.started else "before a worker took it")
        return _ending(job, "deadline", message, 504, "provider_timeout")
    message = f"the job was given up after {job.crashes} leases ran out: each time its worker died or hung"
    return _ending(job, "crashes", message, 500, "bifrost_internal")


def _ending(job: OverdueJob, reason: str, message: str, status_code: int, error_type: str) -> Ending:
    error = ProviderError(message, status_code=status_code, error_type=error_type)
    body = shape_error(
        error,
        request_type=job.request_type,
        provider=job.target.provider,
        model_requested=job.target.model,
        resolved_model=job.target.model,
    )
    return Ending(reason, status_code, body)
