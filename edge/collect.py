"""Reads jobs for those who poll: one read for all who wait at the moment, and one rule for who may see what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from edge.gate import Turnstile
from edge.pace import Pace
from edge.principal import Principals
from shared.errors import NotFound, Overloaded, StoreUnavailable
from shared.group_commit import GroupCommit
from shared.ids import age_seconds, parse_job_id
from shared.job import JobView
from shared.metrics import COLLECT_BATCH
from shared.store import EdgeStore

YOUNG_SECONDS = 60.0
"""A miss on a younger id is confirmed: a primary that was just deposed may not know the job yet."""
MAX_BATCH_IDS = 512
MAX_WAITING = 8192
MAX_STALL_SECONDS = 3.0
SPACING_SECONDS = 0.01
"""Least time between two reads: one for eight ids costs hardly more than one for a single id."""
UNSPACED_IDS = 32
"""So many ids are read at once: waiting for more would spare little and only make them wait."""
MAX_CONFIRMATIONS = 16
FIRST_LOOK_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25
"""What lies between two looks at a job that somebody waits for."""


class Collector:
    """Finds jobs by id."""

    def __init__(self, store: EdgeStore, principals: Principals) -> None:
        self._store = store
        self._principals = principals
        self._pace = Pace()
        self._confirmations = Turnstile(MAX_CONFIRMATIONS, 1.0, "too many unknown ids are being checked: retry")
        self._reads: GroupCommit[UUID, JobView | None] = GroupCommit(
            self._read,
            max_items=MAX_BATCH_IDS,
            max_waiting=MAX_WAITING,
            max_stall=MAX_STALL_SECONDS,
            spacing=SPACING_SECONDS,
            unspaced=UNSPACED_IDS,
            on_batch=COLLECT_BATCH.observe,
        )

    async def collect(self, job_id: str, secret: bytes | None, request_type: str) -> JobView:
        """The job with the id from a path, for whoever holds `secret`. Raises NotFound, the same for every cause."""
        parsed = parse_job_id(job_id)
        if parsed is None:
            raise NotFound
        view = await self._reads.submit(parsed) or await self._confirm(parsed)
        if view is None:
            raise NotFound
        key_id = await self._key_id(secret) if view.key_id is not None else None
        if not visible(view, key_id, request_type, self._store.now()):
            raise NotFound
        if view.completed_at is not None:
            self._pace.ended(request_type, (view.completed_at - view.created_at).total_seconds())
        return view

    async def until_ended(self, view: JobView, secret: bytes | None, seconds: float) -> JobView:
        """Look again, less and less often, until the job has ended or the time is up; the last that was seen of it.

        Raises NotFound when the job is gone meanwhile.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        pause = FIRST_LOOK_SECONDS
        while not view.status.terminal and (left := give_up - loop.time()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            with contextlib.suppress(StoreUnavailable, Overloaded):
                view = await self.collect(str(view.id), secret, view.request_type)
        return view

    def retry_after(self, request_type: str, created_at: datetime | None = None) -> str:
        """Seconds until a job submitted at that time, or just now, is worth a poll, as the header says it."""
        age = (self._store.now() - created_at).total_seconds() if created_at is not None else 0.0
        return str(self._pace.hint(request_type, age))

    async def _key_id(self, secret: bytes | None) -> str | None:
        """Asked only for jobs that belong to a key: a job without one is open to any key, known or not."""
        key = await self._principals.find(secret) if secret is not None else None
        return None if key is None else key.id

    async def _confirm(self, job_id: UUID) -> JobView | None:
        if not _may_be_new(job_id, self._store.now()):
            return None
        async with self._confirmations:
            return await self._store.confirm(job_id)

    async def _read(self, ids: Sequence[UUID]) -> list[JobView | BaseException | None]:
        found = await self._store.collect(list(dict.fromkeys(ids)))
        return [found.get(job_id) for job_id in ids]


def visible(view: JobView, key_id: str | None, request_type: str, now: datetime) -> bool:
    """Whether a job may be shown: not expired, asked for by the key it was submitted with, on its endpoint's path."""
    if view.expires_at is not None and view.expires_at <= now:
        return False
    if view.key_id is not None and view.key_id != key_id:
        return False
    return view.request_type == request_type


def _may_be_new(job_id: UUID, now: datetime) -> bool:
    """Whether a job with this id can have been made a moment ago. An id that carries no time always can."""
    if job_id.version == 8:
        return True
    age = age_seconds(job_id, now.timestamp())
    return age is not None and abs(age) < YOUNG_SECONDS
