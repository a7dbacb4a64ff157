"""Stores new jobs in group-committed batches and notifies for them. Once a caller has its answer, the job must end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from edge.ingress.concurrency import WaitingLimit
from shared.domain.errors import BadRequest, Overloaded, StoreUnavailable
from shared.domain.job import JobView, NewJob, PayloadRef
from shared.domain.store_interface import INLINE_REQUEST_BYTES, UNOWNED_SECONDS, Accepted, EdgeStore, Rejected
from shared.group_commit import GroupCommit
from shared.telemetry.metrics import SUBMIT_BATCH

DOCUMENT_BYTES = 1024
"""What a job weighs in a batch beside its body."""

MAX_BATCH_JOBS = 64
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_WAITING = 2048
MAX_STALL_SECONDS = 1.0
MAX_UPLOADS = 16

Item = tuple[NewJob, PayloadRef | None]


class NotificationPublisher(Protocol):
    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        """Tell workers that these jobs wait. Never blocks or raises: what cannot be notified is found by the sweep."""


class JobWriter:
    def __init__(self, store: EdgeStore, publisher: NotificationPublisher) -> None:
        self._store = store
        self._publisher = publisher
        self._uploads = WaitingLimit(MAX_UPLOADS, 2.0, "too many large bodies are being stored: retry in a moment")
        self._looks: GroupCommit[UUID, JobView | None] = GroupCommit(partial(read_jobs, store), max_items=MAX_UPLOADS)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._batches: GroupCommit[Item, Accepted] = GroupCommit(
            self._store_batch,
            max_items=MAX_BATCH_JOBS,
            max_bytes=MAX_BATCH_BYTES,
            max_waiting=MAX_WAITING,
            max_stall=MAX_STALL_SECONDS,
            on_batch=SUBMIT_BATCH.observe,
        )

    async def take(self, job: NewJob) -> Accepted:
        """Store a job, known to a majority, and notify for it; whole or not at all when the caller is cancelled.

        Raises Overloaded or StoreUnavailable.
        """
        extra = sum([len(target.params) for target in job.targets]) + DOCUMENT_BYTES
        if len(job.content.data) <= INLINE_REQUEST_BYTES:
            return await self._batches.submit((job, None), len(job.content.data) + extra)
        task = asyncio.create_task(self._take_large(job, extra), name="upload")
        self._remember(task)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._batches.drain()

    async def _take_large(self, job: NewJob, size: int) -> Accepted:
        """Chunks first: a job never points to a body that is not there."""
        async with self._uploads:
            if existing := await self._existing(job):
                return Accepted(existing)
            began = time.monotonic()
            ref = await self._store.save_request(job)
        try:
            accepted = await self._batches.submit((job, ref), size)
        except (BadRequest, Overloaded):
            self._discard(job, ref)  # it was not sent; after any other error the job may be there
            raise
        if time.monotonic() - began > UNOWNED_SECONDS / 2:
            # The process was stopped for long: a reaper may have removed the chunks as orphans.
            await self._store.save_request(job, ref)
        if accepted.existing is not None:
            self._discard(job, ref)
        return accepted

    async def _existing(self, job: NewJob) -> JobView | None:
        """The job that an earlier submit made under the same Idempotency-Key."""
        if job.fingerprint is None:
            return None
        view = await self._looks.submit(job.id)
        return None if view is None or view.expired or view.problem else view

    def _discard(self, job: NewJob, ref: PayloadRef) -> None:
        """Delete a body behind the caller's back. What fails here is left to the reapers."""

        async def discard() -> None:
            with contextlib.suppress(StoreUnavailable):
                await self._store.discard_request(job.id, ref)

        self._remember(asyncio.create_task(discard(), name="discard"))

    def _remember(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _store_batch(self, items: Sequence[Item]) -> list[Accepted | BaseException]:
        outcomes = await self._store.submit(items)
        stored: dict[str, list[UUID]] = defaultdict(list)
        for (job, _), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Accepted) and outcome.existing is None:
                stored[job.modality].append(job.id)
        for modality, ids in stored.items():
            self._publisher.publish(modality, ids)
        return [outcome.reason if isinstance(outcome, Rejected) else outcome for outcome in outcomes]


async def read_jobs(store: EdgeStore, ids: Sequence[UUID]) -> list[JobView | BaseException | None]:
    """The jobs in the order of `ids`, which may repeat themselves."""
    found = await store.collect(list(dict.fromkeys(ids)))
    return [found.get(job_id) for job_id in ids]
