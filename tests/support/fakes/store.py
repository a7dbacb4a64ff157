"""The whole store in memory, with the real one's semantics: fences, due times, budgets, expiry, chunks.

Time moves by hand or with the wall clock. Failures are set from outside: see `Faults`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from shared.domain.job import Finish, Status
from shared.domain.store_interface import VirtualKey
from shared.domain.virtual_keys import hash_secret, hint
from tests.support.fakes.document import FakeClock, Faults, StoredJob
from tests.support.fakes.edge_side import FakeEdgeStore
from tests.support.fakes.reaper_side import FakeReaperStore
from tests.support.fakes.worker_side import FakeWorkerStore

__all__ = ["FakeClock", "FakeStore", "Faults", "StoredJob"]


class FakeStore(FakeEdgeStore, FakeWorkerStore, FakeReaperStore):
    """Implements EdgeStore, WorkerStore and ReaperStore. `calls` counts verbs."""

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
