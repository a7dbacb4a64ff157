"""A job as the server last described it, and how it is read out of an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeGuard, assert_never, get_args

from coatcheck_client.endpoints import Endpoint, endpoint_of

Status = Literal["pending", "processing", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `result` is set when it completed, `error` when it failed; times carry a time zone. `envelope` is the
    server's answer as it came, `retry_after` the seconds that it asked a poller to wait, `requeued_as` the id of the
    job that an operator made of a failed one."""

    id: str
    endpoint: Endpoint
    status: Status
    created_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    status_code: int | None = None
    request_id: str = ""
    result: Any = field(default=None, repr=False)
    error: dict[str, Any] | None = field(default=None, repr=False)
    retry_after: float | None = field(default=None, repr=False)
    envelope: dict[str, Any] = field(default_factory=dict, repr=False)
    requeued_as: str = ""

    @property
    def ended(self) -> bool:
        return self.succeeded is not None

    @property
    def succeeded(self) -> bool | None:
        """Whether the job that ended has a result; None if it has not ended."""
        match self.status:
            case "completed":
                return True
            case "failed":
                return False
            case "pending" | "processing":
                return None
            case unknown:
                assert_never(unknown)

    @property
    def ticket(self) -> str:
        """`embeddings/<id>`: all that `get` needs, since an id alone does not say where to ask."""
        return f"{self.endpoint.name}/{self.id}"

    @property
    def error_message(self) -> str:
        return error_message(self.error)


def error_message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else ""


def from_ticket(ticket: str) -> Job:
    """A job known only by its ticket, taken as pending. The path and the URL of a job are tickets too."""
    path = ticket[ticket.index("/v1/async/") :] if "/v1/async/" in ticket else ticket
    name, slash, job_id = path.rpartition("/")
    if not slash or not job_id:
        raise ValueError(f"{ticket!r} is not a ticket: expected <request type>/<job id>, like embeddings/0190...")
    return Job(job_id, endpoint_of(name), "pending")


def from_envelope(endpoint: Endpoint, envelope: Any, retry_after: float | None = None) -> Job:
    """Read the server's JSON; `ValueError` says what is wrong with it."""
    if not isinstance(envelope, dict):
        raise ValueError("the answer is not a JSON object")
    job_id, status = envelope.get("id"), envelope.get("status")
    if not isinstance(job_id, str) or not job_id:
        raise ValueError("the answer has no job id")
    if not _is_status(status):
        raise ValueError(f"the answer has the unknown status {status!r}")
    again = envelope.get("requeued_as")
    return Job(
        job_id, endpoint, status, _time(envelope, "created_at"), _time(envelope, "completed_at"),
        _time(envelope, "expires_at"), envelope.get("status_code"), envelope.get("request_id") or "",
        result=envelope.get("result"), error=envelope.get("error"), retry_after=retry_after, envelope=envelope,
        requeued_as=again if isinstance(again, str) and status == "failed" else "",
    )  # fmt: skip


def follow_up(job: Job) -> Job | None:
    """The job that an operator made of a failed one, as it is known before the first look at it; None without one."""
    return Job(job.requeued_as, job.endpoint, "pending") if job.requeued_as not in ("", job.id) else None


def _is_status(value: object) -> TypeGuard[Status]:
    return value in get_args(Status)


def _time(envelope: dict[str, Any], name: str) -> datetime | None:
    text = envelope.get(name)
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"the answer's {name} is not a time: {text!r}") from None
