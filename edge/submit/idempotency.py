"""What makes two submits the same request: a fingerprint that spelling does not change."""

from __future__ import annotations

import hashlib
from operator import itemgetter
from typing import Any

import msgspec

from shared.domain.form import Form

_sorted = msgspec.json.Encoder(order="sorted")


def body_digest(parsed: dict[str, Any] | Form) -> bytes:
    """A digest of what a body says: JSON by value, whatever its spacing and order, a form by its parts."""
    digest = hashlib.sha256()
    if isinstance(parsed, Form):
        for part in parsed.parts:
            _add(digest, msgspec.json.encode([part.name, part.filename, part.content_type]))
            _add(digest, part.data)
    else:
        _add(digest, _sorted.encode(parsed))
    return digest.digest()


def fingerprint(request_type: str, body: bytes, forward: tuple[tuple[str, str], ...], extra_params: bool) -> bytes:
    """A digest of all that shapes the result, so not of how long it is kept or the job may take."""
    digest = hashlib.sha256()
    _add(digest, request_type.encode())
    _add(digest, body)
    _add(digest, msgspec.json.encode([sorted(forward, key=itemgetter(0)), extra_params]))
    return digest.digest()


def _add(digest: Any, piece: bytes) -> None:
    """Each piece with its length before it, so that no two lists of pieces look alike."""
    digest.update(len(piece).to_bytes(8, "big"))
    digest.update(piece)
