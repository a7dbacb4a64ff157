"""Answers that are far too large, made without holding them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache

_MEGABYTE = 1024 * 1024
_MEGABYTES = 200


@cache
def bomb() -> bytes:
    """A gzip file of a few hundred KB that unpacks to 200 MB. One block is packed once and repeated."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(b" " * _MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + block * _MEGABYTES


def flood_pieces() -> Iterator[bytes]:
    """A JSON answer of 200 MB, piece by piece."""
    yield b'{"id":"flood","choices":[{"index":0,"text":"'
    for _ in range(_MEGABYTES * 16):
        yield b"x" * (_MEGABYTE // 16)
    yield b'"}]}'
