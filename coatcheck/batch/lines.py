"""One line of a batch file, in and out: OpenAI's format as values, and what is wrong with a line in a sentence."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coatcheck_client import ApiError, FileSource, Job, Submission, UnknownRequestType, endpoint_of
from coatcheck_client.endpoints import Endpoint

from coatcheck.batch.forms import split_form


class LineProblem(ValueError):
    """What is wrong with a line."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about every line. `provider` goes before models that do not name it."""

    provider: str = ""
    files_root: Path | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the input file."""

    custom_id: str
    endpoint: Endpoint
    body: dict[str, Any] = field(repr=False)
    files: dict[str, FileSource] | None = field(default=None, repr=False)

    def submission(self, run: str, attempt: int) -> Submission:
        """The request of this line. Its key is the same in every run of the command that has the same `run`."""
        body = self.body if self.endpoint.body == "multipart" else encode(self.body)
        unkeyed = Submission(self.endpoint.name, body, self.files)
        content = unkeyed.encode().content
        digest = hashlib.sha256(content)
        digest.update(json.dumps([run, attempt, self.custom_id, self.endpoint.name]).encode())
        key = str(uuid.UUID(bytes=digest.digest()[:16]))
        return Submission(self.endpoint.name, body, self.files, idempotency_key=key)


def read_line(text: bytes, options: Options) -> Line:
    """Read one line of the input; `LineProblem` says what is wrong."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise LineProblem(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise LineProblem("not a JSON object")
    custom_id, body = value.get("custom_id"), value.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        raise LineProblem("custom_id is missing or not a text")
    if value.get("method", "POST") != "POST":
        raise LineProblem(f"method must be POST, not {value['method']!r}")
    if not isinstance(body, dict):
        raise LineProblem("body is missing or not an object")
    endpoint = _endpoint(value.get("url"))
    body = _with_provider(body, options.provider)
    if endpoint.body == "json":
        return Line(custom_id, endpoint, body)
    try:
        fields, files = split_form(body, options.files_root)
    except ValueError as error:
        raise LineProblem(str(error)) from None
    return Line(custom_id, endpoint, fields, files)


def ended_line(custom_id: str, job: Job) -> bytes:
    """The output line of a job that ended: its result, or the failure in the place of one."""
    body = job.error if job.status == "failed" else job.result
    return _output(job.id, custom_id, job.status_code or 200, job.request_id or job.id, body)


def refused_line(custom_id: str, key: str, error: ApiError) -> bytes:
    """The output line of a request that the server refused: there is no job, so the key stands in for its id."""
    body = error.body if isinstance(error.body, dict) else {"error": {"message": error.message}}
    return _output(key, custom_id, error.status, error.request_id, body)


def custom_id_of(text: bytes) -> str:
    """The custom_id of an output line; `ValueError` when the line was not written by a batch."""
    value = json.loads(text)
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    if not isinstance(custom_id, str):
        raise ValueError("no custom_id")
    return custom_id


def encode(value: Any) -> bytes:
    """JSON as UTF-8; text that is not Unicode, such as half of a surrogate pair, stays escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _output(line_id: str, custom_id: str, status: int, request_id: str, body: Any) -> bytes:
    response = {"status_code": status, "request_id": request_id, "body": body}
    return encode({"id": line_id, "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def _endpoint(url: object) -> Endpoint:
    if not isinstance(url, str) or not url.startswith("/v1/"):
        raise LineProblem("url must be a path such as /v1/embeddings")
    try:
        return endpoint_of(url)
    except UnknownRequestType as error:
        raise LineProblem(str(error)) from None


def _with_provider(body: dict[str, Any], provider: str) -> dict[str, Any]:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise LineProblem("body.model is missing or not a text")
    if not provider or model.startswith(f"{provider}/"):
        return body
    return {**body, "model": f"{provider}/{model}"}
