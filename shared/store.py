"""What the store can do, verb by verb, grouped by who calls it. `shared.mongo` implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from shared.content import Content
from shared.job import ClaimedJob, DueJob, Ending, JobView, NewJob, OverdueJob, PayloadRef, Record

FULL_SECONDS = 30
"""How long a keeper's word counts: when all keepers are gone, nobody is refused for a backlog that may be gone too."""


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


@dataclass(frozen=True, slots=True)
class Pause:
    """No calls to `channel` (a provider and its key) for `seconds` more."""

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


class EdgeStore(Protocol):
    """What the edge asks for. Every verb raises StoreUnavailable when the database does not answer in time."""

    def now(self) -> datetime:
        """This moment by the database's clock, as last compared."""
        ...

    async def ping(self) -> None:
        """Return when the primary answers and its clock is known."""
        ...

    async def save_request(self, content: Content, deadline_at: datetime) -> PayloadRef:
        """Write a large body as chunks, before the job that points to them."""
        ...

    async def submit(self, jobs: Sequence[tuple[NewJob, PayloadRef | None]]) -> list[SubmitOutcome]:
        """Insert a batch, one outcome per job. A reference replaces the inline content."""
        ...

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        """Read jobs as a majority knows them. Expired ones are included: the caller filters."""
        ...

    async def confirm(self, job_id: UUID) -> JobView | None:
        """Read one job so that a stale primary cannot answer."""
        ...

    def read_payload(self, ref: PayloadRef) -> AsyncIterator[bytes]:
        """Stream a payload's chunks in order."""
        ...

    async def find_key(self, secret_hash: bytes) -> VirtualKey | None:
        """Look up a virtual key that is not revoked."""
        ...

    async def id_secret(self) -> bytes:
        """The installation's secret for ids derived from an Idempotency-Key; made at first use."""
        ...

    async def full(self) -> frozenset[str]:
        """The modalities of which too many jobs wait; none when no keeper has said so for FULL_SECONDS."""
        ...


class FleetStore(Protocol):
    """What a worker asks for."""

    def now(self) -> datetime:
        """This moment by the database's clock, as last compared."""
        ...

    async def claim(
        self, ids: Sequence[UUID], *, lease: UUID, worker: str, suspects: bool, source: str = ""
    ) -> list[ClaimedJob]:
        """Take those of `ids` that are due, in one update, and return what is now held.

        `source` says how they were found, rung or swept, and stays in the history of the job.
        """
        ...

    async def due(self, modalities: Sequence[str], *, limit: int, takeover_after: float) -> list[DueJob]:
        """Find jobs that have been due for longer than the grace, from a random place among them.

        A running job counts when its lease ended more than `takeover_after` seconds ago; never, when that is infinite.
        """
        ...

    async def load(self, ref: PayloadRef) -> bytes:
        """Read a whole payload. Raises LookupError when a chunk is gone."""
        ...

    async def renew(self, held: Mapping[UUID, UUID]) -> set[UUID]:
        """Extend the leases of `held` (job id -> lease) and return the ids that are lost."""
        ...

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        """Write outcomes, each fenced by its lease.

        True: written, now or before. False: the lease was lost. An exception: this one alone could not be written.
        """
        ...

    async def pause(self, channel: str, seconds: float) -> None:
        """Pause a provider and key for the whole fleet; a longer pause wins."""
        ...

    async def pauses(self) -> list[Pause]:
        """All pauses that still run."""
        ...


class KeeperStore(Protocol):
    """What the keeper asks for."""

    async def expire(self, limit: int, explain: Callable[[OverdueJob], Ending]) -> dict[str, int]:
        """Fail up to `limit` jobs past their deadline or out of crashes that nobody holds; counts by reason."""
        ...

    async def backlog(self) -> list[Backlog]:
        """Count what waits and runs, per modality."""
        ...

    async def at_least(self, modality: str, count: int) -> bool:
        """Whether so many jobs of the modality wait. The time it takes grows with `count`."""
        ...

    async def declare_full(self, modalities: Collection[str]) -> None:
        """Say of which modalities too many jobs wait, in place of what was said before; it holds for FULL_SECONDS."""
        ...
