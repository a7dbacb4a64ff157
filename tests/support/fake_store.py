"""The whole store in memory, with the real one's semantics: fences, due times, budgets, expiry, chunks.

Time moves by hand or with the wall clock. Failures are set from outside: see `Faults`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from shared.catalogue import MODALITIES
from shared.content import Content
from shared.errors import BadRequest
from shared.job import (
    ClaimedJob,
    DueJob,
    Ending,
    Finish,
    JobView,
    NewJob,
    OverdueJob,
    PayloadRef,
    Record,
    Release,
    Status,
)
from shared.mongo import codec
from shared.settings import Settings
from shared.store import FULL_SECONDS, Accepted, Backlog, Pause, Rejected, SubmitOutcome, VirtualKey
from shared.virtual_keys import hash_secret, hint
from tests.support.fake_document import FakeClock, Faults, StoredJob

__all__ = ["FakeClock", "FakeStore", "Faults", "StoredJob"]

CHUNK_BYTES = 8 * 1024 * 1024
INLINE_RESULT_BYTES = 32 * 1024


class FakeStore:
    """Implements EdgeStore, FleetStore and KeeperStore. `calls` counts verbs."""

    def __init__(self, settings: Settings | None = None, clock: FakeClock | None = None) -> None:
        self.settings = settings or Settings()
        self.clock = clock or FakeClock()
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.jobs: dict[UUID, StoredJob] = {}
        self.payloads: dict[UUID, list[bytes]] = {}
        self.keys: dict[bytes, VirtualKey] = {}
        self.paused: dict[str, datetime] = {}
        self._full: tuple[frozenset[str], datetime] = (frozenset(), datetime.min.replace(tzinfo=UTC))
        self._id_secret = b"the fake's secret of 32 bytes..."[:32]

    async def _called(self, verb: str) -> None:
        self.calls[verb] += 1
        await self.faults.strike(verb)

    # For tests

    def add_key(self, secret: str, name: str = "a key", models: Sequence[str] = ()) -> VirtualKey:
        """Make a virtual key with a chosen secret."""
        key = VirtualKey(uuid4().hex, name, hint(secret), tuple(models), self.now())
        self.keys[hash_secret(secret)] = key
        return key

    def revoke_key(self, key: VirtualKey) -> None:
        """Revoke a key."""
        for digest, stored in self.keys.items():
            if stored.id == key.id:
                self.keys[digest] = replace(stored, revoked_at=self.now())

    def purge(self) -> None:
        """Delete what has expired, as the TTL index does some time later."""
        now = self.now()
        self.jobs = {key: each for key, each in self.jobs.items() if each.expires_at is None or each.expires_at > now}

    async def end(
        self, job_id: UUID, body: bytes, *, status: Status = Status.COMPLETED, status_code: int = 200
    ) -> None:
        """Claim and finish a job in one go."""
        lease = uuid4()
        (held,) = await self.claim([job_id], lease=lease, worker="test", suspects=False)
        finish = Finish(job_id, lease, status, status_code, body, held.result_ttl)
        assert await self.record([finish]) == [True]

    # The edge

    def now(self) -> datetime:
        return self.clock.now()

    async def ping(self) -> None:
        await self._called("ping")

    async def save_request(self, content: Content, deadline_at: datetime) -> PayloadRef:
        await self._called("save_request")
        return self._chunk(content.data)

    def _chunk(self, data: bytes) -> PayloadRef:
        ref_id = uuid4()
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        self.payloads[ref_id] = pieces
        return PayloadRef(ref_id, len(data), len(pieces))

    async def submit(self, jobs: Sequence[tuple[NewJob, PayloadRef | None]]) -> list[SubmitOutcome]:
        await self._called("submit")
        return [self._insert(job, ref) for job, ref in jobs]

    def _insert(self, job: NewJob, ref: PayloadRef | None) -> SubmitOutcome:
        if reason := self.faults.reject.get(job.id):
            return Rejected(reason)
        try:
            codec.encode_new(job, ref)
        except BadRequest as error:
            return Rejected(error)
        stored = self.jobs.get(job.id)
        if stored is not None and (stored.expires_at is None or stored.expires_at > self.now()):
            return Accepted(existing=stored.view() if job.fingerprint else None)
        self.jobs[job.id] = StoredJob(job, ref or job.content, wake_at=job.created_at)
        return Accepted()

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        await self._called("collect")
        return {job_id: self.jobs[job_id].view() for job_id in ids if job_id in self.jobs}

    async def confirm(self, job_id: UUID) -> JobView | None:
        await self._called("confirm")
        stored = self.jobs.get(job_id)
        return None if stored is None else stored.view()

    async def read_payload(self, ref: PayloadRef) -> AsyncIterator[bytes]:
        await self._called("read_payload")
        for number in range(ref.chunks):
            yield self._chunk_at(ref, number)

    def _chunk_at(self, ref: PayloadRef, number: int) -> bytes:
        pieces = self.payloads.get(ref.payload_id, [])
        if number >= len(pieces):
            raise LookupError(f"chunk {number} of {ref.chunks} is gone")
        return pieces[number]

    async def find_key(self, secret_hash: bytes) -> VirtualKey | None:
        await self._called("find_key")
        key = self.keys.get(secret_hash)
        return None if key is None or key.revoked_at is not None else key

    async def id_secret(self) -> bytes:
        await self._called("id_secret")
        return self._id_secret

    async def full(self) -> frozenset[str]:
        await self._called("full")
        modalities, until = self._full
        return modalities if until > self.now() else frozenset()

    # The fleet

    async def claim(
        self, ids: Sequence[UUID], *, lease: UUID, worker: str, suspects: bool, source: str = ""
    ) -> list[ClaimedJob]:
        await self._called("claim")
        now = self.now()
        return [
            self._take(stored, lease, now)
            for job_id in dict.fromkeys(ids)
            if (stored := self.jobs.get(job_id)) is not None and self._claimable(stored, now, suspects)
        ]

    def _claimable(self, stored: StoredJob, now: datetime, suspects: bool) -> bool:
        if not stored.due(now) or stored.job.deadline_at <= now:
            return False
        crashes = stored.crashes + stored.running
        return crashes < self.settings.max_crashes and (crashes >= self._suspect_from) == suspects

    @property
    def _suspect_from(self) -> int:
        return max(1, self.settings.max_crashes - 2)

    def _take(self, stored: StoredJob, lease: UUID, now: datetime) -> ClaimedJob:
        assert stored.wake_at is not None
        assert stored.request is not None
        waited = (now - stored.wake_at).total_seconds()
        taken_over = stored.running
        stored.claims += 1
        stored.crashes += taken_over
        stored.status = Status.PROCESSING
        stored.lease = lease
        stored.wake_at = self._until(stored, self.settings.lease_seconds)
        job = stored.job
        return ClaimedJob(
            id=job.id,
            request_type=job.request_type,
            modality=job.modality,
            targets=job.targets,
            content=stored.request,
            content_kind=job.content.kind,
            content_type=job.content.content_type,
            forward=job.forward,
            extra_params=job.extra_params,
            request_id=job.request_id,
            lease=lease,
            taken_over=taken_over,
            claims=stored.claims,
            failures=stored.failures,
            target=stored.target,
            crashes=stored.crashes,
            releases=stored.releases,
            created_at=job.created_at,
            deadline_in=(job.deadline_at - now).total_seconds(),
            waited=waited,
            result_ttl=job.result_ttl,
        )

    def _until(self, stored: StoredJob, seconds: float) -> datetime:
        return min(self.now() + timedelta(seconds=seconds), stored.job.deadline_at)

    async def due(self, modalities: Sequence[str], *, limit: int, takeover_after: float) -> list[DueJob]:
        await self._called("due")
        now = self.now()
        found = [
            DueJob(stored.job.id, stored.crashes + stored.running >= self._suspect_from)
            for stored in self.jobs.values()
            if stored.job.modality in modalities
            and stored.job.deadline_at > now
            and not (stored.running and math.isinf(takeover_after))
            and stored.due(now, takeover_after if stored.running else self.settings.sweep_grace_seconds)
        ]
        return random.sample(found, min(limit, len(found)))

    async def load(self, ref: PayloadRef) -> bytes:
        await self._called("load")
        return b"".join(self._chunk_at(ref, number) for number in range(ref.chunks))

    async def renew(self, held: Mapping[UUID, UUID]) -> set[UUID]:
        await self._called("renew")
        lost = set()
        for job_id, lease in held.items():
            stored = self._held(job_id, lease)
            if stored is None or stored.job.deadline_at <= self.now():
                lost.add(job_id)
            else:
                stored.wake_at = self._until(stored, self.settings.lease_seconds)
        return lost

    def _held(self, job_id: UUID, lease: UUID) -> StoredJob | None:
        stored = self.jobs.get(job_id)
        return stored if stored is not None and stored.running and stored.lease == lease else None

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        await self._called("record")
        return [self._record(record) for record in records]

    def _record(self, record: Record) -> bool | Exception:
        if reason := self.faults.reject.get(record.job_id):
            return reason
        stored = self._held(record.job_id, record.lease)
        if stored is None:
            known = self.jobs.get(record.job_id)
            return known is not None and known.lease == record.lease and not known.running
        stored.attempts.extend(record.notes)
        if isinstance(record, Release):
            stored.status = Status.PENDING
            stored.wake_at = self._until(stored, record.due_in)
            stored.failures, stored.target = record.failures, record.target
            stored.releases += record.given_back
        else:
            self._end(stored, record.status, record.status_code, record.body, record.result_ttl)
            stored.request = None if record.status is Status.COMPLETED else stored.request
        return True

    def _end(self, stored: StoredJob, status: Status, status_code: int, body: bytes, result_ttl: int) -> None:
        stored.status, stored.status_code = status, status_code
        stored.completed_at = self.now()
        stored.expires_at = self.now() + timedelta(seconds=result_ttl)
        stored.body = self._chunk(body) if len(body) > INLINE_RESULT_BYTES else body
        stored.wake_at = None

    async def pause(self, channel: str, seconds: float) -> None:
        await self._called("pause")
        until = self.now() + timedelta(seconds=seconds)
        self.paused[channel] = max(until, self.paused.get(channel, until))

    async def pauses(self) -> list[Pause]:
        await self._called("pauses")
        now = self.now()
        return [Pause(name, (until - now).total_seconds()) for name, until in self.paused.items() if until > now]

    # The keeper

    async def expire(self, limit: int, explain: Callable[[OverdueJob], Ending]) -> dict[str, int]:
        await self._called("expire")
        counts: Counter[str] = Counter()
        overdue = [stored for stored in self.jobs.values() if self._overdue(stored)]
        for stored in overdue[:limit]:
            late = stored.job.deadline_at <= self.now()
            crashes = stored.crashes + stored.running
            job = stored.job
            ending = explain(OverdueJob(job.id, job.request_type, job.targets[0], late, stored.claims > 0, crashes))
            stored.crashes = crashes
            stored.lease = None
            self._end(stored, Status.FAILED, ending.status_code, ending.error, stored.job.result_ttl)
            counts[ending.reason] += 1
        return dict(counts)

    def _overdue(self, stored: StoredJob) -> bool:
        now = self.now()
        out_of_crashes = stored.running and stored.crashes >= self.settings.max_crashes - 1
        return stored.due(now) and (stored.job.deadline_at <= now or out_of_crashes)

    async def backlog(self) -> list[Backlog]:
        await self._called("backlog")
        live = (Status.PENDING, Status.PROCESSING)
        return [self._backlog(modality, status) for modality in MODALITIES for status in live]

    async def at_least(self, modality: str, count: int) -> bool:
        await self._called("at_least")
        return self._backlog(modality, Status.PENDING).count >= count

    async def declare_full(self, modalities: Collection[str]) -> None:
        await self._called("declare_full")
        self._full = frozenset(modalities), self.now() + timedelta(seconds=FULL_SECONDS)

    def _backlog(self, modality: str, status: Status) -> Backlog:
        waiting = [each for each in self.jobs.values() if each.job.modality == modality and each.status is status]
        ages = [(self.now() - each.wake_at).total_seconds() for each in waiting if each.wake_at is not None]
        return Backlog(modality, status.value, len(waiting), False, max([0.0, *ages]))
