"""Makes jobs for tests, and waits for conditions."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, overload
from uuid import UUID, uuid4

from shared.domain.content import Content
from shared.domain.ids import new_job_id
from shared.domain.job import ClaimedJob, NewJob
from shared.domain.target import Target

T = TypeVar("T")

BODY = b'{"model":"openai/m","input":"the cat sat"}'


def new_job(
    now: datetime | None = None,
    *,
    job_id: UUID | None = None,
    body: bytes = BODY,
    deadline: float = 3600,
    targets: tuple[Target, ...] = (Target("openai", "m"),),
    fingerprint: bytes | None = None,
    key_id: str | None = None,
    result_ttl: int = 60,
) -> NewJob:
    """An embedding job, due now."""
    now = now or datetime.now(UTC)
    return NewJob(
        id=job_id or new_job_id(),
        request_type="embedding",
        modality="embeddings",
        targets=targets,
        content=Content("json", body),
        forward=(("x-trace", "1"),),
        extra_params=False,
        request_id="req-1",
        key_id=key_id,
        fingerprint=fingerprint,
        created_at=now,
        deadline_at=now + timedelta(seconds=deadline),
        result_ttl=result_ttl,
    )


def claimed_job(
    *,
    targets: tuple[Target, ...] = (Target("openai", "m"),),
    target: int = 0,
    failures: int = 0,
    crashes: int = 0,
    releases: int = 0,
    deadline_in: float = 3600,
    taken_over: bool = False,
    crashed_before: bool = False,
) -> ClaimedJob:
    """A job as a worker holds it."""
    return ClaimedJob(
        id=new_job_id(),
        request_type="embedding",
        modality="embeddings",
        targets=targets,
        content=Content("json", BODY),
        content_kind="json",
        content_type="application/json",
        forward=(),
        extra_params=False,
        request_id="req-1",
        lease=uuid4(),
        taken_over=taken_over,
        repeats=taken_over,
        crashed_before=crashed_before,
        claims=1,
        failures=failures,
        target=target,
        crashes=crashes,
        releases=releases,
        created_at=datetime.now(UTC),
        deadline_in=deadline_in,
        waited=0.0,
        result_ttl=60,
    )


@overload
async def eventually(probe: Callable[[], Awaitable[T | None]], *, within: float = 10.0) -> T: ...


@overload
async def eventually(probe: Callable[[], T | None], *, within: float = 10.0) -> T: ...


async def eventually(probe: Callable[[], Any], *, within: float = 10.0) -> Any:
    """Return the first truthy answer of `probe`; fail when there is none in time."""
    give_up = time.monotonic() + within
    while True:
        answer = probe()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < give_up, f"not so within {within} s: {inspect.getsource(probe).strip()}"
        await asyncio.sleep(0.01)
