"""What can go wrong with the server or a job. Wrong arguments are `ValueError` and `TypeError`, as usual in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coatcheck_client.job import Job


class CoatcheckError(Exception):
    """Base of every error that this client raises about the server or a job."""


class ApiError(CoatcheckError):
    """The server answered with an error, or with no job. `status` is the HTTP status, `request_id` the server's
    `x-request-id` or empty, `body` the answer if it was JSON, `retry_after` the seconds it asked to wait, if it did."""

    def __init__(
        self, status: int, message: str, request_id: str = "", body: Any = None, retry_after: float | None = None
    ) -> None:
        super().__init__(status, message, request_id, body, retry_after)
        self.status = status
        self.message = message
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")


class Unreachable(CoatcheckError):
    """No answer came from the server: refused, reset, unresolved or timed out, each time it was tried."""


class _OfJob(CoatcheckError):
    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job


class JobFailed(_OfJob):
    """The job ended as failed. `job.error` is the server's error object, `job.status_code` its status."""

    def __str__(self) -> str:
        return f"job {self.job.ticket} failed with {self.job.status_code}: {self.job.error_message}"


class WaitTimeout(_OfJob, TimeoutError):
    """The job had not ended when the time to wait was over. It goes on; `job` is how it was last seen."""

    def __str__(self) -> str:
        return f"job {self.job.ticket} is still {self.job.status}"
