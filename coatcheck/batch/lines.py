"""One line of a batch file, in and out: OpenAI's format as values, and what is wrong with a line in a sentence."""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
import uuid
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coatcheck_client import ApiError, FileSource, Job, Submission, UnknownRequestType, endpoint_of
from coatcheck_client.endpoints import Endpoint

FILE_FIELDS = frozenset({"file", "image", "image[]", "mask"})
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_RUN = 65536
"""Ids sorted at a time: as Python numbers they take five times their room."""


class BatchError(Exception):
    """A batch cannot begin or go on; the message is for the person at the shell."""


class BadInput(BatchError):
    """The input, output or errors file is not usable as it is; nothing was submitted."""


class Stopped(BatchError):
    """The batch ended before its last line; what is written stays, and the same command goes on from there."""


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
    custom_id: str
    endpoint: Endpoint
    body: dict[str, Any] = field(repr=False)
    files: dict[str, FileSource] | None = field(default=None, repr=False)

    def submission(self, run: str, attempt: int) -> Submission:
        """The request of this line. Its key is the same in every run of the command that has the same `run`."""
        body = self.body if self.endpoint.body == "multipart" else encode(self.body)
        digest = hashlib.sha256(Submission(self.endpoint.name, body, self.files).encode().content)
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
        fields, files = _split_form(body, options.files_root)
    except ValueError as error:
        raise LineProblem(str(error)) from None
    return Line(custom_id, endpoint, fields, files)


def ended_line(custom_id: str, job: Job) -> bytes:
    body = job.result if job.succeeded else job.error
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


def fold(custom_id: str) -> int:
    """64 bits that stand for a custom_id. Among a million ids the chance that any two are alike is 3 in 10^8."""
    return int.from_bytes(hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class IdSet:
    """A set of custom_ids at 8 bytes each once it is made, so that millions of lines fit into memory."""

    """Made once, of folded ids, then asked."""

    def __init__(self, folded: array[int]) -> None:
        runs = (folded[start : start + _RUN] for start in range(0, len(folded), _RUN))
        self._folded = array("Q", heapq.merge(*(array("Q", sorted(run)) for run in runs)))

    def __len__(self) -> int:
        return len(self._folded)

    def __contains__(self, custom_id: str) -> bool:
        folded = fold(custom_id)
        place = bisect_left(self._folded, folded)
        return place < len(self._folded) and self._folded[place] == folded

    def repeated(self) -> Iterator[int]:
        for place in range(1, len(self._folded)):
            if self._folded[place] == self._folded[place - 1]:
                yield self._folded[place]


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
    if not isinstance(url, str) or not url.startswith("/"):
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


def _split_form(body: dict[str, Any], root: Path | None) -> tuple[dict[str, Any], dict[str, FileSource]]:
    """Fields and files of a form. `@NAME` is read below `root`; `ValueError` says what is wrong."""
    fields = {name: value for name, value in body.items() if name not in FILE_FIELDS}
    files: dict[str, FileSource] = {}
    for name in body.keys() & FILE_FIELDS:
        values = body[name] if isinstance(body[name], list) else [body[name]]
        files[name] = [_file(name, value, root) for value in values]
    return fields, files


def _file(name: str, value: object, root: Path | None) -> FileSource:
    if isinstance(value, str) and value.startswith("data:"):
        return _from_data_url(name, value)
    if isinstance(value, str) and value.startswith("@"):
        return _below(value[1:], root)
    raise ValueError(f"body.{name} must be a data URL, or @NAME of a file in the folder given with --files")


def _from_data_url(name: str, url: str) -> FileSource:
    head, comma, data = url.removeprefix("data:").partition(",")
    media_type = head.removesuffix(";base64").partition(";")[0]
    if not comma or not head.endswith(";base64") or not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"body.{name} must be a data URL with base64, like data:audio/wav;base64,UklGRg==")
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"body.{name} is not base64: {error}") from None
    # Providers tell formats by the extension. The system's own tables differ between machines.
    subtype = media_type.partition("/")[2].removeprefix("x-")
    extension = {"mpeg": "mp3", "octet-stream": "bin"}.get(subtype, subtype)
    return f"{name.removesuffix('[]')}.{extension}", content, media_type


def _below(relative: str, root: Path | None) -> Path:
    """A batch file may come from anywhere, so it reads only what its user has allowed."""
    if root is None:
        raise ValueError(f"@{relative} is a file: name the folder it may be read from with --files")
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"@{relative} is outside of {root}")
    if not path.is_file():
        raise ValueError(f"@{relative} is not a file in {root}")
    return path
