"""The reaper's side of the store in memory: deadlines, orphans, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

from shared.domain.catalogue import MODALITIES
from shared.domain.job import ExpiredJob, ExpiryResult, PayloadRef, Status
from shared.domain.store_interface import FULL_SECONDS, UNOWNED_SECONDS, Backlog, OrphansRemoved
from shared.mongo.documents.transitions import SET_ASIDE_SECONDS
from shared.mongo.documents.unreadable import BODY
from tests.support.fakes.document import Owner, StoredJob
from tests.support.fakes.store_state import StoreState

UNREADABLE: bytes = BODY["data"]


class FakeReaperStore(StoreState):
    """Implements ReaperStore."""

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
