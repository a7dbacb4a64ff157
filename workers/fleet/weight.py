"""A bound on the bytes of large request bodies that a worker holds at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class Weight:
    """At most `limit` bytes at a time, first come, first served. One body larger than the limit is held alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._line: deque[tuple[int, asyncio.Event]] = deque()

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait for room for `size` bytes and keep it for the block."""
        turn = asyncio.Event()
        self._line.append((size, turn))
        self._admit()
        try:
            await turn.wait()
            yield
        finally:
            if turn.is_set():
                self._held -= size
            else:
                self._line.remove((size, turn))
            self._admit()

    def _admit(self) -> None:
        while self._line and (self._held == 0 or self._held + self._line[0][0] <= self._limit):
            size, turn = self._line.popleft()
            self._held += size
            turn.set()
