"""Answers too large for one piece: how many bytes they hold together, and for how long each may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from shared.domain.errors import Overloaded

GRACE_SECONDS = 10.0
LEAST_RATE = 64 * 1024
"""Bytes per second. After the grace, a slower reader loses its place when another answer needs one."""


class Places:
    """`limit` bytes for answers under way. With none left, takes the place of an answer that is read too slowly."""

    def __init__(self, limit: int, refusal: str) -> None:
        self._limit = limit
        self._refusal = refusal
        self.held: dict[Place, None] = {}
        self.taken = 0

    def take(self, size: int) -> Place:
        """Raises Overloaded when there is no place for `size` bytes."""
        size = min(size, self._limit)
        now = asyncio.get_running_loop().time()
        for place in list(self.held):
            if self.taken + size <= self._limit:
                break
            if place.is_behind(now):
                place.lose()
        if self.taken + size > self._limit:
            raise Overloaded(self._refusal)
        place = Place(self, size, now)
        self.held[place] = None
        self.taken += size
        return place


class Place:
    def __init__(self, places: Places, size: int, now: float) -> None:
        self.size = size
        self.read = 0  # bytes that the client has taken
        self.sending: asyncio.Task[object] | None = None
        self._places = places
        self._started = now
        self.lost = False

    def is_behind(self, now: float) -> bool:
        """Whether the client has read less than it had to by `now`, by the loop's clock."""
        return self.sending is not None and now > self._started + GRACE_SECONDS + self.read / LEAST_RATE

    def lose(self) -> None:
        assert self.sending is not None
        self.lost = True
        self.sending.cancel()
        self.leave()

    def undo_cancel(self) -> bool:
        """Take back the cancellation of `lose`. False when another cancelled the sending task, alone or as well."""
        return self.lost and self.sending is not None and self.sending.uncancel() == 0

    def leave(self) -> None:
        if self in self._places.held:
            del self._places.held[self]
            self._places.taken -= self.size


class PlacedPieces:
    """An answer in pieces and the place that it holds, for Falcon's `resp.stream`."""

    def __init__(self, place: Place, pieces: AsyncIterator[bytes]) -> None:
        self.place = place
        self._pieces = pieces
        self._given = 0

    def __aiter__(self) -> PlacedPieces:
        return self

    async def __anext__(self) -> bytes:
        """Falcon asks for a piece when the connection has taken the piece before."""
        self.place.sending = asyncio.current_task()
        self.place.read = self._given
        piece = await anext(self._pieces)
        self._given += len(piece)
        return piece

    async def close(self) -> None:
        """Called by Falcon behind the last piece, or when the answer ends early: it cannot be behind any more."""
        if not self.place.lost:
            self.place.sending = None
