"""An edge without one of its checks."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from tests.sabotage.placing import once_metrics_are_placed, put


def without_expiry_filter() -> None:
    """A poll shows a result whose time is up, as long as the database has not deleted it."""

    def patch() -> None:
        from edge.poll import reader  # noqa: PLC0415

        visible = reader.visible
        put(reader, "visible", lambda view, key_id, kind: visible(replace(view, expired=False), key_id, kind))

    once_metrics_are_placed(patch)


def without_key_check() -> None:
    """Who knows a job's id reads it, with another key or with none."""

    def patch() -> None:
        from edge.poll import reader  # noqa: PLC0415

        visible = reader.visible
        put(reader, "visible", lambda view, _key_id, kind: visible(view, view.key_id, kind))

    once_metrics_are_placed(patch)


def without_idempotency() -> None:
    """A submit with the same Idempotency-Key makes a second job."""

    def patch() -> None:
        from edge.submit.submission import Submissions  # noqa: PLC0415
        from shared.domain.ids import new_job_id  # noqa: PLC0415

        async def another(_self: Submissions, _key_id: str | None, _idempotency_key: str) -> UUID:
            return new_job_id()

        put(Submissions, "_keyed_id", another)

    once_metrics_are_placed(patch)


def without_idempotency_fingerprint() -> None:
    """Another request under a used Idempotency-Key is taken for a repeat of the first."""

    def patch() -> None:
        from edge.submit import submission  # noqa: PLC0415

        put(submission, "fingerprint", lambda *_: b"the same")

    once_metrics_are_placed(patch)


def without_waiting_for_the_write() -> None:
    """A submit without an Idempotency-Key is answered 202 while its job is still on the way to the database."""

    def patch() -> None:
        from edge.submit.writer import JobWriter  # noqa: PLC0415
        from shared.domain.store_interface import Accepted  # noqa: PLC0415

        take, under_way = JobWriter.take, set[asyncio.Task[Accepted]]()

        def ended(task: asyncio.Task[Accepted]) -> None:
            under_way.discard(task)
            if not task.cancelled():
                task.exception()

        async def hasty(self: JobWriter, job: Any) -> Accepted:
            if job.fingerprint:
                return await take(self, job)
            task = asyncio.create_task(take(self, job))
            under_way.add(task)
            task.add_done_callback(ended)
            return Accepted()

        put(JobWriter, "take", hasty)

    once_metrics_are_placed(patch)
