"""What the store in memory holds, and what more than one of its sides does with it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from shared.domain.job import PayloadRef, Status
from shared.domain.store_interface import VirtualKey
from shared.settings.table import Settings
from tests.support.fakes.document import FakeClock, Faults, Owner, StoredJob

CHUNK_BYTES = 8 * 1024 * 1024


class StoreState:
    """`calls` counts verbs."""

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

    def now(self) -> datetime:
        return self.clock.now()

    def _chunk(self, data: bytes, ref: PayloadRef, owner: Owner) -> PayloadRef:
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        self.payloads.setdefault(ref.payload_id, pieces)
        self.owners[ref.payload_id] = owner
        return ref

    def _drop(self, ref: PayloadRef | None) -> None:
        if ref is not None:
            self.payloads.pop(ref.payload_id, None)
            self.owners.pop(ref.payload_id, None)

    def _chunk_at(self, ref: PayloadRef, number: int) -> bytes:
        pieces = self.payloads.get(ref.payload_id, [])
        if number >= len(pieces):
            raise LookupError(f"chunk {number} of {ref.chunks} is gone")
        return pieces[number]

    def _end(
        self, stored: StoredJob, status: Status, status_code: int, body: bytes | PayloadRef, result_ttl: int
    ) -> None:
        stored.status, stored.status_code = status, status_code
        stored.completed_at = self.now()
        stored.expires_at = stored.completed_at + timedelta(seconds=result_ttl)
        stored.body = body
        stored.wake_at = None
