"""What the door says to a request that it turns away: the error, its JSON body, and the raw bytes of a whole answer."""

from __future__ import annotations

import http

import msgspec

from shared.errors import Refusal


class DoorRefusal(Refusal):
    """A request turned away before it could become a job.

    `reason` is one of a fixed set of words, fit for a metric label. The application must let this error pass: an
    error handler that re-raises it is enough, since the guard answers for it.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.reason = reason


def error_body(status: int, message: str) -> bytes:
    """The JSON body of every error answer. Messages quote clients, and are printed on terminals and into logs."""
    if not message.isprintable():
        message = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message)
    error = {"is_bifrost_error": False, "status_code": status, "error": {"message": message}, "extra_fields": {}}
    return msgspec.json.encode(error)


def error_headers(refusal: Refusal, body: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of an error answer after which the connection ends, without the request id."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    return headers


def raw_answer(refusal: Refusal, request_id: str) -> bytes:
    """A whole HTTP/1.1 answer, for requests so broken that no application can be asked."""
    body = error_body(refusal.status, refusal.message)
    lines = [f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}".encode()]
    headers = [*error_headers(refusal, body), (b"x-request-id", request_id.encode())]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def shown(value: bytes) -> str:
    """A client's bytes as quoted, shortened, printable text for a message."""
    text = value[:60].decode("latin-1") + ("..." if len(value) > 60 else "")
    return ascii(text)
