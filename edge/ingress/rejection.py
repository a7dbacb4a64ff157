"""The answer to a request that is turned away below the application: the error, its body, the raw bytes, its id."""

from __future__ import annotations

import http
import random
import re
from collections.abc import Sequence

import msgspec

from shared.domain.errors import Refusal

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "invalid_request_error",
    505: "invalid_request_error",
}
_NAMED = re.compile(r"(?:(?:field|header|parameter|file part) '([^']{1,200})'|(?:model|provider|unknown provider) ')")
_adoptable = re.compile(rb"[\x20-\x7e]{1,128}").fullmatch


class RequestRejected(Refusal):
    """The application must let it pass: the guard answers. `reason` is one of a fixed set, fit for a metric label."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after, code=reason)
        self.status = status
        self.reason = reason


def error_body(status: int, message: str, code: str) -> bytes:
    """The JSON body of every error answer. `param` is the field, part, header or parameter that begins `message`."""
    if not message.isprintable():  # it quotes the client, and is printed on terminals and into logs
        message = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    detail = {"message": message, "type": kind, "code": code}
    if named := _NAMED.match(message):
        detail["param"] = named[1] or "model"
    return msgspec.json.encode({"is_bifrost_error": False, "status_code": status, "error": detail, "extra_fields": {}})


def last_answer(refusal: Refusal, *more: tuple[bytes, bytes]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers, with `more`, and body of an error answer after which the connection ends."""
    body = error_body(refusal.status, refusal.message, refusal.code)
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close"), *more]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    return headers, body


def raw_answer(refusal: Refusal, *more: tuple[bytes, bytes]) -> bytes:
    """A whole HTTP/1.1 answer, for requests so broken that no application can be asked."""
    headers, body = last_answer(refusal, *more, (b"x-request-id", new_request_id().encode()))
    status = f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}".encode()
    return b"\r\n".join([status, *(name + b": " + value for name, value in headers), b"", body])


def request_id_from(values: Sequence[bytes] | None) -> str:
    """The client's id, the first of several, unless it could forge log lines: that is no reason to refuse a request."""
    return values[0].decode("ascii") if values and _adoptable(values[0]) else new_request_id()


def new_request_id() -> str:
    """A UUID v4. Not a secret, so the fast generator will do (uuid4 costs seven times as much)."""
    text = random.getrandbits(128).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def shown(value: bytes) -> str:
    """A client's bytes as quoted, shortened, printable text."""
    return ascii(value[:60].decode("latin-1") + ("..." if len(value) > 60 else ""))
