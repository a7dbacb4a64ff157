"""Ids of jobs that are said to wait: from bells and from alarms of our own retries. The sweep finds the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

_MAX_IDS = 20_000
_MAX_ALARMS = 20_000


class Inbox:
    """An ordered set of ids. `on_arrival` is called whenever something came in."""

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        self._ids: dict[UUID, None] = {}
        self._alarms = 0
        self._on_arrival = on_arrival

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, ids: Sequence[UUID]) -> None:
        """Take ids in, each once."""
        room = _MAX_IDS - len(self._ids)
        self._ids.update(dict.fromkeys(ids[: max(0, room)]))
        self._on_arrival()

    def take(self, most: int) -> list[UUID]:
        """Remove and return the oldest ids."""
        taken = [job_id for job_id, _ in zip(self._ids, range(most), strict=False)]
        for job_id in taken:
            del self._ids[job_id]
        return taken

    def put_later(self, job_id: UUID, delay: float) -> None:
        """Take an id in after `delay` seconds: a retry of our own is then claimed on time, not a sweep later."""
        if self._alarms < _MAX_ALARMS:
            self._alarms += 1
            asyncio.get_running_loop().call_later(delay, self._alarm, job_id)

    def _alarm(self, job_id: UUID) -> None:
        self._alarms -= 1
        self.put([job_id])
