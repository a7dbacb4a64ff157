"""The id that follows one request through answers, logs and the stored job."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_adoptable = re.compile(rb"[\x20-\x7e]{1,128}").fullmatch


def request_id_from(values: Sequence[bytes] | None) -> str:
    """The client's id (the first of several) if it is 1 to 128 printable ASCII characters, else a new UUID v4.

    Anything else is replaced and not refused: an odd id is no reason to lose a request, and echoed unchecked it could
    forge headers or log lines.
    """
    if values and _adoptable(values[0]):
        return values[0].decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    """A UUID v4. It names a request and guards nothing, so the fast generator will do (uuid4 costs seven times it)."""
    text = random.getrandbits(128).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
