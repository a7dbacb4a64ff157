"""Stores new jobs in group-committed batches and rings for them. Once a caller has his answer, the job must end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from edge.gate import Turnstile
from shared.group_commit import GroupCommit
from shared.job import NewJob, PayloadRef
from shared.metrics import SUBMIT_BATCH
from shared.store import Accepted, EdgeStore, Rejected

INLINE_BYTES = 8 * 1024
"""Larger bodies go into chunks of their own: each renewal of a lease rewrites the whole document."""
DOCUMENT_BYTES = 1024
"""What a job weighs in a batch beside its body."""

MAX_BATCH_JOBS = 64
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_WAITING = 2048
MAX_STALL_SECONDS = 1.0
MAX_UPLOADS = 16

Item = tuple[NewJob, PayloadRef | None]


class Ringer(Protocol):
    """Tells workers that jobs wait."""

    def ring(self, modality: str, ids: Sequence[UUID]) -> None:
        """Announce ids. Never blocks and never raises: what cannot be rung is found by the sweep."""
        ...


class Intake:
    """Takes validated jobs in."""

    def __init__(self, store: EdgeStore, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer
        self._uploads = Turnstile(MAX_UPLOADS, 2.0, "too many large bodies are being stored: retry in a moment")
        self._under_way: set[asyncio.Task[Accepted]] = set()
        self._batches: GroupCommit[Item, Accepted] = GroupCommit(
            self._store_batch,
            max_items=MAX_BATCH_JOBS,
            max_bytes=MAX_BATCH_BYTES,
            max_waiting=MAX_WAITING,
            max_stall=MAX_STALL_SECONDS,
            on_batch=SUBMIT_BATCH.observe,
        )

    async def take(self, job: NewJob) -> Accepted:
        """Store a job, known to a majority, and ring for it. Raises Overloaded or StoreUnavailable.

        A caller who is cancelled leaves; his job is stored whole or not at all.
        """
        extra = sum([len(target.params) for target in job.targets]) + DOCUMENT_BYTES
        if len(job.content.data) <= INLINE_BYTES:
            return await self._batches.submit((job, None), len(job.content.data) + extra)
        task = asyncio.create_task(self._take_large(job, extra))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until everything under way is stored or refused."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._batches.drain()

    async def _take_large(self, job: NewJob, size: int) -> Accepted:
        """Chunks first: a job never points to a body that is not there. Chunks without a job expire."""
        async with self._uploads:
            ref = await self._store.save_request(job.content, job.deadline_at)
        return await self._batches.submit((job, ref), size)

    async def _store_batch(self, items: Sequence[Item]) -> list[Accepted | BaseException]:
        outcomes = await self._store.submit(items)
        stored: dict[str, list[UUID]] = defaultdict(list)
        for (job, _), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Accepted) and outcome.existing is None:
                stored[job.modality].append(job.id)
        for modality, ids in stored.items():
            self._ringer.ring(modality, ids)
        return [outcome.reason if isinstance(outcome, Rejected) else outcome for outcome in outcomes]
