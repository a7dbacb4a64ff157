"""What a worker may take: ids that were notified, due jobs that it finds itself, and slots for them."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Sequence, Sized
from uuid import UUID

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ClaimCandidate
from shared.domain.store_interface import WorkerStore

log = logging.getLogger(__name__)

_MAX_IDS = 20_000
_MAX_RETRY_TIMERS = 20_000
_SHARE = 10
"""Of so many jobs that are taken one may be the sweep's, however many are notified."""
_RECONNECT_GRACE_SECONDS = 3.0
"""After an outage the workers' drivers find the database again one after the other, within about this time."""
_SLOW_SECONDS = 2.0


class ReadyQueue:
    """Ids from notifications and from timers of retries, in order. `on_arrival` is called when something came in."""

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        self._ids: dict[UUID, None] = {}
        self._retry_timers = 0
        self._on_arrival = on_arrival

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, ids: Sequence[UUID]) -> None:
        room = _MAX_IDS - len(self._ids)
        self._ids.update(dict.fromkeys(ids[: max(0, room)]))
        self._on_arrival()

    def take(self, most: int) -> list[UUID]:
        taken = [job_id for job_id, _ in zip(self._ids, range(most), strict=False)]
        for job_id in taken:
            del self._ids[job_id]
        return taken

    def schedule(self, job_id: UUID, delay: float) -> None:
        """Take an id in after `delay` seconds: a retry of our own is then claimed on time, not a sweep later."""
        if self._retry_timers < _MAX_RETRY_TIMERS:
            self._retry_timers += 1
            asyncio.get_running_loop().call_later(delay, self._retry_due, job_id)

    def _retry_due(self, job_id: UUID) -> None:
        self._retry_timers -= 1
        self.put([job_id])


class Slots:
    """Free + reserved + held = total. Count the free ones and reserve with no await between, or two take the same."""

    def __init__(self, total: int, leases: Sized) -> None:
        self.total = total
        self.reserved = 0
        self.sweeping = False
        """The sweep looks or waits for a slot: what it is owed stays free for it."""
        self._held = leases
        self._most_owed = max(1.0, total / _SHARE)
        self._owed = self._most_owed

    @property
    def free(self) -> int:
        return self.total - len(self._held) - self.reserved

    @property
    def for_notifications(self) -> int:
        return max(0, self.free - (int(self._owed) if self.sweeping else 0))

    def for_sweep(self, notified: int) -> int:
        """How many more the sweep may claim while `notified` ids wait: what these leave, or else what is owed."""
        return max(self.free - notified, min(self.free, int(self._owed)))

    def reserve(self, jobs: int, *, notified: bool) -> None:
        self.reserved += jobs
        if notified:
            self._owed = min(self._most_owed, self._owed + jobs / (_SHARE - 1))

    def settle(self, jobs: int, *, swept: int) -> None:
        """End a reservation: what the claim took is held by now. `swept` of it were found by the sweep."""
        self.reserved -= jobs
        self._owed = max(0.0, self._owed - swept)


class DueSearch:
    """Finds what may be claimed without a notification; an expired lease only when its holder had time to renew it."""

    def __init__(self, store: WorkerStore, modalities: Sequence[str], renew_interval: float) -> None:
        self._store = store
        self._modalities = modalities
        self._renew_interval = renew_interval
        self._failed = False
        self._slow_before = False
        self._takeovers_from = 0.0

    def note_failure(self, what: str, error: StoreUnavailable) -> None:
        """The database did not answer: when it does again, others are to find it again too."""
        log.warning("%s failed: %s", what, error)
        self._failed = True

    async def find(self, limit: int, *, suspects: bool) -> list[ClaimCandidate]:
        """Up to `limit` jobs, with or without suspects. After an outage nothing is taken over for a while."""
        began = time.monotonic()
        takeovers = not self._failed and began >= self._takeovers_from
        # Leases are taken well after their end, and not by all workers at once.
        takeover_after = self._renew_interval * random.uniform(0.5, 1.5) if takeovers else math.inf
        try:
            due = await self._store.due(self._modalities, limit=limit, takeover_after=takeover_after, suspects=suspects)
        except StoreUnavailable as error:
            self.note_failure("sweep", error)
            return []
        hung = self._hung(time.monotonic() - began)
        if self._failed or hung:
            self._failed = False
            self._takeovers_from = time.monotonic() + 1.5 * self._renew_interval + _RECONNECT_GRACE_SECONDS
        return [] if hung and takeovers else due

    def _hung(self, seconds: float) -> bool:
        """A slow answer may have waited for the end of an outage. A database that is always slow has none."""
        slow = seconds > max(self._renew_interval, _SLOW_SECONDS)
        hung, self._slow_before = slow and not self._slow_before, slow
        return hung
