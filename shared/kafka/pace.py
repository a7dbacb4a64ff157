"""How long fetches wait at the broker: short while bells come, long while none do. Pure."""

from __future__ import annotations

POLL_MS = 500
_BUSY_POLL_MS = 100
_LONGER = 1.5
"""A time without bells lets the wait grow so much."""


class Pace:
    """A wait of `busy` seconds after a bell, then longer and longer ones, up to `idle` seconds.

    Equal times mean a broker where a new bell ends the wait at once: then nothing changes and polls are long.
    """

    def __init__(self, busy: float, idle: float) -> None:
        self._busy_ms = min(busy or idle, idle) * 1000
        self._idle_ms = idle * 1000
        self._wait_ms = self._idle_ms

    @property
    def wait_ms(self) -> int:
        """How long a fetch that is sent now shall wait at the broker."""
        return int(self._wait_ms)

    @property
    def poll_ms(self) -> int:
        """How long to wait for bells before the pace is looked at again."""
        return POLL_MS if self._wait_ms == self._idle_ms else _BUSY_POLL_MS

    def after(self, *, heard: bool) -> int:
        """Say whether a poll brought bells; returns the new wait in milliseconds."""
        self._wait_ms = self._busy_ms if heard else min(self._idle_ms, self._wait_ms * _LONGER)
        return self.wait_ms
