"""Turns what went wrong with a provider into a ProviderError: what the client reads and whether trying again helps."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from workers.providers.base import ProviderError

MAX_MESSAGE_CHARACTERS = 2000
_MAX_WORD_CHARACTERS = 200
_MAX_RETRY_AFTER_SECONDS = 7 * 86400.0
_RETRYABLE = frozenset({408, 409, 425, 429})
_BILLING_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Sent as 429 by OpenAI; waiting does not help, the account needs money."""
_ERROR_TYPES = {
    400: "caller_invalid_request",
    401: "provider_auth_failed",
    402: "provider_billing",
    403: "provider_auth_failed",
    404: "caller_model_unknown",
    405: "caller_invalid_request",
    408: "provider_timeout",
    409: "provider_overloaded",
    413: "caller_invalid_request",
    415: "caller_invalid_request",
    422: "caller_invalid_request",
    425: "provider_overloaded",
    429: "provider_rate_limited",
    503: "provider_overloaded",
    504: "provider_timeout",
    524: "provider_timeout",
    529: "provider_overloaded",
}
_TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class Complaint(msgspec.Struct, frozen=True):
    """What a provider's error body says; `status` when it carries one of its own."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def from_answer(
    status: int, body: bytes, headers: Mapping[str, str], secrets: Collection[str] = (), now: datetime | None = None
) -> ProviderError:
    """Translate an HTTP error answer. `secrets` (none empty) must not come back to the client."""
    for secret in secrets:  # before anything is cut, so that no half of a secret is left
        body = body.replace(secret.encode(), b"[redacted]")
    complaint = read_complaint(body, headers.get("content-type", ""))
    return from_complaint(status, complaint, read_retry_after(headers, now or datetime.now(UTC)), secrets)


def from_complaint(
    status: int, complaint: Complaint, retry_after: float | None = None, secrets: Collection[str] = ()
) -> ProviderError:
    """Classify by status, with one exception: an account without money is not a rate limit."""
    unpaid = complaint.code in _BILLING_CODES or complaint.type in _BILLING_CODES
    if status < 400:  # a redirect is not followed: it could carry the key to another host
        status, complaint = 502, Complaint(f"the provider answered HTTP {status}, which is not followed or expected")
        return _error(complaint, 502, "provider_server_error", secrets=secrets)
    retryable = (status in _RETRYABLE or status >= 500) and not unpaid
    known = _ERROR_TYPES.get(status, "provider_server_error" if status >= 500 else "_OTHER")
    error_type = "provider_billing" if unpaid else known
    if not complaint.message:
        complaint = msgspec.structs.replace(complaint, message=f"the provider answered HTTP {status}")
    retry_after = retry_after if retryable else None
    return _error(complaint, status, error_type, retryable=retryable, retry_after=retry_after, secrets=secrets)


def timed_out(seconds: float) -> ProviderError:
    """The call took longer than it may."""
    return ProviderError(
        f"the provider did not answer within {seconds:g} s",
        status_code=504,
        error_type="provider_timeout",
        type="request_timed_out",
        retryable=True,
    )


def no_slot(seconds: float) -> ProviderError:
    """All allowed connections were busy for the whole time of the call."""
    return ProviderError(
        f"no connection to the provider became free within {seconds:g} s: its max_concurrency is reached",
        status_code=503,
        error_type="provider_overloaded",
        retryable=True,
    )


def connect_timed_out(seconds: float) -> ProviderError:
    """No connection came about."""
    return ProviderError(
        f"no connection to the provider within {seconds:g} s",
        status_code=504,
        error_type="provider_connection_failed",
        type="connect_timed_out",
        retryable=True,
    )


def connection_failed(reason: str, *, retryable: bool = True) -> ProviderError:
    """The connection was refused, reset or cut, before or in the middle of the answer."""
    return ProviderError(
        f"connection to the provider failed: {shorten(reason)}",
        status_code=502,
        error_type="provider_connection_failed",
        retryable=retryable,
    )


def bad_answer(reason: str) -> ProviderError:
    """The provider said 200 and something that is no answer. It may do better next time."""
    return ProviderError(
        f"the provider's answer cannot be used: {shorten(reason)}",
        status_code=502,
        error_type="provider_server_error",
        code="bad_provider_answer",
        retryable=True,
    )


def too_large(limit: int) -> ProviderError:
    """The answer, decompressed, is above the limit. It will not be smaller next time."""
    return ProviderError(
        f"the provider's answer is larger than {limit} bytes",
        status_code=502,
        error_type="provider_server_error",
        code="result_too_large",
    )


def bad_request(reason: str) -> ProviderError:
    """The stored body cannot be turned into a request for the provider."""
    return ProviderError(reason, status_code=400, error_type="caller_invalid_request", type="invalid_request_error")


def internal(reason: str) -> ProviderError:
    """A fault of our own."""
    return ProviderError(reason, status_code=500, error_type="bifrost_internal")


def read_complaint(body: bytes, content_type: str = "application/json") -> Complaint:
    """Find message, type, code and param in the shapes of error bodies that are in use; never fails."""
    if "html" in content_type.lower() or body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return Complaint(f"an HTML page came back: {_without_tags(body)}")
    try:
        return _from_json(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Complaint(shorten(body[: 4 * MAX_MESSAGE_CHARACTERS].decode(errors="replace")))


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` as seconds or HTTP date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, _MAX_RETRY_AFTER_SECONDS)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value:
        seconds = _seconds_until(value, now)
    return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_SECONDS)


def shorten(text: str) -> str:
    """One line of bounded length."""
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[:MAX_MESSAGE_CHARACTERS]}..."


def redact(text: str, secrets: Collection[str]) -> str:
    """Replace every secret, for providers quote what they refuse."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text


