"""The OpenAPI 3.1 document, made from the catalogue and the request schemas: it cannot disagree with the routes."""

from __future__ import annotations

from typing import Any

import msgspec

from edge.api.models import PATHS as MODEL_PATHS
from edge.api.openai_responses import PATHS as RESPONSES_PATHS
from shared.domain.catalogue import CATALOGUE, Endpoint, StreamRule
from shared.domain.form_schema import COMMON_TEXTS, FormSchema

Json = dict[str, Any]

_DESCRIPTION = (
    "Hand in an AI request, get a ticket, come back for the result. POST on an endpoint answers 202 with a job id; "
    "GET on the id answers 202 while the job runs and 200 once it is completed or failed. "
    "An accepted job always ends."
)
_TAGS = {
    "text": "Completions, conversations, responses",
    "embeddings": "Texts as vectors",
    "audio": "Speech and transcription",
    "images": "Images made, changed and varied",
    "rerank": "Documents by relevance",
    "ocr": "Text of documents and images",
    "drop-in": "OpenAI's Responses API, unchanged",
    "models": "What can be asked for",
    "health": "For load balancers and orchestrators",
}
_HEALTH = {
    "/livez": "The process is alive",
    "/readyz": "Requests can be served now",
    "/health": "The stores are reachable",
}
_REQUEUED = "Failed jobs only: an operator submitted the request again, as this job. It is collected on the same path."
_REPEATABLE = "Makes a repeated submit safe: the same key and request give the same job, as it is by then."
_STRING: Json = {"type": "string"}
_INTEGER: Json = {"type": "integer"}
_OBJECT: Json = {"type": "object"}
_MODEL = _STRING | {"minLength": 1, "maxLength": 256, "description": "`provider/model`, such as `openai/gpt-4o-mini`."}
_FILE = _STRING | {"contentMediaType": "application/octet-stream"}
_TIME = _STRING | {"format": "date-time"}
_ID = _STRING | {"format": "uuid"}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _one_of(possible: str) -> Json:
    return {"enum": possible.split()}


def _object(required: str, **fields: Json) -> Json:
    return {"type": "object", "required": required.split(), "properties": fields}


def _job(required: str, statuses: str, **more: Json) -> Json:
    return _object(required, id=_ID, request_id=_STRING, status=_one_of(statuses), created_at=_TIME, **more)


_ERROR = _object(
    "is_bifrost_error error extra_fields",
    is_bifrost_error={"type": "boolean"},
    status_code=_INTEGER,
    error=_object("message", message=_STRING, type=_STRING, code=_STRING, param={}),
    extra_fields=_OBJECT,
)
_ENDED = _job(
    "id status created_at completed_at expires_at status_code",
    "completed failed",
    completed_at=_TIME,
    expires_at=_TIME | {"description": "From then on the job is unknown."},
    status_code=_INTEGER,
    result=_OBJECT | {"description": "What the provider answered, with `extra_fields`. Completed jobs only."},
    error={"$ref": "#/components/schemas/Error"},
    requeued_as=_ID | {"description": _REQUEUED},
)
_LISTED_MODEL = _object(
    "id object created owned_by", id=_STRING, object={"const": "model"}, created=_INTEGER, owned_by=_STRING
)

