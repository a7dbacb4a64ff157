"""The workers' side of the store in memory: claims, leases, records, pauses."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from shared.domain.job import ClaimCandidate, ClaimedJob, Finish, PayloadRef, Record, Release, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES, Pause
from shared.mongo.documents import payloads
from shared.mongo.worker_store import shares
from tests.support.fakes.document import Owner, StoredJob
from tests.support.fakes.store_state import StoreState


class FakeWorkerStore(StoreState):
    """Implements WorkerStore."""

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

    async def pause(self, channel: str, seconds: float) -> None:
        await self._called("pause")
        until = self.now() + timedelta(seconds=seconds)
        self.paused[channel] = max(until, self.paused.get(channel, until))

    async def pauses(self) -> list[Pause]:
        await self._called("pauses")
        now = self.now()
        return [Pause(name, (until - now).total_seconds()) for name, until in self.paused.items() if until > now]

    async def resume(self, channels: Collection[str]) -> None:
        await self._called("resume")
        for channel in channels:
            self.paused.pop(channel, None)
