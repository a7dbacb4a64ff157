"""Which providers are paused, for the whole fleet: a small shared collection, mirrored here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable

from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import WorkerStore
from shared.domain.target import Target
from shared.telemetry.metrics import PROVIDERS_PAUSED
from workers.execution.retry import pause_seconds
from workers.provider_interface import ProviderError

log = logging.getLogger(__name__)


def channel_of(target: Target) -> str:
    """What is paused together: all models behind one provider's key, but each local model has a line of its own."""
    return f"{target.provider}/{target.model}" if target.provider == "local" else target.provider


class Pauses:
    def __init__(self, store: WorkerStore, providers: Iterable[str]) -> None:
        self._store = store
        self._until: dict[str, float] = {}
        self._streaks: dict[str, int] = {}
        self._gauges = {provider: PROVIDERS_PAUSED.labels(provider) for provider in providers}

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
        paused = {channel.partition("/")[0] for channel in self._until if self.left(channel) > 0}
        for provider, gauge in self._gauges.items():
            gauge.set(1 if provider in paused else 0)
