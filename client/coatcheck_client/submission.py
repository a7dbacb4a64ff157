"""What a caller hands in, as bytes of JSON or a form: the same ones each time, so that a retry is the same request."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

from coatcheck_client.endpoints import Endpoint, endpoint_of

FileSource: TypeAlias = (
    bytes | os.PathLike[str] | IO[bytes] | tuple[str, bytes] | tuple[str, bytes, str] | list["FileSource"]
)
"""A file to send: its bytes, path, open file, (name, bytes) or (name, bytes, content type); a list repeats the part."""

TTL_HEADER = "x-bf-async-job-result-ttl"
DEADLINE_HEADER = "x-coatcheck-deadline"
KEY_HEADER = "idempotency-key"
LONGEST_KEY = 255
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class Submission:
    """One request for `map`: the arguments of `submit` as a value. Its key is chosen here: handed in twice, one job."""

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
            return _encode_json(self.body), "application/json"
        if isinstance(self.body, bytes):
            raise TypeError(f"{endpoint.name} takes form fields: give the body as a mapping")
        parts = _field_parts(self.body)
        parts += [part for name, source in (self.files or {}).items() for part in _file_parts(name, source)]
        return encode_form(parts)

    def _headers(self) -> dict[str, str]:
        headers = {name.lower(): value for name, value in (self.headers or {}).items()}
        if KEY_HEADER in headers:
            raise ValueError("give the Idempotency-Key as idempotency_key=, not as a header")
        key = headers[KEY_HEADER] = self.idempotency_key
        if not 0 < len(key) <= LONGEST_KEY or not all("!" <= character <= "~" for character in key):
            raise ValueError(f"idempotency_key must be 1 to {LONGEST_KEY} visible ASCII characters")
        for name, header, seconds in (("ttl", TTL_HEADER, self.ttl), ("deadline", DEADLINE_HEADER, self.deadline)):
            if seconds is not None:
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


def _encode_json(body: Mapping[str, Any] | bytes) -> bytes:
    """Bytes are sent as they are; a mapping becomes compact UTF-8 JSON."""
    if isinstance(body, bytes):
        return body
    if not isinstance(body, Mapping):
        raise TypeError(f"the body must be a mapping or bytes, not {type(body).__name__}")
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the body holds text that is not Unicode: {error.reason}") from None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form; a `filename` makes it a file."""

    name: str
    data: bytes
    filename: str = ""
    media_type: str = ""

    def head(self) -> bytes:
        disposition = f'form-data; name="{self.name.translate(_ESCAPES)}"'
        if not self.filename:
            return f"Content-Disposition: {disposition}\r\n\r\n".encode()
        media_type = self.media_type or mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        disposition += f'; filename="{self.filename.translate(_ESCAPES)}"'
        return f"Content-Disposition: {disposition}\r\nContent-Type: {media_type.translate(_ESCAPES)}\r\n\r\n".encode()


def encode_form(parts: Iterable[Part]) -> tuple[bytes, str]:
    """The body and its Content-Type. The boundary is a hash of all parts: fixed for them, and in none of them."""
    parts = list(parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.head())
        digest.update(part.data)
    boundary = f"coatcheck-{digest.hexdigest()[:40]}"
    body = b"".join(b"--%b\r\n%b%b\r\n" % (boundary.encode(), part.head(), part.data) for part in parts)
    return body + b"--%b--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}"


def _field_parts(fields: Mapping[str, Any]) -> list[Part]:
    """A list repeats its part, None leaves it out, an object (or a list of objects) is JSON."""
    parts: list[Part] = []
    for name, value in fields.items():
        if isinstance(value, (list, tuple)) and not any(isinstance(one, Mapping) for one in value):
            parts += [Part(name, _text(one)) for one in value]
        elif value is not None:
            parts.append(Part(name, _text(value)))
    return parts


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if value is None:
        raise TypeError("a form field cannot be None inside a list")
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _file_parts(name: str, source: FileSource) -> list[Part]:
    """Read a file, or several, to the end. Nameless bytes are sent under the part's own name."""
    if isinstance(source, list):
        return [part for one in source for part in _file_parts(name, one)]
    if isinstance(source, bytes):
        return [Part(name, source, name)]
    if isinstance(source, tuple):
        filename, data, *media_type = source
        return [Part(name, data, filename, media_type[0] if media_type else "")]
    if isinstance(source, os.PathLike):
        path = Path(source)
        return [Part(name, path.read_bytes(), path.name)]
    opened = getattr(source, "name", name)
    return [Part(name, source.read(), Path(opened).name if isinstance(opened, str) else name)]
