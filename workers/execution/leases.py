"""The jobs this process holds: their leases, their running tasks, and the renewal that keeps them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ClaimedJob
from shared.domain.store_interface import WorkerStore
from shared.telemetry.metrics import LEASES_LOST, SLOTS_BUSY
from workers.provider_interface import Calls

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 3


@dataclass(slots=True)
class HeldJob:
    """`suspect`: crashed so often that it runs apart. `recording`: an outcome is on its way, nobody may cancel it."""

    job: ClaimedJob
    suspect: bool
    task: asyncio.Task[None] | None = None
    recording: bool = False
    lost: bool = False
    calls: Calls = field(default_factory=Calls)
    told: bool = False
    """Whether the last renewal has told the store that a call has begun."""

    @property
    def called(self) -> bool:
        return self.calls.begun > 0


class LeaseSet:
    def __init__(self, store: WorkerStore, lease_seconds: float) -> None:
        self._store = store
        self.renew_interval = lease_seconds / _RENEWALS_PER_LEASE
        self._holds: dict[UUID, HeldJob] = {}
        self._telling = asyncio.Lock()
        """One at a time, or what was so before would be written over what is so now."""
        self._unreachable = False
        """Since a telling failed and until a renewal succeeds: the next ones need not wait for a time-out each."""
        SLOTS_BUSY.set_function(self.__len__)

    def __len__(self) -> int:
        return len(self._holds)

    def __contains__(self, job_id: UUID) -> bool:
        return job_id in self._holds

    @property
    def has_suspect(self) -> bool:
        return any(held.suspect for held in self._holds.values())

    def add(self, held: HeldJob) -> None:
        """Hold a job until its outcome is recorded. A job claimed again replaces its own earlier, lost hold."""
        earlier = self._holds.get(held.job.id)
        if earlier is not None:
            _drop_lost(earlier)
        if held.job.crashed_before:
            held.calls.tell = partial(self._tell, held)
        self._holds[held.job.id] = held

    def drop(self, job: ClaimedJob) -> None:
        """Let go of a job, unless it is held by a newer claim already."""
        held = self._holds.get(job.id)
        if held is not None and held.job.lease == job.lease:
            del self._holds[job.id]

    def held_jobs(self) -> list[HeldJob]:
        return list(self._holds.values())

    async def renew(self) -> None:
        """Extend all leases at once and say which jobs have been called for; what turns out to be lost is abandoned."""
        async with self._telling:
            await self._renew(self.held_jobs())
            self._unreachable = False

    async def _renew(self, held_jobs: Sequence[HeldJob]) -> None:
        if not held_jobs:
            return
        called = {held.job.id for held in held_jobs if held.called}
        lost = await self._store.renew({held.job.id: held.job.lease for held in held_jobs}, called)
        for held in held_jobs:
            held.told = held.job.id in called
            if held.job.id in lost and self._holds.get(held.job.id) is held and not held.recording:
                log.warning("job %s: the lease is lost, its work is thrown away", held.job.id)
                _drop_lost(held)

    async def _tell(self, held: HeldJob) -> None:
        """Say of a job that crashed before, and of all its like with it, whether a call has begun, before it does.

        Without an answer the call is made all the same: a worker that dies of it takes one crash that does not count,
        and to be claimed again the job needs the database.
        """
        async with self._telling:
            if held.told is held.called or self._unreachable:
                return
            changed = [each for each in self.held_jobs() if each.job.crashed_before and each.told is not each.called]
            try:
                await self._renew(changed)
            except StoreUnavailable as error:
                self._unreachable = True
                log.warning("job %s: not written down whether its call has begun: %s", held.job.id, error)

    async def keep(self) -> None:
        """Renew for ever, at once when started anew. A lease survives two renewals that fail."""
        while True:
            try:
                await self.renew()
            except StoreUnavailable as error:
                log.warning("leases not renewed: %s", error)
            await asyncio.sleep(self.renew_interval * random.uniform(0.8, 1.0))


def _drop_lost(held: HeldJob) -> None:
    if not held.lost:
        LEASES_LOST.inc()
    held.lost = True
    if held.task is not None and not held.recording:
        held.task.cancel()
