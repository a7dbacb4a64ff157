"""What the store in memory is made of: its clock, its faults, and one document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.domain.content import Content
from shared.domain.errors import StoreUnavailable
from shared.domain.job import AttemptRecord, JobView, NewJob, PayloadRef, Status


class FakeClock:
    """The database's clock. Stands still until `advance`, or follows the wall clock when `running`."""

    def __init__(self, start: datetime | None = None, *, running: bool = False) -> None:
        self._running = running
        self._moment = start or datetime(2026, 7, 25, 10, 39, 58, 120_000, UTC)

    def now(self) -> datetime:
        moment = datetime.now(UTC) if self._running else self._moment
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def advance(self, seconds: float) -> None:
        self._moment += timedelta(seconds=seconds)


@dataclass
class Faults:
    """What goes wrong: `down` fails every verb, `reject` single jobs of a batch; `before` runs before each verb."""

    down: bool = False
    reject: dict[UUID, Exception] = field(default_factory=dict)
    before: Callable[[str], Awaitable[None]] | None = None

    async def strike(self, verb: str) -> None:
        if self.before is not None:
            await self.before(verb)
        if self.down:
            raise StoreUnavailable(f"{verb}: the fake is down")


@dataclass(frozen=True)
class Owner:
    """Whose a body in chunks is, and when it was written."""

    job: UUID
    lease: UUID | None
    written_at: datetime


@dataclass
class StoredJob:
    """One document."""

    job: NewJob
    request: Content | PayloadRef | None
    status: Status = Status.PENDING
    wake_at: datetime | None = None
    lease: UUID | None = None
    began: bool | None = None
    """Under the lease; None: not known."""
    crashed_before: bool = False
    claims: int = 0
    failures: int = 0
    target: int = 0
    crashes: int = 0
    releases: int = 0
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    status_code: int = 0
    body: bytes | PayloadRef | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.status is Status.PROCESSING

    @property
    def crashes_if_over(self) -> int:
        return self.crashes + (self.running and self.began is not False)

    def due(self, now: datetime, grace: float = 0.0) -> bool:
        return self.wake_at is not None and self.wake_at <= now - timedelta(seconds=grace)

    def view(self, now: datetime) -> JobView:
        return JobView(
            id=self.job.id,
            request_type=self.job.request_type,
            status=self.status,
            created_at=self.job.created_at,
            request_id=self.job.request_id,
            key_id=self.job.key_id,
            fingerprint=self.job.fingerprint,
            completed_at=self.completed_at,
            expires_at=self.expires_at,
            status_code=self.status_code,
            body=self.body,
            expired=self.expires_at is not None and self.expires_at <= now,
        )
