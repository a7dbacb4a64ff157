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

from shared.domain.catalogue import MODALITIES
from shared.domain.errors import BadRequest
from shared.domain.job import (
    ClaimCandidate,
    ClaimedJob,
    ExpiredJob,
    ExpiryResult,
    Finish,
    JobView,
    NewJob,
    PayloadRef,
    Record,
    Release,
    Status,
)
from shared.domain.store_interface import (
    FULL_SECONDS,
    INLINE_RESULT_BYTES,
    UNOWNED_SECONDS,
    Accepted,
    Backlog,
    OrphansRemoved,
    Pause,
    Rejected,
    SubmitOutcome,
    VirtualKey,
)
from shared.domain.virtual_keys import hash_secret, hint
from shared.mongo.documents import codec, payloads
from shared.mongo.documents.transitions import SET_ASIDE_SECONDS
from shared.mongo.documents.unreadable import BODY
from shared.mongo.worker_store import shares
from shared.settings.table import Settings
from tests.support.fakes.document import FakeClock, Faults, Owner, StoredJob

__all__ = ["FakeClock", "FakeStore", "Faults", "StoredJob"]

CHUNK_BYTES = 8 * 1024 * 1024
UNREADABLE: bytes = BODY["data"]


class FakeStore:
    """Implements EdgeStore, WorkerStore and ReaperStore. `calls` counts verbs."""

    def __init__(self, settings: Settings | None = None, clock: FakeClock | None = None) -> None:
        self.settings = settings or Settings()
        self.clock = clock or FakeClock()
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.jobs: dict[UUID, StoredJob] = {}
        self.payloads: dict[UUID, list[bytes]] = {}
        self.owners: dict[UUID, Owner] = {}
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

    async def save_request(self, job: NewJob, again: PayloadRef | None = None) -> PayloadRef:
        await self._called("save_request")
        return self._chunk(job.content.data, again or payloads.request_ref(job), Owner(job.id, None, self.now()))

    def _chunk(self, data: bytes, ref: PayloadRef, owner: Owner) -> PayloadRef:
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        self.payloads.setdefault(ref.payload_id, pieces)
        self.owners[ref.payload_id] = owner
        return ref

    def _drop(self, ref: PayloadRef | None) -> None:
        if ref is not None:
            self.payloads.pop(ref.payload_id, None)
            self.owners.pop(ref.payload_id, None)

    async def discard_request(self, job_id: UUID, ref: PayloadRef) -> None:
        await self._called("discard_request")
        stored = self.jobs.get(job_id)
        if stored is None or stored.request != ref:
            self._drop(ref)

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
            return Accepted(existing=stored.view(self.now()) if job.fingerprint else None)
        self.jobs[job.id] = StoredJob(job, ref or job.content, wake_at=job.created_at)
        return Accepted()

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        await self._called("collect")
        return {job_id: self.jobs[job_id].view(self.now()) for job_id in ids if job_id in self.jobs}

    async def confirm(self, job_id: UUID) -> JobView | None:
        await self._called("confirm")
        stored = self.jobs.get(job_id)
        return None if stored is None else stored.view(self.now())

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
        if key is None or key.revoked_at is not None or (key.expires_at and key.expires_at <= self.now()):
            return None
        return key

    async def id_secret(self) -> bytes:
        await self._called("id_secret")
        return self._id_secret

    async def full(self) -> frozenset[str]:
        await self._called("full")
        modalities, until = self._full
        return modalities if until > self.now() else frozenset()

    # The workers

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
        crashes = stored.crashes_if_over
        return crashes < self.settings.max_crashes and (crashes >= self._suspect_from) == suspects

    @property
    def _suspect_from(self) -> int:
        return max(1, self.settings.max_crashes - 2)

    def _take(self, stored: StoredJob, lease: UUID, now: datetime) -> ClaimedJob:
        assert stored.wake_at is not None
        assert stored.request is not None
        waited = (now - stored.wake_at).total_seconds()
        taken_over, repeats = stored.running, stored.running and stored.began is not False
        stored.claims += 1
        stored.crashes = stored.crashes_if_over
        stored.crashed_before |= taken_over
        stored.began = False if stored.crashed_before else None
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
            repeats=repeats,
            crashed_before=stored.crashed_before,
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

    async def due(
        self, modalities: Sequence[str], *, limit: int, takeover_after: float, suspects: bool = True
    ) -> list[ClaimCandidate]:
        await self._called("due")
        graces = {False: self.settings.sweep_grace_seconds, True: takeover_after}
        lines = [
            self._line(modality, running, graces[running], suspects)
            for modality in random.sample(modalities, len(modalities))
            for running in random.sample((False, True), 2)
        ]
        few = -(-limit // len(lines))
        found = []
        for line, most in zip(lines, shares(limit, [min(few, len(line)) for line in lines], few), strict=True):
            start = random.randrange(4 * most) if most and len(line) >= few else 0
            found += line[start : start + most] if start + most <= len(line) else line[:most]
        return found

    def _line(self, modality: str, running: bool, grace: float, suspects: bool) -> list[ClaimCandidate]:
        """What waits together, whoever is due for longest first."""
        now = self.now()
        found = [
            (stored.wake_at or now, ClaimCandidate(stored.job.id, stored.crashes_if_over >= self._suspect_from))
            for stored in self.jobs.values()
            if stored.job.modality == modality
            and stored.running is running
            and stored.job.deadline_at > now
            and math.isfinite(grace)
            and stored.due(now, grace)
        ]
        return [job for _, job in sorted(found, key=lambda each: each[0]) if suspects or not job.suspect]

    async def load(self, ref: PayloadRef) -> bytes:
        await self._called("load")
        return b"".join(self._chunk_at(ref, number) for number in range(ref.chunks))

    async def renew(self, held: Mapping[UUID, UUID], began: Collection[UUID]) -> set[UUID]:
        await self._called("renew")
        lost = set()
        for job_id, lease in held.items():
            stored = self._held(job_id, lease)
            if stored is None or stored.job.deadline_at <= self.now():
                lost.add(job_id)
            else:
                stored.wake_at = self._until(stored, self.settings.lease_seconds)
                stored.began = job_id in began
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
            ours = self._recorded(record)
            if not ours and isinstance(record, Finish):
                self._drop(payloads.result_ref(record))
            return ours
        stored.attempts.extend(record.notes)
        if isinstance(record, Release):
            stored.status = Status.PENDING
            stored.wake_at = self._until(stored, record.due_in)
            stored.failures, stored.target = record.failures, record.target
            stored.releases += record.given_back
        else:
            body: bytes | PayloadRef = record.body
            if len(record.body) > INLINE_RESULT_BYTES:
                owner = Owner(record.job_id, record.lease, self.now())
                body = self._chunk(record.body, payloads.result_ref(record), owner)
            self._end(stored, record.status, record.status_code, body, record.result_ttl)
            if record.status is Status.COMPLETED:
                self._drop(record.request)
                stored.request = None
        return True

    def _recorded(self, record: Record) -> bool:
        known = self.jobs.get(record.job_id)
        status = record.status if isinstance(record, Finish) else Status.PENDING
        return known is not None and known.lease == record.lease and known.status is status

    def _end(
        self, stored: StoredJob, status: Status, status_code: int, body: bytes | PayloadRef, result_ttl: int
    ) -> None:
        stored.status, stored.status_code = status, status_code
        stored.completed_at = self.now()
        stored.expires_at = stored.completed_at + timedelta(seconds=result_ttl)
        stored.body = body
        stored.wake_at = None

    async def pause(self, channel: str, seconds: float) -> None:
        await self._called("pause")
        until = self.now() + timedelta(seconds=seconds)
        self.paused[channel] = max(until, self.paused.get(channel, until))

    async def pauses(self) -> list[Pause]:
        await self._called("pauses")
        now = self.now()
        return [Pause(name, (until - now).total_seconds()) for name, until in self.paused.items() if until > now]

    # The reaper

    async def expire(self, limit: int, explain: Callable[[ExpiredJob], ExpiryResult]) -> dict[str, int]:
        await self._called("expire")
        counts: Counter[str] = Counter()
        for stored in [each for each in self.jobs.values() if self._overdue(each)]:
            late = stored.job.deadline_at <= self.now()
            crashes = stored.crashes_if_over
            job = stored.job
            ending = explain(ExpiredJob(job.id, job.request_type, job.targets[0], late, stored.claims > 0, crashes))
            stored.crashes = crashes
            stored.lease = None
            self._end(stored, Status.FAILED, ending.status_code, ending.error, stored.job.result_ttl)
            counts[ending.reason] += 1
        for stored in [each for each in self.jobs.values() if self._unwakeable(each)]:
            self._end(stored, Status.FAILED, 500, UNREADABLE, SET_ASIDE_SECONDS)
            stored.lease = None
        return dict(counts)

    def _unwakeable(self, stored: StoredJob) -> bool:
        live = stored.status in (Status.PENDING, Status.PROCESSING)
        return live and stored.wake_at is None and stored.job.deadline_at <= self.now()

    def _overdue(self, stored: StoredJob) -> bool:
        now = self.now()
        out_of_crashes = stored.running and stored.crashes_if_over >= self.settings.max_crashes
        return stored.due(now) and (stored.job.deadline_at <= now or out_of_crashes)

    async def remove_orphans(self, limit: int) -> OrphansRemoved:
        await self._called("remove_orphans")
        old = self.now() - timedelta(seconds=UNOWNED_SECONDS)
        gone = [key for key, owner in self.owners.items() if owner.written_at <= old and self._orphaned(key, owner)]
        removed = sum(len(self.payloads.pop(key)) for key in gone)
        for key in gone:
            del self.owners[key]
        return OrphansRemoved(removed, finished=True)

    def _orphaned(self, payload_id: UUID, owner: Owner) -> bool:
        stored = self.jobs.get(owner.job)
        if stored is None:
            return owner.lease is None
        pointed_to = {each.payload_id for each in (stored.request, stored.body) if isinstance(each, PayloadRef)}
        return payload_id not in pointed_to and not (owner.lease and stored.running and stored.lease == owner.lease)

    async def backlog(self) -> list[Backlog]:
        await self._called("backlog")
        live = (Status.PENDING, Status.PROCESSING)
        return [self._backlog(modality, status) for modality in MODALITIES for status in live]

    async def at_least(self, modality: str, count: int) -> bool:
        await self._called("at_least")
        return self._backlog(modality, Status.PENDING).count >= count

    async def publish_backpressure(self, modalities: Collection[str]) -> None:
        await self._called("publish_backpressure")
        self._full = frozenset(modalities), self.now() + timedelta(seconds=FULL_SECONDS)

    def _backlog(self, modality: str, status: Status) -> Backlog:
        waiting = [each for each in self.jobs.values() if each.job.modality == modality and each.status is status]
        ages = [(self.now() - each.wake_at).total_seconds() for each in waiting if each.wake_at is not None]
        return Backlog(modality, status.value, len(waiting), False, max([0.0, *ages]))
