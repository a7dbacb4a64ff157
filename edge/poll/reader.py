"""Reads jobs for polls: one read for all that wait at the moment, and the rule which key sees which job."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from uuid import UUID

from edge.ingress.concurrency import WaitingLimit
from edge.submit.auth import KeyLookup
from edge.submit.writer import read_jobs
from shared.domain.errors import NotFound, Overloaded, StoreUnavailable, Unreadable
from shared.domain.ids import age_seconds, parse_job_id
from shared.domain.job import JobView
from shared.domain.store_interface import EdgeStore
from shared.group_commit import GroupCommit
from shared.telemetry.metrics import COLLECT_BATCH

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
_SHARE = 0.25
"""The quantile of run times that a poll is told to wait: for a quarter of the jobs the result is there earlier."""
_STEP = 0.2
LONGEST_HINT = 5
"""Seconds: the longest hint, since the jobs of one request type differ by model."""
_SHORTEST = 0.001
_FIRST = 4
"""So many jobs are learned from by taking the quickest: the very first one may have waited for a model to load."""


class JobReader:
    def __init__(self, store: EdgeStore, key_lookup: KeyLookup) -> None:
        self._store = store
        self._key_lookup = key_lookup
        self._pace = PollHint()
        self._confirmations = WaitingLimit(MAX_CONFIRMATIONS, 1.0, "too many unknown ids are being checked: retry")
        self._reads: GroupCommit[UUID, JobView | None] = GroupCommit(
            partial(read_jobs, store),
            max_items=MAX_BATCH_IDS,
            max_waiting=MAX_WAITING,
            max_stall=MAX_STALL_SECONDS,
            spacing=SPACING_SECONDS,
            unspaced=UNSPACED_IDS,
            on_batch=COLLECT_BATCH.observe,
        )

    async def collect(self, job_id: str, secret: bytes | None, request_type: str) -> JobView:
        """The job with the id from a path, for the holder of `secret`. Raises NotFound, the same for every cause."""
        parsed = parse_job_id(job_id)
        if parsed is None:
            raise NotFound
        view = await self._reads.submit(parsed) or await self._confirm(parsed)
        if view is None:
            raise NotFound
        if view.problem:
            raise Unreadable(f"job {parsed}: {view.problem}")
        key = None
        if view.key_id is not None and secret is not None:  # a job without one is open to any key, known or not
            key = await self._key_lookup.find(secret)
        if not visible(view, None if key is None else key.id, request_type):
            raise NotFound
        if view.completed_at is not None:
            self._pace.ended(request_type, (view.completed_at - view.created_at).total_seconds())
        return view

    def retry_after(self, request_type: str, created_at: datetime | None = None) -> str:
        """Seconds, as the header says it, until a job submitted at that time, or just now, is worth a poll."""
        age = (self._store.now() - created_at).total_seconds() if created_at is not None else 0.0
        return str(self._pace.hint(request_type, age))

    async def _confirm(self, job_id: UUID) -> JobView | None:
        if not _may_be_new(job_id, self._store.now()):
            return None
        async with self._confirmations:
            return await self._store.confirm(job_id)


async def until_ended(
    look: Callable[[], Awaitable[JobView]], sleep: Callable[[float], Awaitable[None]], seconds: float, longest: float
) -> JobView | None:
    """Look at a job less and less often, until it has ended or the time is up; the last that was seen of it.

    `longest` is the longest pause, in seconds. Raises NotFound when the job is gone, and whatever `sleep` raises.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    pause = FIRST_LOOK_SECONDS
    view: JobView | None = None
    while (view is None or not view.status.terminal) and (left := give_up - loop.time()) > 0:
        await sleep(min(pause, left))
        pause = min(pause * 1.5, longest)
        # The job is accepted: an error now would make the caller submit a second one.
        with contextlib.suppress(StoreUnavailable, Overloaded):
            view = await look()
    return view


def visible(view: JobView, key_id: str | None, request_type: str) -> bool:
    """Whether a job may be shown: not expired, asked for by the key it was submitted with, on its endpoint's path."""
    if view.expired or (view.key_id is not None and view.key_id != key_id):
        return False
    return view.request_type == request_type


def _may_be_new(job_id: UUID, now: datetime) -> bool:
    """Whether a job with this id can have been made a moment ago. An id that carries no time always can."""
    if job_id.version == 8:
        return True
    age = age_seconds(job_id, now.timestamp())
    return age is not None and abs(age) < YOUNG_SECONDS


class PollHint:
    """The seconds within which a quarter of the recent jobs of each request type had ended."""

    def __init__(self) -> None:
        self._quick: dict[str, float] = {}
        self._seen: dict[str, int] = {}

    def ended(self, request_type: str, seconds: float) -> None:
        """Learn from one ended job. What is expected moves by a step: one odd job changes little."""
        taken = max(_SHORTEST, seconds)
        expected = self._quick.get(request_type, taken)
        seen = self._seen.get(request_type, 0)
        if seen < _FIRST:
            self._seen[request_type] = seen + 1
            self._quick[request_type] = min(expected, taken)
        else:
            factor = 1 + _STEP * _SHARE if taken >= expected else 1 / (1 + _STEP * (1 - _SHARE))
            self._quick[request_type] = expected * factor

    def hint(self, request_type: str, age: float) -> int:
        """Whole seconds until the next poll of a job submitted `age` seconds ago. Old jobs rarely end soon."""
        ahead = math.ceil(self._quick.get(request_type, 0.0) - age)
        return max(1 if age < 30 else 2 if age < 300 else LONGEST_HINT, min(LONGEST_HINT, ahead))
