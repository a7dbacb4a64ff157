"""Bounds on how many of one kind are under way: the next one is refused at once, or after a short wait."""

from __future__ import annotations

import asyncio

from shared.domain.errors import Overloaded


class ConcurrencyLimit:
    """`with limit:` holds one of `limit` places. Raises Overloaded when all are taken."""

    def __init__(self, limit: int, refusal: str) -> None:
        self._limit = limit
        self._refusal = refusal
        self.taken = 0

    @property
    def open(self) -> bool:
        return self.taken < self._limit

    def __enter__(self) -> None:
        if self.taken >= self._limit:
            raise Overloaded(self._refusal)
        self.taken += 1

    def __exit__(self, *error: object) -> None:
        self.taken -= 1


class WaitingLimit:
    """`async with limit:` waits `patience` seconds for one of `limit` places, then raises Overloaded: a queue alone
    would be no bound when the database is away and each place is held for a whole time-out.
    """

    def __init__(self, limit: int, patience: float, refusal: str) -> None:
        self._places = asyncio.Semaphore(limit)
        self._patience = patience
        self._refusal = refusal

    async def __aenter__(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded(self._refusal) from None

    async def __aexit__(self, *error: object) -> None:
        self._places.release()
