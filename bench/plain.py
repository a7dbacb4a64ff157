"""A fixed piece of plain Python: the unit of the regression guard, and what tells one build of Python from another."""

from __future__ import annotations

import json

UNIT_LOOPS = 3000


def unit() -> None:
    """A thousandth of it is the unit: calls, attributes, dictionaries, bytes and JSON, as in the code watched."""
    kept: dict[str, bytes] = {}
    for number in range(UNIT_LOOPS):
        key = f"key-{number & 63}"
        kept[key] = b"".join((key.encode(), b'":"', str(number).encode(), b'"'))
        if not number & 31:
            json.loads(json.dumps({"model": key, "input": [key, number], "nested": {"a": 1.5, "b": None}}))
