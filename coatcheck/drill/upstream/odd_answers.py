"""Answers that harm whoever handles them carelessly: far too large ones, made without holding them, and odd ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from functools import cache

_MEGABYTE = 1024 * 1024
_FLOOD_MEGABYTES = 200
_DEPTH = 100_000


@cache
def bomb() -> bytes:
    """A gzip file of a few hundred KB that unpacks to 200 MB. One block is packed once and repeated."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(b" " * _MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + block * _FLOOD_MEGABYTES


def flood_pieces() -> Iterator[bytes]:
    yield b'{"id":"flood","choices":[{"index":0,"text":"'
    for _ in range(_FLOOD_MEGABYTES * 16):
        yield b"x" * (_MEGABYTE // 16)
    yield b'"}]}'


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
    "odd-large": _answer(b'"note":"' + b"x" * (20 * _MEGABYTE) + b'"'),
    "odd-bom": b"\xef\xbb\xbf" + _answer(b'"note":0'),
    "odd-more": _answer(b'"note":0') + b"{}",
}
"""Embedding answers by the name of a model that gives them."""
