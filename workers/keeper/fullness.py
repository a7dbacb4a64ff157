"""Decides of which modalities so many jobs wait that no more should be taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from shared.store import Backlog, KeeperStore

_LONG_COUNT_SECONDS = 30.0


class Fullness:
    """Which modalities have `max_pending` jobs or more waiting; none when that is 0.

    A count that reached its cap is made again without one, but not at each pass: a million takes a second.
    """

    def __init__(self, store: KeeperStore, max_pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._max_pending = max_pending
        self._clock = clock
        self._counted: dict[str, tuple[float, bool]] = {}

    async def among(self, backlogs: Iterable[Backlog]) -> set[str]:
        """The full modalities of a count. Raises StoreUnavailable."""
        return {each.modality for each in backlogs if each.status == "pending" and await self._is_full(each)}

    async def _is_full(self, backlog: Backlog) -> bool:
        if not backlog.capped or not 0 < backlog.count < self._max_pending:
            return 0 < self._max_pending <= backlog.count
        asked_at, known = self._counted.get(backlog.modality, (-math.inf, False))
        if self._clock() - asked_at < _LONG_COUNT_SECONDS:
            return known
        is_full = await self._store.at_least(backlog.modality, self._max_pending)
        self._counted[backlog.modality] = self._clock(), is_full
        return is_full
