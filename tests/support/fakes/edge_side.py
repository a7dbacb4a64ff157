"""The edge's side of the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from shared.domain.errors import BadRequest
from shared.domain.job import JobView, NewJob, PayloadRef
from shared.domain.store_interface import Accepted, Rejected, SubmitOutcome, VirtualKey
from shared.mongo.documents import codec, payloads
from tests.support.fakes.document import Owner, StoredJob
from tests.support.fakes.store_state import StoreState


class FakeEdgeStore(StoreState):
    """Implements EdgeStore."""

    async def ping(self) -> None:
        await self._called("ping")

    async def save_request(self, job: NewJob, again: PayloadRef | None = None) -> PayloadRef:
        await self._called("save_request")
        return self._chunk(job.content.data, again or payloads.request_ref(job), Owner(job.id, None, self.now()))

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