def _error(
    complaint: Complaint,
    status: int,
    error_type: str,
    *,
    retryable: bool = False,
    retry_after: float | None = None,
    secrets: Collection[str],
) -> ProviderError:
    return ProviderError(
        shorten(redact(complaint.message, secrets)),
        status_code=status,
        error_type=error_type,
        retryable=retryable,
        retry_after=retry_after,
        type=_clean(complaint.type, secrets),
        code=_clean(complaint.code, secrets),
        param=_clean(complaint.param, secrets),
    )


def _clean(word: str | None, secrets: Collection[str]) -> str | None:
    return redact(word, secrets)[:_MAX_WORD_CHARACTERS] if word else None


def _from_json(value: Any) -> Complaint:
    if isinstance(value, list) and value:  # Gemini wraps its error in a list
        value = value[0]
    if isinstance(value, str):
        return Complaint(value)
    if not isinstance(value, dict):
        return Complaint()
    inner = value.get("error")
    if isinstance(inner, dict):
        return _from_object(inner)
    if isinstance(inner, str) and inner:
        return msgspec.structs.replace(_from_object(value), message=inner)
    return _from_object(value)


def _from_object(value: dict[str, Any]) -> Complaint:
    code = value.get("code")
    return Complaint(
        message=_text(value.get("message")) or _text(value.get("detail")) or _text(value.get("errors")),
        type=_word(value.get("type")),
        code=_word(value.get("status") if code is None else code),
        param=_word(value.get("param")),
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
    )


def _text(value: Any) -> str:
    """A message out of a text, an object or a list of those, as validators write them."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _text(value.get("msg") or value.get("message"))
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text, value[:5])))
    return ""


def _word(value: Any) -> str | None:
    if isinstance(value, bool) or value in (None, ""):
        return None
    return str(value) if isinstance(value, str | int | float) else None


def _without_tags(body: bytes) -> str:
    page = body[:4096].decode(errors="replace")
    return html.unescape(shorten(_TAG.sub(" ", page)))[:300] or "(empty)"


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(number, 0.0) if number < float("inf") else None


def _seconds_until(value: str, now: datetime) -> float | None:
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds(), 0.0)
