"""Which channels are paused, for the whole fleet: a small shared collection, mirrored here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import WorkerStore
from shared.domain.target import Target
from shared.telemetry.metrics import PROVIDERS_PAUSED
from workers.execution.retry import pause_seconds
from workers.provider_interface import ProviderError

log = logging.getLogger(__name__)

_MAX_STREAKS = 1000


def channel_of(target: Target) -> str:
    """What a 429 pauses: one model of one provider, whose limits most providers count by model."""
    return f"{target.provider}/{target.model}"


@dataclass(eq=False, slots=True)
class _Own:
    """A pause that was made here. Once it is `shared` the database has the word on it."""

    until: float
    shared: bool = False


class Pauses:
    """Clients name the models, so nothing here is kept for a channel longer than it is of use."""

    def __init__(self, store: WorkerStore, providers: Iterable[str], longest: float) -> None:
        self._store = store
        self._longest = longest
        self._stored: dict[str, float] = {}
        self._own: dict[str, _Own] = {}
        self._streaks: dict[str, int] = {}
        self._gauges = {provider: PROVIDERS_PAUSED.labels(provider) for provider in providers}

    def left(self, target: Target) -> float:
        """Seconds until it is worth looking again whether the target is paused; 0 when it is free."""
        return min(self._longest, max(map(self._left, (channel_of(target), target.provider))))

    def _left(self, channel: str) -> float:
        own = self._own.get(channel)
        until = max(self._stored.get(channel, 0.0), own.until if own else 0.0)
        return max(0.0, until - time.monotonic())

    def succeeded(self, target: Target) -> None:
        """A call got through: guesses start small again."""
        self._streaks.pop(channel_of(target), None)

    async def pause(self, target: Target, error: ProviderError) -> None:
        """Pause its channel here at once and everywhere within a second or two."""
        channel = channel_of(target)
        streak = self._streaks.get(channel, 0)
        seconds = pause_seconds(error, streak, random.random(), self._longest)
        already = self.left(target)
        if already >= seconds:
            return
        if already == 0.0:
            self._count(channel, streak + 1)
            log.warning("%s asks for fewer calls (%d): paused for %.1f s", channel, error.status_code, seconds)
        own = self._own[channel] = _Own(time.monotonic() + seconds)
        self._show()
        try:
            await self._store.pause(channel, seconds)
            own.shared = True
        except StoreUnavailable:
            log.warning("the pause of %s could not be shared: it holds for this worker only", channel)

    def _count(self, channel: str, streak: int) -> None:
        self._streaks.pop(channel, None)
        self._streaks[channel] = streak
        if len(self._streaks) > _MAX_STREAKS:
            del self._streaks[next(iter(self._streaks))]

    async def refresh(self) -> None:
        """Take over what the database says, also of what is over there. What it cannot know yet holds on."""
        known = {own for own in self._own.values() if own.shared}
        pauses, now = await self._store.pauses(), time.monotonic()
        self._stored = {pause.channel: now + pause.seconds for pause in pauses}
        self._own = {name: own for name, own in self._own.items() if own not in known and own.until > now}
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
        paused = {channel.partition("/")[0] for channel in (*self._stored, *self._own) if self._left(channel) > 0}
        for provider, gauge in self._gauges.items():
            gauge.set(1 if provider in paused else 0)
