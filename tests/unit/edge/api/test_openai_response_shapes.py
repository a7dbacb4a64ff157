"""Jobs in the shape of the Responses API: whole objects, the right ids, words and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from openai.types.responses import Response

from edge.api import openai_response_shapes
from shared.domain.job import JobView, Status

ID = UUID("019f98dc-3ca8-7c71-b38c-a340eeddc6f6")
VIEW = JobView(ID, "responses", Status.FAILED, datetime(2026, 7, 25, tzinfo=UTC), status_code=429)
RESULT = (
    b'{"id":"resp_1","object":"response","created_at":1700000000,"model":"m","status":"completed","error":null,'
    b'"output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed",'
    b'"content":[{"type":"output_text","text":"Plum","annotations":[]}]}],"extra_fields":{"latency":7}}'
)


@pytest.mark.parametrize("status", ["pending", "processing", "queued", "in_progress"])
def test_an_unfinished_job_is_a_whole_object_without_output(status: str) -> None:
    answer = json.loads(openai_response_shapes.unfinished(str(ID), status, 1784976001.9, model="m", background=True))
    assert (answer["id"], answer["status"], answer["output"]) == (str(ID), status, [])
    assert (answer["created_at"], answer["model"], answer["background"]) == (1784976001, "m", True)
    assert answer["extra_fields"]["request_type"] == "responses"
    assert set(Response.model_fields) - set(answer) <= OPTIONAL


OPTIONAL = {name for name, field in Response.model_fields.items() if not field.is_required()}


def test_a_completed_job_is_the_providers_object_with_defaults_for_the_rest() -> None:
    answer = json.loads(openai_response_shapes.completed(RESULT))
    assert answer["id"] == "resp_1"
    assert answer["output"][0]["content"][0]["text"] == "Plum"
    assert answer["tool_choice"] == "auto"
    assert answer["extra_fields"] == {"latency": 7}


def test_the_stock_retrieve_keeps_the_jobs_id() -> None:
    answer = json.loads(openai_response_shapes.completed(RESULT, str(ID)))
    assert (answer["id"], answer["background"], answer["status"]) == (str(ID), True, "completed")


def test_numbers_of_the_provider_are_kept_to_the_digit() -> None:
    stored = b'{"usage":{"cost":0.1000000000000000055511,"big":123456789012345678901234567890}}'
    assert b"0.1000000000000000055511" in openai_response_shapes.completed(stored)
    assert b"123456789012345678901234567890" in openai_response_shapes.completed(stored)


@pytest.mark.parametrize(
    ("code", "error", "shown"),
    [
        (429, {"message": "slow down", "type": "rate_limit_error", "code": "fake_429"}, "rate_limit_exceeded"),
        (504, {"message": "too late"}, "server_error"),
        (400, {"message": "bad", "code": "invalid_prompt"}, "invalid_prompt"),
        (400, {"message": "bad", "type": "invalid_request_error"}, "invalid_request_error"),
        (500, {"message": "oops"}, "server_error"),
    ],
)
def test_a_failed_job_is_an_object_that_says_why(code: int, error: dict[str, str], shown: str) -> None:
    view = JobView(ID, "responses", Status.FAILED, VIEW.created_at, status_code=code)
    stored = {"is_bifrost_error": False, "status_code": code, "error": error, "extra_fields": {"provider": "openai"}}
    answer = json.loads(openai_response_shapes.failed(view, json.dumps(stored).encode()))
    assert (answer["id"], answer["status"]) == (str(ID), "failed")
    assert answer["error"] == {"code": shown, "message": error["message"]}
    assert answer["extra_fields"] == {"provider": "openai"}
