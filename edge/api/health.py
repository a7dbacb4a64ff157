"""Readiness for load balancers and orchestrators, and the contract's /health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from falcon.asgi import Request, Response

from edge.http.errors import answer_error
from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import EdgeStore

REMEMBERED_SECONDS = 0.5
"""However many ask, the database is asked at most this often."""
OK = b'{"status":"ok"}'
_HEALTH_OK = b'{"status":"ok","components":{"db_pings":"ok"}}'


class Readiness:
    """Whether requests can be served now: the database answers and its clock is known. A resource: 200 or 503."""

    def __init__(self, store: EdgeStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._asked = float("-inf")
        self._ready = False
        self._turn = asyncio.Lock()

    async def check(self) -> bool:
        """Ask, or repeat an answer that is fresh."""
        async with self._turn:
            if self._clock() - self._asked >= REMEMBERED_SECONDS:
                try:
                    await self._store.ping()
                    self._ready = True
                except StoreUnavailable:
                    self._ready = False
                self._asked = self._clock()
            return self._ready

    async def on_get(self, req: Request, resp: Response, ok: bytes = OK) -> None:
        if await self.check():
            resp.data = ok
        else:
            answer_error(resp, 503, "the job store (MongoDB) does not answer", "database_unavailable", 1)

    async def on_get_health(self, req: Request, resp: Response) -> None:
        await self.on_get(req, resp, _HEALTH_OK)

    on_head = on_get
    on_head_health = on_get_health
