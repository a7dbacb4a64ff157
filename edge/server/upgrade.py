"""Requests with an Upgrade header, served as if it were not there: a server may ignore it (RFC 9110, 7.8).

Java's own client and `curl --http2` send `Upgrade: h2c` with every request. The parser stops behind such a head and
takes what follows for another protocol, so another parser has to read on from there.
"""

from __future__ import annotations

from typing import Any, Protocol

import httptools

_BODY = frozenset({b"content-length", b"transfer-encoding"})


class Listener(Protocol):
    parser: httptools.HttpRequestParser
    headers: list[tuple[bytes, bytes]]


def body_follows(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name in _BODY for name, _ in headers)


def parser_behind_upgrade(listener: Listener) -> httptools.HttpRequestParser:
    """A parser for what follows the head at which the one of `listener` has stopped."""
    resumes = body_follows(listener.headers)
    parser = httptools.HttpRequestParser(_Resumed(listener) if resumes else listener)
    # As uvicorn does: requests behind one that ends the connection are no error.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    if resumes:
        old = listener.parser
        lines = [b"%b / HTTP/%b" % (old.get_method(), old.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in listener.headers if header[0] != b"upgrade"]
        parser.feed_data(b"\r\n".join([*lines, b"", b""]))
    return parser


class _Resumed:
    """Passes on what a parser says, but for the head that it is fed first: that was heard already."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener
        self._heard = True
        self.on_body = listener.on_body
        self.on_message_complete = listener.on_message_complete

    def on_message_begin(self) -> None:
        if not self._heard:
            self._listener.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._heard:
            self._listener.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._heard:
            self._listener.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._heard:
            self._heard = False
        else:
            self._listener.on_headers_complete()
