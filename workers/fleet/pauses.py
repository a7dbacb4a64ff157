"""Which providers are paused, for the whole fleet: a small shared collection, mirrored here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable

from shared.errors import StoreUnavailable
from shared.metrics import PROVIDERS_PAUSED
from shared.store import FleetStore
from workers.fleet.retry import pause_seconds
from workers.providers.base import ProviderError

log = logging.getLogger(__name__)


class Pauses:
    """The pauses known here. A channel is a provider together with its key."""

    def __init__(self, store: FleetStore, channels: Iterable[str]) -> None:
        self._store = store
        self._until: dict[str, float] = {}
        self._streaks: dict[str, int] = {}
        self._gauges = {channel: PROVIDERS_PAUSED.labels(channel) for channel in channels}

    def left(self, channel: str) -> float:
        """Seconds the channel is still paused; 0 when it is free."""
        return max(0.0, self._until.get(channel, 0.0) - time.monotonic())

    def succeeded(self, channel: str) -> None:
        """A call got through: guesses start small again."""
        self._streaks.pop(channel, None)

    async def pause(self, channel: str, error: ProviderError) -> None:
        """Pause a channel here at once and everywhere within a second or two."""
        streak = self._streaks.get(channel, 0)
        seconds = pause_seconds(error, streak, random.random())
        already = self.left(channel)
        if already >= seconds:
            return
        if already == 0.0:
            self._streaks[channel] = streak + 1
            log.warning("provider %s asks for fewer calls (%d): paused for %.1f s", channel, error.status_code, seconds)
        self._until[channel] = time.monotonic() + seconds
        self._show()
        try:
            await self._store.pause(channel, seconds)
        except StoreUnavailable:
            log.warning("the pause of %s could not be shared: it holds for this worker only", channel)

    async def refresh(self) -> None:
        """Learn what other workers have paused."""
        for pause in await self._store.pauses():
            until = time.monotonic() + pause.seconds
            self._until[pause.channel] = max(until, self._until.get(pause.channel, 0.0))
        self._show()

    async def keep_fresh(self, interval: float) -> None:
        """Refresh for ever; what cannot be read now is read next time."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                log.debug("pauses not refreshed: %s", error)
            await asyncio.sleep(interval)

    def _show(self) -> None:
        for channel, gauge in self._gauges.items():
            gauge.set(1 if self.left(channel) > 0 else 0)
