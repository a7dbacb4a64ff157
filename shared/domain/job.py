"""What a job is: its states, what the edge writes, what a worker holds, what a poller sees, what can be recorded."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from shared.domain.content import Content
from shared.domain.target import Target

DOCUMENT_VERSION = 1
"""Version of the stored document. Workers claim only what they understand."""


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self.succeeded is not None

    @property
    def succeeded(self) -> bool | None:
        """How the job ended; None if it has not. A state more has to be answered here before anything type-checks."""
        match self:
            case Status.COMPLETED:
                return True
            case Status.FAILED:
                return False
            case Status.PENDING | Status.PROCESSING:
                return None
            case unknown:
                assert_never(unknown)


LIVE = [status.value for status in Status if not status.terminal]
ENDED = [status.value for status in Status if status.terminal]


@dataclass(frozen=True, slots=True)
class PayloadRef:
    """Bytes kept outside the document, in `chunks` numbered chunks."""

    payload_id: UUID
    size: int
    chunks: int


class NewJob(msgspec.Struct, frozen=True):
    """A validated request on its way into the store. `targets` is the model and then its fallbacks, in order."""

    id: UUID
    request_type: str
    modality: str
    targets: tuple[Target, ...]
    content: Content
    forward: tuple[tuple[str, str], ...]
    extra_params: bool
    request_id: str
    key_id: str | None
    fingerprint: bytes | None
    created_at: datetime
    deadline_at: datetime
    result_ttl: int
    """Seconds the result is kept after the end."""


class JobView(msgspec.Struct, frozen=True):
    """A stored job as the edge reads it. `body` is the result or error, as the bytes to send, or where they are."""

    id: UUID
    request_type: str
    status: Status
    created_at: datetime
    request_id: str = ""
    key_id: str | None = None
    fingerprint: bytes | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    status_code: int = 0
    body: bytes | PayloadRef | None = None
    expired: bool = False
    """Its time is up by the database's clock; it may be there still until it is deleted."""
    problem: str = ""
    """Why the stored job cannot be read; nothing else in the view counts then."""
    requeued_as: UUID | None = None
    """The job that was submitted in the place of this one, which failed."""


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this process holds by `lease`. Budgets are as stored by the claim."""

    id: UUID
    request_type: str
    modality: str
    targets: tuple[Target, ...]
    content: Content | PayloadRef
    content_kind: Literal["json", "multipart"]
    content_type: str
    forward: tuple[tuple[str, str], ...]
    extra_params: bool
    request_id: str
    lease: UUID
    taken_over: bool
    """The lease before this one ran out."""
    repeats: bool
    """A call may have been under way then: it will be made again."""
    crashed_before: bool
    """A lease of it ran out some time: from then on what its worker does is written down before it does it."""
    claims: int
    failures: int
    """Of the target at index `target`."""
    target: int
    crashes: int
    releases: int
    created_at: datetime
    deadline_in: float
    """Seconds left at the claim, by the database's clock."""
    waited: float
    """Seconds from due to claimed."""
    result_ttl: int


@dataclass(frozen=True, slots=True)
class ClaimCandidate:
    """A job that the sweep found waiting. `suspect`: one more crash or two and it is failed, so it runs apart."""

    id: UUID
    suspect: bool


@dataclass(frozen=True, slots=True)
class ExpiredJob:
    """A job that nobody holds and that must end: past its deadline, or else out of crashes."""

    id: UUID
    request_type: str
    target: Target
    past_deadline: bool
    started: bool
    crashes: int


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """How an overdue job ends; `reason` is a metric label, `error` the body as sent to clients."""

    reason: str
    status_code: int
    error: bytes


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    worker: str
    provider: str
    outcome: str
    milliseconds: int
    upstream_request_id: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """End a held job: `body` is the result of a completed or the error of a failed one, as sent to clients."""

    job_id: UUID
    lease: UUID
    status: Status
    status_code: int
    body: bytes = field(repr=False)
    result_ttl: int
    notes: tuple[AttemptRecord, ...] = ()
    request: PayloadRef | None = None
    """Where a large request is: it is deleted with the completion."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give a held job back: due again in `due_in` seconds. `given_back` counts against the budget of releases."""

    job_id: UUID
    lease: UUID
    due_in: float
    failures: int
    target: int
    given_back: bool = False
    notes: tuple[AttemptRecord, ...] = ()


Record = Finish | Release
