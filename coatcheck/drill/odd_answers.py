"""Embedding answers that poison whoever handles them carelessly, by the name of a model that gives them."""

from __future__ import annotations

from collections.abc import Mapping

_DEPTH = 100_000
_MEGABYTES = 20


def _answer(more: bytes) -> bytes:
    return (
        b'{"object":"list","model":"odd","data":[{"object":"embedding","index":0,"embedding":[0.5]}],'
        b'"usage":{"prompt_tokens":1,"total_tokens":1},' + more + b"}"
    )


ODD_ANSWERS: Mapping[str, bytes] = {
    "odd-nul": _answer(rb'"note":"a\u0000b"'),
    "odd-raw-nul": _answer(b'"note":"a\x00b"'),
    "odd-surrogate": _answer(rb'"note":"\ud800"'),
    "odd-utf8": _answer(b'"note":"\xff\xfe"'),
    "odd-nan": _answer(b'"note":NaN'),
    "odd-number": _answer(b'"note":1e999,"more":' + b"9" * 5000),
    "odd-keys": _answer(b'"$set":{"a.b":1},"__proto__":{},"":0'),
    "odd-twice": _answer(b'"data":[],"data":null'),
    "odd-deep": _answer(b'"note":' + b"[" * _DEPTH + b"]" * _DEPTH),
    "odd-large": _answer(b'"note":"' + b"x" * (_MEGABYTES * 1024 * 1024) + b'"'),
    "odd-bom": b"\xef\xbb\xbf" + _answer(b'"note":0'),
    "odd-more": _answer(b'"note":0') + b"{}",
}
