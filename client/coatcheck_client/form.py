"""multipart/form-data as bytes: the same fields and files always give the same bytes, so retries match."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class Part:
    """One part; a `filename` makes it a file."""

    name: str
    data: bytes
    filename: str = ""
    media_type: str = ""

    def head(self) -> bytes:
        """The part's headers with the blank line that ends them."""
        disposition = f'form-data; name="{self.name.translate(_ESCAPES)}"'
        if not self.filename:
            return f"Content-Disposition: {disposition}\r\n\r\n".encode()
        media_type = self.media_type or mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        disposition += f'; filename="{self.filename.translate(_ESCAPES)}"'
        return f"Content-Disposition: {disposition}\r\nContent-Type: {media_type.translate(_ESCAPES)}\r\n\r\n".encode()


def field_parts(fields: Mapping[str, Any]) -> list[Part]:
    """Text parts of a form. A list repeats its part, None leaves it out, an object (or a list of objects) is JSON."""
    parts: list[Part] = []
    for name, value in fields.items():
        if isinstance(value, (list, tuple)) and not any(isinstance(one, Mapping) for one in value):
            parts += [Part(name, _text(one)) for one in value]
        elif value is not None:
            parts.append(Part(name, _text(value)))
    return parts


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


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if value is None:
        raise TypeError("a form field cannot be None inside a list")
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
