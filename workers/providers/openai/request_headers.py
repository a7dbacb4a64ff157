"""The headers of a provider call: ours, the operator's, and what a client may add."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from shared.providers.config import ProviderConfig

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_RESERVED = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type"}
    | {"cookie", "expect", "host", "idempotency-key", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"api-key", "x-api-key", "x-goog-api-key", "forwarded", "via"}
)
_RESERVED_PREFIXES = ("proxy-", "x-bf-", "x-coatcheck-", "x-forwarded-")

Headers = list[tuple[str, str]]


def fixed_headers(config: ProviderConfig) -> Headers:
    headers = {"accept": "*/*", "accept-encoding": "gzip", "user-agent": "coatcheck"}
    if config.api_key:
        headers["authorization"] = f"Bearer {config.api_key}"
    return list({**headers, **config.headers}.items())


def call_headers(
    fixed: Headers, forward: Mapping[str, str], content_type: str, call_id: str, *, trace: bool
) -> Headers:
    """The headers of one call. A client can add some, and change none."""
    headers = [*fixed, ("content-type", content_type), ("idempotency-key", idempotency_key(call_id))]
    if trace:
        headers.append(("x-coatcheck-call", call_id))
    if forward:
        taken = {name for name, _ in headers}
        headers += [(name, value) for name, value in forward.items() if name not in taken and _may_pass(name, value)]
    return headers


def idempotency_key(call_id: str) -> str:
    """A name for one call that a provider may use against doubles; the job id stays here, for it is a secret."""
    return hashlib.blake2b(call_id.encode(), digest_size=16, person=b"coatcheck-call").hexdigest()


def secrets_of(config: ProviderConfig) -> frozenset[str]:
    """Texts that must not come back in an error message: the key, and header values that look like one."""
    return frozenset(value for value in (config.api_key, *config.headers.values()) if len(value) >= 8)


def _may_pass(name: str, value: str) -> bool:
    if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        return False
    return _NAME.fullmatch(name) is not None and value.isascii() and value.isprintable()
