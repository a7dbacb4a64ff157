"""Turns submits away while too many jobs of their modality wait already: a queue that only grows helps nobody."""

from __future__ import annotations

import asyncio
import logging
import random

from shared.errors import Overloaded, StoreUnavailable
from shared.metrics import GUARD_REFUSALS
from shared.store import EdgeStore

LOOK_SECONDS = 2.0
RETRY_SECONDS = 10
"""What a refused client is told to wait; the keepers count every few seconds."""

log = logging.getLogger(__name__)

_refused = GUARD_REFUSALS.labels("backlog")


class Admission:
    """Which modalities are full, as the keepers have counted last. Nothing is full before the first look."""

    def __init__(self) -> None:
        self._full: frozenset[str] = frozenset()

    def require(self, modality: str) -> None:
        """Raise Overloaded when the modality is full."""
        if modality in self._full:
            _refused.inc()
            raise Overloaded(
                f"too many {modality} jobs wait already, this one was not taken: submit it again in {RETRY_SECONDS} s",
                retry_after=RETRY_SECONDS,
            )

    async def look(self, store: EdgeStore) -> None:
        """Learn what is full now. Raises StoreUnavailable and keeps what was known."""
        full = await store.full()
        if full != self._full:
            log.warning("submits are refused for: %s", ", ".join(sorted(full)) or "nothing any more")
        self._full = full

    async def watch(self, store: EdgeStore) -> None:
        """Look for ever. While the database is away nothing is accepted anyway."""
        while True:
            try:
                await self.look(store)
            except StoreUnavailable as error:
                log.debug("the backlog is not known: %s", error)
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.75, 1.25))
