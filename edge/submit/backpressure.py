"""Turns submits away while too many jobs of their modality wait."""

from __future__ import annotations

import asyncio
import logging
import random

from shared.domain.errors import Overloaded, StoreUnavailable
from shared.domain.store_interface import EdgeStore
from shared.telemetry.metrics import GUARD_REFUSALS

LOOK_SECONDS = 2.0
RETRY_SECONDS = 10
"""What a refused client is told to wait; the reapers count every few seconds."""

log = logging.getLogger(__name__)

_refused = GUARD_REFUSALS.labels("backlog")


class Backpressure:
    """Which modalities are full, as the reapers have counted last. Nothing is full before the first look."""

    def __init__(self) -> None:
        self._full: frozenset[str] = frozenset()

    def require(self, modality: str) -> None:
        if modality in self._full:
            _refused.inc()
            wait = f"submit it again in {RETRY_SECONDS} s"
            message = f"too many {modality} jobs wait already, this one was not taken: {wait}"
            raise Overloaded(message, retry_after=RETRY_SECONDS)

    async def look(self, store: EdgeStore) -> None:
        """Learn what is full now. When it raises StoreUnavailable, what was known stays."""
        full = await store.full()
        if full != self._full:
            log.warning("submits are refused for: %s", ", ".join(sorted(full)) or "nothing any more")
        self._full = full

    async def watch(self, store: EdgeStore) -> None:
        """Look until cancelled. While the database is away no job is accepted anyway."""
        while True:
            try:
                await self.look(store)
            except StoreUnavailable as error:
                log.debug("the backlog is not known: %s", error)
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.75, 1.25))
