"""What the store can do, by who asks. Every verb raises StoreUnavailable when the database does not answer in time."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from shared.domain.job import ClaimCandidate, ClaimedJob, ExpiredJob, ExpiryResult, JobView, NewJob, PayloadRef, Record

INLINE_REQUEST_BYTES = 8 * 1024
"""Larger bodies go into chunks of their own: each renewal of a lease rewrites the whole document."""
INLINE_RESULT_BYTES = 96 * 1024
"""Results up to this size lie in the job itself: a vector of 3,072 numbers with all their digits has 64 to 75 KB."""
FULL_SECONDS = 30
"""How long a reaper's report counts: without reapers no submit is refused for a backlog that may be gone."""
UNOWNED_SECONDS = 900
"""How long a body may be stored before a job points to it; later, reapers delete it as left by a killed process."""


class Accepted(msgspec.Struct, frozen=True):
    """The job is stored, known to a majority. `existing` is set when the id was there before (idempotent submit)."""

    existing: JobView | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """This job is not stored; its neighbours in the batch may be."""

    reason: Exception


SubmitOutcome = Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many jobs of one modality are in one state. `capped`: there are at least `count`."""

    modality: str
    status: str
    count: int
    capped: bool
    oldest_age: float
    """Seconds the one that has been due for longest has waited; 0 when none is due."""
    waits: float = 0.0
    """Seconds since one of the oldest that are pending was accepted, due or put off; 0 when none is."""


@dataclass(frozen=True, slots=True)
class OrphansRemoved:
    chunks: int
    finished: bool
    """All chunks have been looked at."""


@dataclass(frozen=True, slots=True)
class Pause:
    """No calls to `channel`, which is PROVIDER/MODEL or a PROVIDER as a whole, for `seconds` more."""

    channel: str
    seconds: float


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """A virtual key without its secret. `models` empty: all are allowed."""

    id: str
    name: str
    hint: str
    models: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None


class EdgeStore(Protocol):
    def now(self) -> datetime:
        """This moment by the database's clock, as last compared."""

    async def ping(self) -> None:
        """Return when the primary answers and its clock is known."""

    async def save_request(self, job: NewJob, again: PayloadRef | None = None) -> PayloadRef:
        """Write a large body as chunks, before the job that points to them; `again` under the same reference."""

    async def discard_request(self, job_id: UUID, ref: PayloadRef) -> None:
        """Delete a body that was written for a submit that made no job. Does nothing when the job points to it."""

    async def submit(self, jobs: Sequence[tuple[NewJob, PayloadRef | None]]) -> list[SubmitOutcome]:
        """Insert a batch, one outcome per job. A reference replaces the inline content."""

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        """Read jobs as a majority knows them. Expired ones are included and marked; so are those nobody can read."""

    async def confirm(self, job_id: UUID) -> JobView | None:
        """Read one job so that a stale primary cannot answer."""

    def read_payload(self, ref: PayloadRef) -> AsyncIterator[bytes]: ...

    async def find_key(self, secret_hash: bytes) -> VirtualKey | None:
        """Look up a virtual key that is neither revoked nor expired."""

    async def id_secret(self) -> bytes:
        """The installation's secret for ids derived from an Idempotency-Key; made at first use."""

    async def full(self) -> frozenset[str]:
        """The modalities of which too many jobs wait; none when no reaper has said so for FULL_SECONDS."""


class WorkerStore(Protocol):
    def now(self) -> datetime: ...

    async def claim(
        self, ids: Sequence[UUID], *, lease: UUID, worker: str, suspects: bool, source: str = ""
    ) -> list[ClaimedJob]:
        """Take those of `ids` that are due, in one update. `source`: how they were found, notified or swept."""

    async def due(
        self, modalities: Sequence[str], *, limit: int, takeover_after: float, suspects: bool = True
    ) -> list[ClaimCandidate]:
        """Find jobs that have been due for longer than the grace, from a random place among them.

        Each modality has its share of the limit, and so have jobs whose lease ended `takeover_after` seconds ago, which
        may be infinite: none hides another. Without `suspects`, none is among them.
        """

    async def load(self, ref: PayloadRef) -> bytes:
        """Read a whole payload. Raises LookupError when a chunk is gone."""

    async def renew(self, held: Mapping[UUID, UUID], began: Collection[UUID]) -> set[UUID]:
        """Extend the leases of `held` (job id -> lease) and return the ids that are lost. `began`: calls under way."""

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        """Write outcomes, each fenced by its lease. True: written, now or before; False: the lease was lost."""

    async def pause(self, channel: str, seconds: float) -> None:
        """Pause a channel for the whole fleet; a longer pause wins."""

    async def pauses(self) -> list[Pause]:
        """All that are in force, as the primary knows them."""

    async def resume(self, channels: Collection[str]) -> None:
        """End the pauses of these channels; what is not paused does not matter."""


class ReaperStore(Protocol):
    async def expire(self, limit: int, explain: Callable[[ExpiredJob], ExpiryResult]) -> dict[str, int]:
        """End overdue jobs that nobody holds, `limit` at a time, for some seconds; counts by reason."""

    async def backlog(self) -> list[Backlog]: ...

    async def at_least(self, modality: str, count: int) -> bool:
        """Whether so many jobs of the modality wait. The time it takes grows with `count`."""

    async def remove_orphans(self, limit: int) -> OrphansRemoved:
        """Look at the next `limit` chunks and delete those that no job points to and that are not new."""

    async def publish_backpressure(self, modalities: Collection[str]) -> None:
        """Say of which modalities too many jobs wait, in place of what was said before; it holds for FULL_SECONDS."""
