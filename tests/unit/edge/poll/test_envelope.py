"""The job envelope: the right fields, omitted when unset, around bytes that are never touched."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.poll import envelope
from shared.domain.job import JobView, PayloadRef, Status

ID = UUID("019f98dc-3ca8-7c71-b38c-a340eeddc6f6")
SUBMITTED = datetime(2026, 7, 25, 10, 39, 58, 120_000, UTC)
ENDED = SUBMITTED + timedelta(seconds=3)


def view(status: Status, **fields: object) -> JobView:
    return JobView(ID, "embedding", status, SUBMITTED, **fields)  # type: ignore[arg-type]


def ended(status: Status, body: bytes | PayloadRef, code: int) -> JobView:
    return view(
        status, completed_at=ENDED, expires_at=ENDED + timedelta(hours=1), status_code=code, body=body, request_id="r"
    )


def test_a_submit_is_answered_as_pending() -> None:
    assert json.loads(envelope.accepted(ID, "req-7f31", SUBMITTED)) == {
        "id": str(ID),
        "request_id": "req-7f31",
        "status": "pending",
        "created_at": "2026-07-25T10:39:58.120Z",
    }


def test_an_unknown_request_id_is_left_out() -> None:
    assert json.loads(envelope.running(view(Status.PROCESSING))) == {
        "id": str(ID),
        "status": "processing",
        "created_at": "2026-07-25T10:39:58.120Z",
    }


@given(st.text())
def test_any_request_id_is_escaped(request_id: str) -> None:
    assert json.loads(envelope.accepted(ID, request_id, SUBMITTED)).get("request_id", "") == request_id


@pytest.mark.parametrize(
    ("status", "code", "field", "other"),
    [(Status.COMPLETED, 200, "result", "error"), (Status.FAILED, 429, "error", "result")],
)
def test_an_ended_job_has_its_result_or_its_error_and_all_times(
    status: Status, code: int, field: str, other: str
) -> None:
    head, tail = envelope.ended(ended(status, b'{"x":1}', code))
    answer = json.loads(head + b'{"x":1}' + tail)
    assert answer[field] == {"x": 1}
    assert other not in answer
    assert answer["status"] == status.value
    assert answer["status_code"] == code
    assert answer["completed_at"] == "2026-07-25T10:40:01.120Z"
    assert answer["expires_at"] == "2026-07-25T11:40:01.120Z"


def test_the_stored_bytes_are_not_looked_at() -> None:
    head, tail = envelope.ended(ended(Status.COMPLETED, b"{ not json", 200))
    assert (head + b"{ not json" + tail).count(b"{ not json") == 1


def test_a_job_that_ended_without_times_is_not_shown() -> None:
    with pytest.raises(ValueError, match="without times"):
        envelope.ended(view(Status.COMPLETED, body=b"{}"))


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_times_are_utc_with_milliseconds(moment: datetime) -> None:
    text = envelope.timestamp(moment)
    assert len(text) == 24
    assert text.endswith("Z")
    assert moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)
