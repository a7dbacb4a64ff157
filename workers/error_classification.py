"""Turns what went wrong with a provider into a ProviderError: what the client reads and whether trying again helps."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from workers.provider_interface import NoPlace, ProviderError

MAX_MESSAGE_CHARACTERS = 2000
_MAX_WORD_CHARACTERS = 200
_MAX_RETRY_AFTER_SECONDS = 7 * 86400.0
_RETRYABLE = frozenset({408, 409, 425, 429})
_BILLING_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Sent as 429 by OpenAI; waiting does not help, the account needs money."""
_STATUSES = {
    "caller_invalid_request": (400, 405, 413, 415, 422),
    "caller_model_unknown": (404,),
    "provider_auth_failed": (401, 403),
    "provider_billing": (402,),
    "provider_overloaded": (409, 425, 503, 529),
    "provider_rate_limited": (429,),
    "provider_timeout": (408, 504, 524),
}
_ERROR_TYPES = {status: error_type for error_type, statuses in _STATUSES.items() for status in statuses}
_TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class UpstreamError(msgspec.Struct, frozen=True):
    """What a provider's error body says; `status` when it carries one of its own."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def from_answer(status: int, body: bytes, headers: Mapping[str, str], secrets: Collection[str] = ()) -> ProviderError:
    """Translate an HTTP error answer. `secrets` (none empty) must not come back to the client."""
    for secret in secrets:  # before anything is cut, so that no half of a secret is left
        body = body.replace(secret.encode(), b"[redacted]")
    complaint = read_upstream_error(body, headers.get("content-type", ""))
    return from_upstream_error(status, complaint, read_retry_after(headers, datetime.now(UTC)), secrets)


def from_upstream_error(
    status: int, complaint: UpstreamError, retry_after: float | None = None, secrets: Collection[str] = ()
) -> ProviderError:
    """Classify by status, with one exception: an account without money is not a rate limit."""
    if status < 400:  # a redirect is not followed: it could carry the key to another host
        message = f"the provider answered HTTP {status}, which is not followed or expected"
        return ProviderError(message, 502, "provider_server_error")
    unpaid = complaint.code in _BILLING_CODES or complaint.type in _BILLING_CODES
    retryable = (status in _RETRYABLE or status >= 500) and not unpaid
    known = _ERROR_TYPES.get(status, "provider_server_error" if status >= 500 else "_OTHER")
    return ProviderError(
        shorten(redact(complaint.message or f"the provider answered HTTP {status}", secrets)),
        status,
        "provider_billing" if unpaid else known,
        retryable=retryable,
        retry_after=retry_after if retryable else None,
        type=_clean(complaint.type, secrets),
        code=_clean(complaint.code, secrets),
        param=_clean(complaint.param, secrets),
    )


def timed_out(seconds: float) -> ProviderError:
    message = f"the provider did not answer within {seconds:g} s"
    return ProviderError(message, 504, "provider_timeout", type="request_timed_out", retryable=True)


def no_slot(seconds: float) -> ProviderError:
    """All allowed connections were busy for as long as a call may take."""
    message = f"no connection to the provider became free within {seconds:g} s: its max_concurrency is reached"
    return NoPlace(message, 503, "provider_overloaded", retryable=True)


def connect_timed_out(seconds: float) -> ProviderError:
    message = f"no connection to the provider within {seconds:g} s"
    return ProviderError(message, 504, "provider_connection_failed", type="connect_timed_out", retryable=True)


def connection_failed(reason: str, *, retryable: bool = True) -> ProviderError:
    message = f"connection to the provider failed: {shorten(reason)}"
    return ProviderError(message, 502, "provider_connection_failed", retryable=retryable)


def bad_answer(reason: str) -> ProviderError:
    """The provider said 200 and something that is no answer. It may do better next time."""
    message = f"the provider's answer cannot be used: {shorten(reason)}"
    return ProviderError(message, 502, "provider_server_error", code="bad_provider_answer", retryable=True)


def too_large(limit: int) -> ProviderError:
    """The answer, decompressed, is above the limit. It will not be smaller next time."""
    message = f"the provider's answer is larger than {limit} bytes"
    return ProviderError(message, 502, "provider_server_error", code="result_too_large")


def bad_request(reason: str) -> ProviderError:
    """The caller's request cannot be done as it stands."""
    return ProviderError(reason, 400, "caller_invalid_request", type="invalid_request_error")


def internal(reason: str) -> ProviderError:
    return ProviderError(reason, 500, "bifrost_internal")


def read_upstream_error(body: bytes, content_type: str = "application/json") -> UpstreamError:
    """Find message, type, code and param in the shapes of error bodies that are in use; never fails."""
    if "html" in content_type.lower() or body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return UpstreamError(f"an HTML page came back: {_without_tags(body)}")
    try:
        return _from_json(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UpstreamError(shorten(body[: 4 * MAX_MESSAGE_CHARACTERS].decode(errors="replace")))


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` as seconds or HTTP date."""
    milliseconds, value = _number(headers.get("retry-after-ms")), headers.get("retry-after", "")
    seconds = _number(value) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        seconds = _seconds_until(value, now)
    return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_SECONDS)


def shorten(text: str) -> str:
    text = _SPACE.sub(" ", text).strip()
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[:MAX_MESSAGE_CHARACTERS]}..."


def redact(text: str, secrets: Collection[str]) -> str:
    """Replace every secret, for providers quote what they refuse."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text


def _clean(word: str | None, secrets: Collection[str]) -> str | None:
    return redact(word, secrets)[:_MAX_WORD_CHARACTERS] if word else None


def _from_json(value: Any) -> UpstreamError:
    if isinstance(value, list) and value:  # Gemini wraps its error in a list
        value = value[0]
    if isinstance(value, str):
        return UpstreamError(value)
    if not isinstance(value, dict):
        return UpstreamError()
    inner = value.get("error")
    if isinstance(inner, dict):
        return _from_object(inner)
    if isinstance(inner, str) and inner:
        return msgspec.structs.replace(_from_object(value), message=inner)
    return _from_object(value)


def _from_object(value: dict[str, Any]) -> UpstreamError:
    code = value.get("code")
    return UpstreamError(
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
