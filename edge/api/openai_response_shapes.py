"""A job in the shape of OpenAI's Responses API: what `client.responses.create` and `.retrieve` expect to get."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.domain.job import JobView, Status
from shared.domain.schemas import Object

QUEUED = {Status.PENDING: "queued", Status.PROCESSING: "in_progress"}
"""The stock words for our states; with the `x-bf-async` headers, our own are used."""

_OWN_CODES = {429: "rate_limit_exceeded", 504: "server_error"}

_DEFAULTS = msgspec.json.decode(
    """{
    "id": "", "object": "response", "background": false, "created_at": 0, "completed_at": null, "error": null,
    "incomplete_details": null, "instructions": null, "max_output_tokens": null, "max_tool_calls": null,
    "metadata": {}, "model": "", "output": [], "parallel_tool_calls": true, "previous_response_id": null,
    "prompt_cache_key": null, "presence_penalty": 0, "frequency_penalty": 0,
    "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "auto",
    "status": "pending", "store": true, "temperature": 1, "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "top_logprobs": 0, "top_p": 1, "tool_choice": "auto", "tools": [], "truncation": "disabled", "usage": null
    }""",
    type=dict[str, Any],
)
_EXTRA_FIELDS = {"request_type": "responses", "latency": 0, "chunk_index": 0}


def unfinished(job_id: str, status: str, created_at: float, *, model: str = "", background: bool = False) -> bytes:
    """`created_at` is in Unix seconds."""
    fields = {"status": status, "created_at": int(created_at), "model": model, "background": background}
    return msgspec.json.encode(_DEFAULTS | {"id": job_id, **fields, "extra_fields": _EXTRA_FIELDS})


def completed(stored: bytes, job_id: str | None = None) -> bytes:
    """The provider's object, with defaults for what it left out; under the job's id if one is given."""
    fields: dict[str, Any] = _DEFAULTS | {"status": "completed"} | msgspec.json.decode(stored, type=Object)
    if job_id is not None:
        fields |= {"id": job_id, "background": True}
    return msgspec.json.encode(fields)


def failed(view: JobView, stored: bytes) -> bytes:
    """A Responses object that says why the job failed."""
    error = msgspec.json.decode(stored, type=_StoredError)
    code = _OWN_CODES.get(view.status_code) or error.error.code or error.error.type or "server_error"
    fields = {"status": "failed", "created_at": int(view.created_at.timestamp()), "background": True}
    fields |= {"error": {"code": str(code), "message": error.error.message}, "extra_fields": error.extra_fields}
    return msgspec.json.encode(_DEFAULTS | {"id": str(view.id), **fields})


class _Detail(msgspec.Struct):
    message: str = "the job failed"
    type: str | None = None
    code: str | int | None = None


class _StoredError(msgspec.Struct):
    error: _Detail = msgspec.field(default_factory=_Detail)
    extra_fields: Object = msgspec.field(default_factory=dict)
