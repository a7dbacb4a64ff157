"""The fixed parts of the OpenAPI document: envelopes, errors, headers, ways to send a key."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_TIME = {"type": "string", "format": "date-time"}
_ID = {"type": "string", "format": "uuid"}
_ANY_OBJECT: Json = {"type": "object"}

_ERROR: Json = {
    "type": "object",
    "required": ["is_bifrost_error", "error", "extra_fields"],
    "properties": {
        "is_bifrost_error": {"type": "boolean"},
        "status_code": {"type": "integer"},
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "string"},
                "param": {},
            },
        },
        "extra_fields": _ANY_OBJECT,
    },
}
_PENDING: Json = {
    "type": "object",
    "required": ["id", "status", "created_at"],
    "properties": {
        "id": _ID,
        "request_id": {"type": "string"},
        "status": {"enum": ["pending", "processing"]},
        "created_at": _TIME,
    },
}
_ENDED: Json = {
    "type": "object",
    "required": ["id", "status", "created_at", "completed_at", "expires_at", "status_code"],
    "properties": {
        "id": _ID,
        "request_id": {"type": "string"},
        "status": {"enum": ["completed", "failed"]},
        "created_at": _TIME,
        "completed_at": _TIME,
        "expires_at": {**_TIME, "description": "From then on the job is unknown."},
        "status_code": {"type": "integer"},
        "result": {
            **_ANY_OBJECT,
            "description": "What the provider answered, with `extra_fields`. Completed jobs only.",
        },
        "error": {"$ref": "#/components/schemas/Error"},
    },
}
_RESPONSE: Json = {
    "type": "object",
    "required": ["id", "object", "status", "output"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "response"},
        "status": {
            "enum": ["pending", "processing", "queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
        },
        "output": {"type": "array", "items": _ANY_OBJECT},
    },
}
_MODELS: Json = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "object", "created", "owned_by"],
                "properties": {
                    "id": {"type": "string"},
                    "object": {"const": "model"},
                    "created": {"type": "integer"},
                    "owned_by": {"type": "string"},
                },
            },
        },
    },
}

COMPONENTS: Json = {
    "securitySchemes": {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A virtual key, `sk-bf-...`."},
        "virtualKey": {"type": "apiKey", "in": "header", "name": "x-bf-vk"},
    },
    "schemas": {
        "Error": _ERROR,
        "PendingJob": _PENDING,
        "EndedJob": _ENDED,
        "Response": _RESPONSE,
        "Models": _MODELS,
        "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    },
}

_REASONS = {
    400: "The request is malformed, incomplete or cut off, or its virtual key is unknown.",
    401: "A virtual key is needed.",
    403: "The virtual key may not use this model.",
    404: "No such job: unknown, expired, of another key or of another endpoint. One answer for all.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body's media type or encoding does not fit.",
    417: "An expectation that cannot be met.",
    422: "The Idempotency-Key was used for another request.",
    431: "The headers are too large.",
    500: "An error of our own; nothing was stored.",
    503: "Busy, or the database is away: retry after a moment.",
    504: "The job has not ended in the time a call may wait. It goes on; the message names it.",
}

_SUBMIT_HEADERS: list[tuple[str, Json, str]] = [
    ("Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
     "Makes a repeated submit safe: the same key and request give the same job."),
    ("x-bf-async-job-result-ttl", {"type": "string"}, "Seconds to keep the result after the job ended."),
    ("x-coatcheck-deadline", {"type": "integer", "minimum": 1}, "Seconds after which the job fails with 504."),
    ("x-bf-passthrough-extra-params", {"type": "string"}, "`true` sends unknown body fields to the provider too."),
    ("x-request-id", {"type": "string"}, "Comes back in every answer; one that is odd is replaced."),
]  # fmt: skip
_DROP_IN_HEADERS: list[tuple[str, Json, str]] = [
    ("x-bf-async", {"type": "string"}, "`true` submits a job and answers at once."),
    ("x-bf-async-id", {"type": "string"}, "Retrieves this job; the body is ignored."),
]


def headers(kind: str) -> list[Json]:
    """Request headers of a submit, or those that only the drop-in routes know."""
    table = _SUBMIT_HEADERS if kind == "submit" else _DROP_IN_HEADERS
    return [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": text}
        for name, schema, text in table
    ]


def ticket_headers() -> Json:
    """Headers of an accepted submit."""
    return {
        "Location": {"description": "Where to collect.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until a poll is worth while.", "schema": {"type": "integer"}},
    }


def json_body(schema: str) -> Json:
    """A JSON body of a named schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def error_object(text: str) -> Json:
    """An error answer."""
    return {"description": text, "content": json_body("Error")}


def error(*statuses: int) -> Json:
    """Error answers by status."""
    return {str(status): error_object(_REASONS[status]) for status in statuses}
