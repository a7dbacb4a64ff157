"""What the edge reads from request headers, gathered in one pass over the ASGI scope."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from shared.domain.errors import BadRequest

RawHeaders = Iterable[tuple[bytes, bytes]]

_KEY_PREFIX = b"sk-bf-"
_FORWARD_PREFIX = b"x-bf-eh-"
_PREFIXED_KEY_SOURCES = (b"x-api-key", b"x-goog-api-key", b"api-key")
_KEY_SOURCES = frozenset({b"x-bf-vk", b"authorization", *_PREFIXED_KEY_SOURCES})
_READ = _KEY_SOURCES.union(
    (b"content-type", b"idempotency-key", b"prefer", b"x-bf-passthrough-extra-params", b"x-coatcheck-deadline"),
    (b"x-bf-async", b"x-bf-async-id", b"x-bf-async-webhook", b"x-bf-async-job-result-ttl"),
)
NEVER_FORWARDED = frozenset(
    {
        # Credentials: a job is stored, and no stored job holds a secret.
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "api-key", "x-api-key", "x-goog-api-key"),
        # Framing and encoding belong to the call of the provider.
        *("host", "content-length", "content-type", "content-encoding", "accept-encoding", "transfer-encoding"),
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"),
    }
)
_WAIT = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_SAFE_VALUE = re.compile(r"[\t\x20-\x7e]*")
_MAX_DIGITS = 18


class CallHeaders(msgspec.Struct, frozen=True):
    values: dict[bytes, bytes]
    """The first value of each name that means something here."""
    forward: tuple[tuple[str, str], ...]
    """For the provider: names in lower case, repeated ones kept in order."""
    virtual_key: bytes | None

    @property
    def content_type(self) -> str:
        return self.values.get(b"content-type", b"").decode("latin-1")

    @property
    def extra_params(self) -> bool:
        return self.values.get(b"x-bf-passthrough-extra-params", b"").lower() == b"true"

    @property
    def wants_async(self) -> bool:
        return self.values.get(b"x-bf-async", b"").lower() == b"true"

    @property
    def async_id(self) -> str | None:
        return self.values.get(b"x-bf-async-id", b"").strip().decode("latin-1") or None

    @property
    def webhook(self) -> str | None:
        return self.values.get(b"x-bf-async-webhook", b"").strip().decode("latin-1") or None

    @property
    def is_keyed(self) -> bool:
        return b"idempotency-key" in self.values

    @property
    def idempotency_key(self) -> str | None:
        """Raises BadRequest unless it is 1 to 255 printable ASCII characters."""
        value = self.values.get(b"idempotency-key")
        if value is None:
            return None
        if not 0 < len(value) <= 255 or not all(0x20 <= byte <= 0x7E for byte in value):
            expected = "1 to 255 printable ASCII characters"
            got = f"{len(value)} bytes; a UUID is a good choice"
            raise BadRequest(f"header 'Idempotency-Key': expected {expected}, got {got}")
        return value.decode("ascii")

    @property
    def wait(self) -> int:
        """Seconds that a poll may wait for the end of a job: `Prefer: wait=10` (RFC 7240). 0 without."""
        prefer = self.values.get(b"prefer")
        wish = _WAIT.search(prefer) if prefer is not None else None
        return int(wish[1]) if wish else 0

    def result_ttl(self, *, default: int, maximum: int) -> int:
        """Seconds a result is kept. Anything but a positive integer means the default."""
        digits = self.values.get(b"x-bf-async-job-result-ttl")
        if digits is None or not (digits := digits.strip().removeprefix(b"+")).isdigit():
            return default
        return _capped(digits, maximum) or default

    def deadline(self, *, maximum: int) -> int:
        """Seconds the whole job may take; the header only lowers the maximum. Raises BadRequest for no number."""
        digits = self.values.get(b"x-coatcheck-deadline")
        if digits is None or not (digits := digits.strip()):
            return maximum
        seconds = _capped(digits, maximum) if digits.isdigit() else 0
        if not seconds:
            got = digits[:40].decode("latin-1")
            raise BadRequest(f"header 'x-coatcheck-deadline': expected whole seconds from 1 to {maximum}, got '{got}'")
        return seconds


def read_headers(raw: RawHeaders) -> CallHeaders:
    """Raises BadRequest for a pass-through header that no provider would take."""
    values: dict[bytes, bytes] = {}
    forward: list[tuple[str, str]] = []
    for name, value in raw:
        if name in _READ:
            values.setdefault(name, value)
        elif name.startswith(_FORWARD_PREFIX):
            passed = name[len(_FORWARD_PREFIX) :].decode("latin-1").lower()
            if passed and passed not in NEVER_FORWARDED and not passed.startswith("x-bf-"):
                forward.append((passed, _forwardable(passed, value)))
    key = None if _KEY_SOURCES.isdisjoint(values) else _virtual_key(values)
    return CallHeaders(values, tuple(forward), key)


def _virtual_key(values: dict[bytes, bytes]) -> bytes | None:
    """By fixed precedence. Only `x-bf-vk` may hold any text; elsewhere a key without the prefix is not ours."""
    if direct := values.get(b"x-bf-vk"):
        return direct
    scheme, _, token = values.get(b"authorization", b"").partition(b" ")
    token = token.strip()
    if scheme.lower() == b"bearer" and _has_prefix(token):
        return token
    for name in _PREFIXED_KEY_SOURCES:
        if _has_prefix(value := values.get(name, b"")):
            return value
    return None


def _has_prefix(value: bytes) -> bool:
    return value[: len(_KEY_PREFIX)].lower() == _KEY_PREFIX


def _forwardable(name: str, value: bytes) -> str:
    text = value.decode("latin-1")
    if not _SAFE_VALUE.fullmatch(text):
        raise BadRequest(f"header 'x-bf-eh-{name[:60]}': expected printable ASCII, which every provider accepts")
    return text


def _capped(digits: bytes, maximum: int) -> int:
    """The number, at most `maximum`; thousands of digits are never converted."""
    significant = digits.lstrip(b"0")
    return maximum if len(significant) > _MAX_DIGITS else min(int(significant or b"0"), maximum)
