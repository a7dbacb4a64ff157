"""Health for load balancers and orchestrators: alive, ready, and the contract's /health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from falcon.asgi import Request, Response

from edge.errors import answer_error
from shared.errors import StoreUnavailable
from shared.store import EdgeStore

REMEMBERED_SECONDS = 0.5
"""However many ask, the database is asked at most this often."""

_OK = b'{"status":"ok"}'


class Readiness:
    """Whether the database answers and its clock is known."""

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


class LivezResource:
    """The event loop turns. Says nothing about the database: an outage must not restart the edge."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        resp.data = _OK

    on_head = on_get


class ReadyzResource:
    """Requests can be served now."""

    def __init__(self, readiness: Readiness, ok: bytes = _OK) -> None:
        self._readiness = readiness
        self._ok = ok

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer 200 or 503."""
        if await self._readiness.check():
            resp.data = self._ok
        else:
            answer_error(resp, 503, "the job store (MongoDB) does not answer")
            resp.set_header("Retry-After", "1")

    on_head = on_get


HEALTH_OK = b'{"status":"ok","components":{"db_pings":"ok"}}'
"""What /health says when the stores are reachable."""
