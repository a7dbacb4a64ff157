"""The jobs this process holds: their leases, their running tasks, and the renewal that keeps them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from shared.errors import StoreUnavailable
from shared.job import ClaimedJob
from shared.metrics import LEASES_LOST, SLOTS_BUSY
from shared.store import FleetStore

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 3


@dataclass(slots=True)
class Hold:
    """One held job. `suspect`: it crashed so often that it runs apart from its like.

    `recording`: the attempt is over and its outcome is on its way; from here on nobody may cancel the task.
    """

    job: ClaimedJob
    suspect: bool
    task: asyncio.Task[None] | None = None
    recording: bool = False
    lost: bool = False

    def abort(self) -> None:
        """Stop the attempt, if it is still one."""
        if self.task is not None and not self.recording:
            self.task.cancel()


class Held:
    """Everything held, by job id."""

    def __init__(self, store: FleetStore, lease_seconds: float) -> None:
        self._store = store
        self.renew_interval = lease_seconds / _RENEWALS_PER_LEASE
        self._holds: dict[UUID, Hold] = {}
        SLOTS_BUSY.set_function(self.__len__)

    def __len__(self) -> int:
        return len(self._holds)

    def __contains__(self, job_id: UUID) -> bool:
        return job_id in self._holds

    @property
    def has_suspect(self) -> bool:
        """Whether a suspect runs now."""
        return any(hold.suspect for hold in self._holds.values())

    def add(self, hold: Hold) -> None:
        """Hold a job until its outcome is recorded. A job claimed again replaces its own earlier, lost hold."""
        earlier = self._holds.get(hold.job.id)
        if earlier is not None:
            _abandon(earlier)
        self._holds[hold.job.id] = hold

    def drop(self, job: ClaimedJob) -> None:
        """Let go of a job, unless it is held by a newer claim already."""
        hold = self._holds.get(job.id)
        if hold is not None and hold.job.lease == job.lease:
            del self._holds[job.id]

    def holds(self) -> Iterable[Hold]:
        """All holds as they are now."""
        return list(self._holds.values())

    async def renew(self) -> None:
        """Extend all leases at once; what turns out to be lost is abandoned."""
        held = {job_id: hold.job.lease for job_id, hold in self._holds.items()}
        if not held:
            return
        for job_id in await self._store.renew(held):
            hold = self._holds.get(job_id)
            if hold is not None and hold.job.lease == held[job_id] and not hold.recording:
                log.warning("job %s: the lease is lost, its work is thrown away", job_id)
                _abandon(hold)

    async def keep(self) -> None:
        """Renew for ever. A lease survives two renewals that fail."""
        while True:
            await asyncio.sleep(self.renew_interval * random.uniform(0.8, 1.0))
            try:
                await self.renew()
            except StoreUnavailable as error:
                log.warning("leases not renewed: %s", error)


def _abandon(hold: Hold) -> None:
    if not hold.lost:
        LEASES_LOST.inc()
    hold.lost = True
    hold.abort()
