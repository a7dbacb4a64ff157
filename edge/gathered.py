"""Values for metrics, gathered during one turn of the event loop and written together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Gathered(Generic[Key]):
    """Hands the values of each key to `write` in the next turn of the loop, so what ends together costs one write.

    Processes of an edge share their metrics through files, where one observation costs as much as a whole request head.
    """

    def __init__(self, write: Callable[[Key, list[float]], None]) -> None:
        self._write = write
        self._values: dict[Key, list[float]] = {}

    def add(self, key: Key, value: float = 1.0) -> None:
        """Gather one value. Keys are few: they are labels."""
        values = self._values.get(key)
        if values is not None:
            values.append(value)
            return
        if not self._values:
            asyncio.get_running_loop().call_soon(self._flush)
        self._values[key] = [value]

    def _flush(self) -> None:
        gathered, self._values = self._values, {}
        for key, values in gathered.items():
            self._write(key, values)
