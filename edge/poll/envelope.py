"""The job envelope as bytes. A stored result or error is copied between pieces, never decoded or encoded again."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from shared.domain.job import JobView, Status

MEDIA_TYPE = "application/json"


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, the database's precision."""
    return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"


def accepted(job_id: UUID | str, request_id: str, created_at: datetime) -> bytes:
    """The answer to the submit that made the job: pending, whatever happened since."""
    return _head(job_id, request_id, Status.PENDING, created_at) + b"}"


def running(view: JobView) -> bytes:
    return _head(view.id, view.request_id, view.status, view.created_at) + b"}"


def ended(view: JobView) -> tuple[bytes, bytes]:
    """What goes before and after the stored body of a job that has ended."""
    if view.completed_at is None or view.expires_at is None:
        raise ValueError(f"job {view.id} has ended without times")
    field = "result" if view.status.succeeded else "error"
    requeued = f'"requeued_as":"{view.requeued_as}",' if view.requeued_as else ""
    tail = (
        f',"completed_at":"{timestamp(view.completed_at)}","expires_at":"{timestamp(view.expires_at)}",'
        f'"status_code":{view.status_code},{requeued}"{field}":'
    )
    return _head(view.id, view.request_id, view.status, view.created_at) + tail.encode(), b"}"


def _head(job_id: UUID | str, request_id: str, status: Status, created_at: datetime) -> bytes:
    head = f'","status":"{status}","created_at":"{timestamp(created_at)}"'
    if request_id:
        parts = str(job_id).encode(), msgspec.json.encode(request_id), head[1:].encode()
        return b'{"id":"%b","request_id":%b%b' % parts
    return f'{{"id":"{job_id}{head}'.encode()
