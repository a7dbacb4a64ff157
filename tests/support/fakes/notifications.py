"""Notifications in memory: a publisher and listeners with the real ones' methods, and a broker that can be away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from uuid import UUID

OnIds = Callable[[str, Sequence[UUID]], None]


class FakeNotifications:
    """The broker. While it is `away`, notifications are lost; every listener of a modality takes its turn."""

    def __init__(self) -> None:
        self.away = False
        self.listeners: list[FakeListener] = []
        self._turn = itertools.count()

    def publisher(self) -> FakePublisher:
        """One more publisher on this broker."""
        return FakePublisher(self)

    def listener(self, modalities: Sequence[str], on_ids: OnIds, loop: asyncio.AbstractEventLoop) -> FakeListener:
        """One more listener on this broker."""
        return FakeListener(self, modalities, on_ids, loop)

    def carry(self, modality: str, ids: Sequence[UUID]) -> bool:
        """Bring a notification to one of the listeners; False when it is lost."""
        hearing = [listener for listener in self.listeners if modality in listener.modalities]
        if self.away or not hearing:
            return False
        hearing[next(self._turn) % len(hearing)].take(modality, ids)
        return True


class FakePublisher:
    """Remembers what was `notified` and what was `dropped`, each as (modality, ids)."""

    def __init__(self, notifications: FakeNotifications) -> None:
        self._notifications = notifications
        self.notified: list[tuple[str, Sequence[UUID]]] = []
        self.dropped: list[tuple[str, Sequence[UUID]]] = []

    def start(self) -> None:
        """Nothing to connect."""

    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        """Carry the notification at once."""
        (self.notified if self._notifications.carry(modality, ids) else self.dropped).append((modality, ids))

    async def close(self, seconds: float = 2.0) -> None:
        """Nothing is under way."""


class FakeListener:
    """Hears on the event loop, holds while paused."""

    def __init__(
        self,
        notifications: FakeNotifications,
        modalities: Sequence[str],
        on_ids: OnIds,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.modalities = tuple(modalities)
        self._notifications = notifications
        self._on_ids = on_ids
        self._loop = loop
        self._paused = False
        self._held: list[tuple[str, Sequence[UUID]]] = []

    def start(self) -> None:
        """Join."""
        self._notifications.listeners.append(self)

    def set_paused(self, paused: bool) -> None:
        """Hold what comes, or hand over what is held."""
        self._paused = paused
        self._loop.call_soon(self._hand_over)

    async def stop(self, seconds: float = 2.0) -> None:
        """Leave."""
        if self in self._notifications.listeners:
            self._notifications.listeners.remove(self)

    @property
    def partitions(self) -> int:
        """1 while it is a member."""
        return int(self in self._notifications.listeners)

    def take(self, modality: str, ids: Sequence[UUID]) -> None:
        """A notification arrives."""
        self._held.append((modality, tuple(ids)))
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._held and not self._paused and self.partitions:
            self._on_ids(*self._held.pop(0))
