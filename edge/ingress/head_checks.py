"""Which request heads may come in: pure checks of the method line and headers, before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.ingress.limits import GuardLimits
from edge.ingress.rejection import RequestRejected, shown

Headers = Sequence[tuple[bytes, bytes]]
HeadersByName = Mapping[bytes, list[bytes]]

_RARE = frozenset({b"transfer-encoding", b"expect", b"content-encoding"})
_WATCHED = _RARE | {b"host", b"content-length", b"x-request-id", b"origin"}
_LONGEST_LENGTH = 12  # digits of a Content-Length
_LINE_OVERHEAD = 4  # ": " and CRLF of a header line

Framing = tuple[int | None, bool]
"""How a body comes: its length (None: chunked, unknown until its end); whether the client waits for 100 Continue."""

NO_BODY: Framing = (0, False)


def collect_headers(headers: Headers, most: int) -> tuple[HeadersByName, int]:
    """The headers that decide anything, by lower-case name, and the size in bytes of the first `most` headers."""
    if len(headers) > most:
        headers = headers[:most]
    by_name: dict[bytes, list[bytes]] = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + _LINE_OVERHEAD
        if name in _WATCHED:
            if name in by_name:
                by_name[name].append(value)
            else:
                by_name[name] = [value]
    return by_name, size


def check_head(scope: Mapping[str, Any], by_name: HeadersByName, size: int, limits: GuardLimits) -> Framing:
    """How the body comes. Raises RequestRejected when the head alone is reason enough."""
    target = len(scope["raw_path"]) + len(scope["query_string"])
    if size > limits.max_header_value_bytes or len(scope["headers"]) > limits.max_headers:
        _check_sizes(scope["headers"], size, limits)
    if target > limits.max_target_bytes:
        text = f"request target: expected at most {limits.max_target_bytes} bytes, got {target}; shorten the URL"
        raise RequestRejected(414, "long_target", text)
    version = scope["http_version"]
    if version != "1.1":
        _check_old_version(version, by_name)
    hosts = by_name.get(b"host")
    if hosts is None or len(hosts) != 1:
        _check_hosts(version, hosts)
    lengths = by_name.get(b"content-length")
    length = 0 if lengths is None else _check_length(lengths, limits.max_body_bytes)
    if _RARE.isdisjoint(by_name):
        return (length, False) if length else NO_BODY
    return _check_rare(by_name, length)


def _check_sizes(headers: Headers, size: int, limits: GuardLimits) -> None:
    if len(headers) > limits.max_headers:
        text = f"headers: expected at most {limits.max_headers}, got {len(headers)}; send fewer"
        raise RequestRejected(431, "many_headers", text)
    if size > limits.max_header_bytes:
        text = f"headers: expected at most {limits.max_header_bytes} bytes in all, got {size}; shorten them"
        raise RequestRejected(431, "large_headers", text)
    for name, value in headers:
        if len(value) > (limit := limits.max_header_value_bytes):
            text = f"header {shown(name)}: expected at most {limit} bytes, got {len(value)}; shorten it"
            raise RequestRejected(431, "large_headers", text)


def _check_old_version(version: str, by_name: HeadersByName) -> None:
    if version != "1.0":
        text = f"HTTP version: expected 1.0 or 1.1, got {shown(version.encode())}; send HTTP/1.1"
        raise RequestRejected(505, "http_version", text)
    if b"transfer-encoding" in by_name:
        text = "Transfer-Encoding: not part of HTTP/1.0; send HTTP/1.1, or a Content-Length in its place"
        raise RequestRejected(400, "bad_framing", text)


def _check_hosts(version: str, hosts: list[bytes] | None) -> None:
    if hosts is None and version == "1.0":
        return  # health checks of older load balancers: HTTP/1.0 knows no Host
    got = "none" if hosts is None else str(len(hosts))
    raise RequestRejected(400, "bad_host", f"Host: expected exactly one, got {got}; send one Host header")


def _check_length(lengths: list[bytes], max_body_bytes: int) -> int:
    text = lengths[0]
    if len(lengths) > 1 or not text.isdigit():
        got = " and ".join(shown(value) for value in lengths[:3])
        message = f"Content-Length: expected one decimal number, got {got}; send the body's size in bytes"
        raise RequestRejected(400, "bad_framing", message)
    if len(text) > _LONGEST_LENGTH or int(text) > max_body_bytes:
        raise too_large(max_body_bytes, f"Content-Length {shown(text)}")
    return int(text)


def too_large(max_body_bytes: int, got: str) -> RequestRejected:
    message = f"body: expected at most {max_body_bytes} bytes, got {got}; send a smaller request"
    return RequestRejected(413, "large_body", message)


def _check_rare(by_name: HeadersByName, length: int) -> Framing:
    codings = by_name.get(b"transfer-encoding")
    if codings is not None:
        _check_codings(codings, b"content-length" in by_name)
    for value in by_name.get(b"content-encoding", []):
        if value.strip().lower() not in (b"identity", b""):
            message = f"Content-Encoding: expected none, got {shown(value)}; send the body uncompressed"
            raise RequestRejected(415, "content_encoding", message)
    expectations = by_name.get(b"expect", [])
    if any(value.strip().lower() != b"100-continue" for value in expectations):
        message = f"Expect: only '100-continue' can be met, got {shown(expectations[-1])}; leave the header out"
        raise RequestRejected(417, "expectation", message)
    if codings:
        return None, bool(expectations)
    return (length, bool(expectations)) if length else NO_BODY


def _check_codings(codings: list[bytes], has_length: bool) -> None:
    tokens = [token.strip().lower() for value in codings for token in value.split(b",")]
    got = shown(b", ".join(codings))
    if has_length:
        message = f"Transfer-Encoding: expected alone, got {got} beside a Content-Length; send one of them"
        raise RequestRejected(400, "bad_framing", message)
    if len(codings) > 1 or tokens.count(b"chunked") > 1:
        raise RequestRejected(400, "bad_framing", f"Transfer-Encoding: expected once, got {got}; send 'chunked' alone")
    if tokens != [b"chunked"]:
        message = f"Transfer-Encoding: only 'chunked' is implemented, got {got}; send the body as it is"
        raise RequestRejected(501, "transfer_coding", message)