_COMPONENTS: Json = {
    "securitySchemes": {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A virtual key, `sk-bf-...`."},
        "virtualKey": {"type": "apiKey", "in": "header", "name": "x-bf-vk"},
    },
    "schemas": {
        "Error": _ERROR,
        "PendingJob": _job("id status created_at", "pending processing"),
        "EndedJob": _ENDED,
        "Response": _object(
            "id object status output",
            id=_STRING,
            object={"const": "response"},
            status=_one_of("pending processing queued in_progress completed failed incomplete cancelled"),
            output=_array(_OBJECT),
        ),
        "Models": _object("object data", object={"const": "list"}, data=_array(_LISTED_MODEL)),
        "Health": _object("status", status={"const": "ok"}),
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


def _parameter(name: str, description: str, where: str = "header", **schema: Any) -> Json:
    described = {"description": description, "schema": _STRING | schema}
    return {"name": name, "in": where, "required": where == "path", **described}


_SUBMIT_HEADERS = [
    _parameter("Idempotency-Key", _REPEATABLE, minLength=1, maxLength=255, pattern="^[!-~]+$"),
    _parameter("x-bf-async-job-result-ttl", "Seconds to keep the result after the job ended."),
    _parameter("x-coatcheck-deadline", "Seconds after which the job fails with 504.", type="integer", minimum=1),
    _parameter("x-bf-passthrough-extra-params", "`true` sends unknown body fields to the provider too."),
    _parameter("x-request-id", "Comes back in every answer; one that is odd is replaced."),
]
_DROP_IN_HEADERS = [
    _parameter("x-bf-async", "`true` submits a job and answers at once."),
    _parameter("x-bf-async-id", "Retrieves this job; the body is ignored."),
]
_JOB_ID = _parameter("job_id", "The id from the answer to the submit.", "path")
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until a poll is worth while.", "schema": _INTEGER}}
_LOCATION = {"Location": {"description": "Where to collect.", "schema": _STRING}}


def _answer(description: str, schema: str, **more: Json) -> Json:
    """An answer with a JSON body of a named schema."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, **more, "content": content}


def _errors(*statuses: int) -> Json:
    return {str(status): _answer(_REASONS[status], "Error") for status in statuses}


def document(version: str) -> Json:
    types = {endpoint.request_type: endpoint.json for endpoint in CATALOGUE if endpoint.json}
    references, schemas = msgspec.json.schema_components(types.values(), ref_template="#/components/schemas/{name}")
    by_type = dict(zip(types, references, strict=True))
    paths: Json = {}
    for endpoint in CATALOGUE:
        if endpoint.json is not None:
            _refine(schemas[endpoint.json.__name__], tuple(endpoint.json.REQUIRED), endpoint.stream_rule)
        paths[endpoint.path] = {"post": _submit(endpoint, by_type.get(endpoint.request_type))}
        paths[f"{endpoint.path}/{{job_id}}"] = {"parameters": [_JOB_ID], "get": _collect(endpoint)}
    for path in RESPONSES_PATHS:
        paths[path] = {"post": _create_response(path, by_type["responses"])}
        paths[f"{path}/{{job_id}}"] = {"parameters": [_JOB_ID], "get": _retrieve_response(path)}
    paths |= {path: {"get": _list_models(path)} for path in MODEL_PATHS}
    paths |= {path: {"get": _health(path, summary)} for path, summary in _HEALTH.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coatcheck", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{}, {"bearer": []}, {"virtualKey": []}],
        "paths": paths,
        "components": {**_COMPONENTS, "schemas": {**_COMPONENTS["schemas"], **schemas}},
    }


def _refine(schema: Json, required: tuple[str, ...], stream_rule: StreamRule) -> None:
    """Say what must be there and not be empty: the decoder leaves that to checks with better words."""
    schema["required"] = ["model", *required]
    fields = schema["properties"]
    for name in required:
        options = [_filled(option) for option in fields[name]["anyOf"] if option != {"type": "null"}]
        fields[name] = options[0] if len(options) == 1 else {"anyOf": options}
    fields["model"] = _MODEL
    if stream_rule == "stream":
        fields["stream"] = {"enum": [False, None], "description": "A job cannot stream."}


def _filled(option: Json) -> Json:
    return option | {"minItems": 1} if option.get("type") == "array" else option


def _operation(tag: str, name: str, summary: str, responses: Json, **more: Any) -> Json:
    named = {"tags": [tag], "operationId": name.replace("/", "_"), "summary": summary}
    return {**named, **more, "responses": responses}


def _submit(endpoint: Endpoint, body: Json | None) -> Json:
    form = endpoint.form
    content = {"multipart/form-data": {"schema": _form(form)}} if form else {"application/json": {"schema": body}}
    collect = {
        "operationId": f"collect_{endpoint.request_type}",
        "parameters": {"job_id": "$response.body#/id"},
        "description": "The id of this answer collects the job.",
    }
    repeated = "A repeated submit: the job of this Idempotency-Key has ended, look at `status`."
    responses = {
        "200": _answer(repeated, "EndedJob", headers=_LOCATION),
        "202": _answer("The job is stored and will end.", "PendingJob", headers=_LOCATION | _RETRY_AFTER)
        | {"links": {"collect": collect}},
        **_errors(400, 401, 403, 408, 413, 415, 417, 422, 431, 500, 503),
    }
    body_or_form = {"required": True, "content": content}
    name = f"submit_{endpoint.request_type}"
    return _operation(
        endpoint.modality, name, endpoint.summary, responses, parameters=_SUBMIT_HEADERS, requestBody=body_or_form
    )


def _collect(endpoint: Endpoint) -> Json:
    responses = {
        "200": _answer("The job has ended: look at `status`.", "EndedJob"),
        "202": _answer("The job waits or runs.", "PendingJob", headers=_RETRY_AFTER),
        **_errors(400, 404, 431, 500, 503),
    }
    name, summary = f"collect_{endpoint.request_type}", f"Collect: {endpoint.summary.lower()}"
    waits = "With `Prefer: wait=N` the answer comes when the job ends, after at most N and 20 seconds."
    return _operation(endpoint.modality, name, summary, responses, description=waits)


def _create_response(path: str, body: Json) -> Json:
    responses = {
        "200": _answer("The response, finished or not.", "Response"),
        **_errors(400, 401, 403, 404, 408, 413, 415, 417, 422, 431, 500, 503, 504),
        "default": _answer("The stored error of a failed job, under its own status.", "Error"),
    }
    return _operation(
        "drop-in",
        f"create{path}",
        "Create a model response: in the background, or waiting for it",
        responses,
        parameters=_SUBMIT_HEADERS + _DROP_IN_HEADERS,
        requestBody={"required": False, "content": {"application/json": {"schema": body}}},
    )


def _retrieve_response(path: str) -> Json:
    stream = {"name": "stream", "in": "query", "required": False, "schema": {"type": "boolean", "const": False}}
    responses = {"200": _answer("The response as far as it is.", "Response"), **_errors(400, 404, 431, 500, 503)}
    summary = "Retrieve a model response made in the background"
    return _operation("drop-in", f"retrieve{path}", summary, responses, parameters=[stream])


def _list_models(path: str) -> Json:
    responses = {"200": _answer("Models named by the configuration.", "Models"), **_errors(400, 401, 431, 500, 503)}
    return _operation("models", f"list{path}", "List the models that this key may use", responses)


def _health(path: str, summary: str) -> Json:
    responses = {"200": _answer("Yes.", "Health"), **_errors(400, 431, 500, 503)}
    return _operation("health", path[1:], summary, responses, security=[{}])


def _form(form: FormSchema) -> Json:
    fields: Json = dict.fromkeys(sorted(COMMON_TEXTS | form.texts), _STRING)
    fields |= dict.fromkeys(sorted(form.integers), _INTEGER)
    fields |= dict.fromkeys(sorted(form.other_files), _FILE)
    fields |= {name: _array(_FILE) if name.endswith("[]") else _FILE for name in form.files}
    fields["model"] = _MODEL
    schema: Json = {"type": "object", "properties": fields, "required": ["model"]}
    if len(form.files) == 1:
        schema["required"].append(form.files[0])
    else:
        schema["anyOf"] = [{"required": [name]} for name in form.files]
    return schema
