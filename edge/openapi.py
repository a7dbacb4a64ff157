"""The OpenAPI 3.1 document, made from the catalogue and the request schemas: it cannot disagree with the routes."""

from __future__ import annotations

from typing import Any

import msgspec

from edge.openapi_answers import COMPONENTS, error, error_object, headers, json_body, ticket_headers
from edge.resources.models import PATHS as MODEL_PATHS
from edge.resources.responses import PATHS as RESPONSES_PATHS
from shared.catalogue import CATALOGUE, Endpoint, StreamRule
from shared.form_schema import COMMON_TEXTS, FormSchema

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_MODEL = "`provider/model`, such as `openai/gpt-4o-mini`."
_DESCRIPTION = (
    "Hand in an AI request, get a ticket, come back for the result. POST on an endpoint answers 202 with a job id; "
    "GET on the id answers 202 while the job runs and 200 once it is completed or failed. "
    "An accepted job always ends."
)


def document(version: str) -> Json:
    """The whole document."""
    types = {endpoint.request_type: endpoint.json for endpoint in CATALOGUE if endpoint.json}
    references, schemas = msgspec.json.schema_components(types.values(), ref_template=_REF)
    by_type = dict(zip(types, references, strict=True))
    for endpoint in CATALOGUE:
        if endpoint.json is not None:
            _refine(schemas[endpoint.json.__name__], endpoint.json.REQUIRED, endpoint.stream_rule)
    paths: Json = {}
    for endpoint in CATALOGUE:
        paths[endpoint.path] = {"post": _submit(endpoint, by_type.get(endpoint.request_type))}
        paths[f"{endpoint.path}/{{job_id}}"] = {"parameters": [_JOB_ID], "get": _collect(endpoint)}
    for path in RESPONSES_PATHS:
        paths[path] = {"post": _create_response(path, by_type["responses"])}
        paths[f"{path}/{{job_id}}"] = {"parameters": [_JOB_ID], "get": _retrieve_response(path)}
    paths |= _models() | _health()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coatcheck", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{}, {"bearer": []}, {"virtualKey": []}],
        "paths": paths,
        "components": {**COMPONENTS, "schemas": {**COMPONENTS["schemas"], **schemas}},
    }


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
_JOB_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "The id from the answer to the submit.",
    "schema": {"type": "string"},
}


def _refine(schema: Json, required: tuple[str, ...], stream_rule: StreamRule) -> None:
    """Say what must be there and not be empty: the decoder leaves that to checks with better words."""
    schema["required"] = ["model", *required]
    fields = schema["properties"]
    for name in required:
        options = [_filled(option) for option in fields[name]["anyOf"] if option != {"type": "null"}]
        fields[name] = options[0] if len(options) == 1 else {"anyOf": options}
    fields["model"] = {"type": "string", "minLength": 1, "maxLength": 256, "description": _MODEL}
    if stream_rule == "stream":
        fields["stream"] = {"enum": [False, None], "description": "A job cannot stream."}


def _filled(option: Json) -> Json:
    return option | {"minItems": 1} if option.get("type") == "array" else option


def _submit(endpoint: Endpoint, body: Json | None) -> Json:
    form = endpoint.form
    content = {"multipart/form-data": {"schema": _form(form)}} if form else {"application/json": {"schema": body}}
    return {
        "tags": [endpoint.modality],
        "operationId": f"submit_{endpoint.request_type}",
        "summary": endpoint.summary,
        "parameters": headers("submit"),
        "requestBody": {"required": True, "content": content},
        "responses": {
            "202": {
                "description": "The job is stored and will end.",
                "headers": ticket_headers(),
                "content": json_body("PendingJob"),
                "links": {
                    "collect": {
                        "operationId": f"collect_{endpoint.request_type}",
                        "parameters": {"job_id": "$response.body#/id"},
                        "description": "The id of this answer collects the job.",
                    }
                },
            },
            **error(400, 401, 403, 408, 413, 415, 417, 422, 431, 500, 503),
        },
    }


def _collect(endpoint: Endpoint) -> Json:
    return {
        "tags": [endpoint.modality],
        "operationId": f"collect_{endpoint.request_type}",
        "summary": f"Collect: {endpoint.summary.lower()}",
        "description": "With `Prefer: wait=N` the answer comes when the job ends, after at most N and 20 seconds.",
        "responses": {
            "200": {"description": "The job has ended: look at `status`.", "content": json_body("EndedJob")},
            "202": {
                "description": "The job waits or runs.",
                "headers": {"Retry-After": ticket_headers()["Retry-After"]},
                "content": json_body("PendingJob"),
            },
            **error(400, 404, 431, 500, 503),
        },
    }


def _create_response(path: str, body: Json) -> Json:
    return {
        "tags": ["drop-in"],
        "operationId": f"create{path.replace('/', '_')}",
        "summary": "Create a model response: in the background, or waiting for it",
        "parameters": headers("submit") + headers("drop-in"),
        "requestBody": {"required": False, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The response, finished or not.", "content": json_body("Response")},
            **error(400, 401, 403, 404, 408, 413, 415, 417, 422, 431, 500, 503, 504),
            "default": error_object("The stored error of a failed job, under its own status."),
        },
    }


def _retrieve_response(path: str) -> Json:
    stream = {"name": "stream", "in": "query", "required": False, "schema": {"type": "boolean", "const": False}}
    return {
        "tags": ["drop-in"],
        "operationId": f"retrieve{path.replace('/', '_')}",
        "summary": "Retrieve a model response made in the background",
        "parameters": [stream],
        "responses": {
            "200": {"description": "The response as far as it is.", "content": json_body("Response")},
            **error(400, 404, 431, 500, 503),
        },
    }


def _models() -> Json:
    answer = {
        "200": {"description": "Models named by the configuration.", "content": json_body("Models")},
        **error(400, 401, 431, 500, 503),
    }
    return {
        path: {
            "get": {
                "tags": ["models"],
                "operationId": f"list{path.replace('/', '_')}",
                "summary": "List the models that this key may use",
                "responses": answer,
            }
        }
        for path in MODEL_PATHS
    }


def _health() -> Json:
    texts = {
        "/livez": "The process is alive",
        "/readyz": "Requests can be served now",
        "/health": "The stores are reachable",
    }
    return {
        path: {
            "get": {
                "tags": ["health"],
                "operationId": path.strip("/"),
                "summary": text,
                "security": [{}],
                "responses": {
                    "200": {"description": "Yes.", "content": json_body("Health")},
                    **error(400, 431, 500, 503),
                },
            }
        }
        for path, text in texts.items()
    }


def _form(form: FormSchema) -> Json:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fields: Json = {name: {"type": "string"} for name in sorted(COMMON_TEXTS | form.texts)}
    fields |= {name: {"type": "integer"} for name in sorted(form.integers)}
    fields |= dict.fromkeys(sorted(form.other_files), file)
    fields |= {name: {"type": "array", "items": file} if name.endswith("[]") else file for name in form.files}
    fields["model"] = {"type": "string", "minLength": 1, "maxLength": 256, "description": _MODEL}
    schema: Json = {"type": "object", "properties": fields, "required": ["model"]}
    if len(form.files) == 1:
        schema["required"].append(form.files[0])
    else:
        schema["anyOf"] = [{"required": [name]} for name in form.files]
    return schema
