"""What a caller hands in, and its encoding as the bytes of one request that can be sent any number of times."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

from coatcheck_client.endpoints import Endpoint, endpoint_of
from coatcheck_client.form import Part, encode_form, field_parts

FileSource: TypeAlias = (
    bytes | os.PathLike[str] | IO[bytes] | tuple[str, bytes] | tuple[str, bytes, str] | list["FileSource"]
)
"""A file to send: its bytes, path, open file, (name, bytes) or (name, bytes, content type); a list repeats the part."""

TTL_HEADER = "x-bf-async-job-result-ttl"
DEADLINE_HEADER = "x-coatcheck-deadline"
KEY_HEADER = "idempotency-key"
LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Submission:
    """One request for `map`: the arguments of `submit` as a value.

    A key is chosen here and not when the request is sent, so that a submission handed in twice is one job.
    """

    request_type: str
    body: Mapping[str, Any] | bytes = field(repr=False)
    files: Mapping[str, FileSource] | None = field(default=None, repr=False)
    idempotency_key: str = field(default="", kw_only=True)
    ttl: int | None = field(default=None, kw_only=True)
    deadline: int | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if not self.idempotency_key:
            object.__setattr__(self, "idempotency_key", str(uuid.uuid4()))

    def encode(self) -> Encoded:
        """The request as bytes. Reads the files; `ValueError` and `TypeError` say which argument is wrong."""
        endpoint = endpoint_of(self.request_type)
        content, content_type = self._content(endpoint)
        return Encoded(endpoint, content, {**self._headers(), "content-type": content_type})

    def _content(self, endpoint: Endpoint) -> tuple[bytes, str]:
        if endpoint.body == "json":
            if self.files:
                raise ValueError(f"{endpoint.name} takes a JSON body, not files")
            return encode_json(self.body), "application/json"
        if isinstance(self.body, bytes):
            raise TypeError(f"{endpoint.name} takes form fields: give the body as a mapping")
        parts = field_parts(self.body)
        for name, source in (self.files or {}).items():
            parts += file_parts(name, source)
        return encode_form(parts)

    def _headers(self) -> dict[str, str]:
        headers = {name.lower(): value for name, value in (self.headers or {}).items()}
        if KEY_HEADER in headers:
            raise ValueError("give the Idempotency-Key as idempotency_key=, not as a header")
        headers[KEY_HEADER] = checked_key(self.idempotency_key)
        for name, header, seconds in (("ttl", TTL_HEADER, self.ttl), ("deadline", DEADLINE_HEADER, self.deadline)):
            if seconds is None:
                continue
            if seconds <= 0 or seconds != int(seconds):
                raise ValueError(f"{name} must be a whole number of seconds above 0, not {seconds!r}")
            headers[header] = str(int(seconds))
        return headers


@dataclass(frozen=True, slots=True)
class Encoded:
    """A submission ready to send; `headers` have lower-case names."""

    endpoint: Endpoint
    content: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def checked_key(key: str) -> str:
    """The key itself, if it can travel as a header: 1 to 255 visible ASCII characters."""
    if 0 < len(key) <= LONGEST_KEY and all("!" <= character <= "~" for character in key):
        return key
    raise ValueError(f"idempotency_key must be 1 to {LONGEST_KEY} visible ASCII characters")


def encode_json(body: Mapping[str, Any] | bytes) -> bytes:
    """Bytes are sent as they are; a mapping becomes compact UTF-8 JSON."""
    if isinstance(body, bytes):
        return body
    if not isinstance(body, Mapping):
        raise TypeError(f"the body must be a mapping or bytes, not {type(body).__name__}")
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the body holds text that is not Unicode: {error.reason}") from None


def file_parts(name: str, source: FileSource) -> list[Part]:
    """Read a file, or several, to the end. Nameless bytes are sent under the part's own name."""
    if isinstance(source, list):
        return [part for one in source for part in file_parts(name, one)]
    if isinstance(source, bytes):
        return [Part(name, source, filename=name)]
    if isinstance(source, tuple):
        filename, data, *media_type = source
        return [Part(name, data, filename=filename, media_type=media_type[0] if media_type else "")]
    if isinstance(source, os.PathLike):
        path = Path(source)
        return [Part(name, path.read_bytes(), filename=path.name)]
    filename = getattr(source, "name", name)
    return [Part(name, source.read(), filename=Path(filename).name if isinstance(filename, str) else name)]
