"""The HTTP of the API without any I/O: requests as values, answers as values, and what an answer means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from coatcheck_client.endpoints import Endpoint
from coatcheck_client.errors import ApiError
from coatcheck_client.job import Job, error_message, from_envelope

EXCERPT = 200
"""Characters of an answer that is no error object, quoted in the error's message."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


def get_request(endpoint: Endpoint, job_id: str) -> Request:
    """Any id is safe to put into the path."""
    return Request("GET", f"{endpoint.path}/{quote(job_id, safe='')}")


def read_job(endpoint: Endpoint, reply: Reply) -> Job:
    """The job that an answer describes; raises `ApiError` for anything else, a page of a proxy included."""
    if reply.status not in (200, 202):
        raise read_error(reply)
    try:
        return from_envelope(endpoint, json.loads(reply.content), read_retry_after(reply))
    except ValueError as error:
        raise ApiError(reply.status, f"no job in the answer: {error}", reply.request_id) from None


def read_error(reply: Reply) -> ApiError:
    body: Any = None
    try:
        body = json.loads(reply.content)
    except ValueError:
        message = reply.content[:EXCERPT].decode("utf-8", "replace").strip()
    else:
        message = error_message(body) or str(body)[:EXCERPT]
    return ApiError(reply.status, message or "no message", reply.request_id, body, read_retry_after(reply))


def read_retry_after(reply: Reply) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date by the server's own clock; None without one."""
    text = reply.headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, reply.headers.get("date"))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str, now: str | None) -> float:
    try:
        moment = parsedate_to_datetime(date)
        start = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return max(0.0, (moment - start).total_seconds())
    except (TypeError, ValueError):
        return math.nan
