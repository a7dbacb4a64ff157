"""What a poll says of a failed job that was requeued."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from edge.poll.envelope import ended
from shared.domain.job import JobView, Status

NOW = datetime(2027, 1, 1, tzinfo=UTC)
FAILED = JobView(uuid4(), "embedding", Status.FAILED, NOW, completed_at=NOW, expires_at=NOW, status_code=500)


def told(view: JobView) -> dict[str, object]:
    head, tail = ended(view)
    decoded: dict[str, object] = json.loads(head + b'{"error":{"message":"m"}}' + tail)
    return decoded


def test_a_requeued_job_names_the_new_one_beside_an_answer_that_stays_the_same() -> None:
    copy = uuid4()
    requeued = told(msgspec.structs.replace(FAILED, requeued_as=copy))
    assert requeued == {**told(FAILED), "requeued_as": str(copy)}
    assert "requeued_as" not in told(FAILED)
