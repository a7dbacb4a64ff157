"""Bells in memory: a ringer and listeners with the real ones' methods, and a broker that can be away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from uuid import UUID

OnIds = Callable[[str, Sequence[UUID]], None]


class FakeBells:
    """The broker. While it is `away`, bells are lost; every listener of a modality takes its turn."""

    def __init__(self) -> None:
        self.away = False
        self.listeners: list[FakeListener] = []
        self._turn = itertools.count()

    def ringer(self) -> FakeRinger:
        """One more ringer on this broker."""
        return FakeRinger(self)

    def listener(self, modalities: Sequence[str], on_ids: OnIds, loop: asyncio.AbstractEventLoop) -> FakeListener:
        """One more listener on this broker."""
        return FakeListener(self, modalities, on_ids, loop)

    def carry(self, modality: str, ids: Sequence[UUID]) -> bool:
        """Bring a bell to one of the listeners; False when it is lost."""
        hearing = [listener for listener in self.listeners if modality in listener.modalities]
        if self.away or not hearing:
            return False
        hearing[next(self._turn) % len(hearing)].take(modality, ids)
        return True


class FakeRinger:
    """Remembers what was `rung` and what was `dropped`, each as (modality, ids)."""

    def __init__(self, bells: FakeBells) -> None:
        self._bells = bells
        self.rung: list[tuple[str, Sequence[UUID]]] = []
        self.dropped: list[tuple[str, Sequence[UUID]]] = []

    def start(self) -> None:
        """Nothing to connect."""

    def ring(self, modality: str, ids: Sequence[UUID]) -> None:
        """Carry the bell at once."""
        (self.rung if self._bells.carry(modality, ids) else self.dropped).append((modality, ids))

    async def close(self, seconds: float = 2.0) -> None:
        """Nothing is under way."""


class FakeListener:
    """Hears on the event loop, holds while paused."""

    def __init__(
        self, bells: FakeBells, modalities: Sequence[str], on_ids: OnIds, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.modalities = tuple(modalities)
        self._bells = bells
        self._on_ids = on_ids
        self._loop = loop
        self._paused = False
        self._held: list[tuple[str, Sequence[UUID]]] = []

    def start(self) -> None:
        """Join."""
        self._bells.listeners.append(self)

    def set_paused(self, paused: bool) -> None:
        """Hold what comes, or hand over what is held."""
        self._paused = paused
        self._loop.call_soon(self._hand_over)

    async def stop(self, seconds: float = 2.0) -> None:
        """Leave."""
        if self in self._bells.listeners:
            self._bells.listeners.remove(self)

    @property
    def partitions(self) -> int:
        """1 while it is a member."""
        return int(self in self._bells.listeners)

    def take(self, modality: str, ids: Sequence[UUID]) -> None:
        """A bell arrives."""
        self._held.append((modality, tuple(ids)))
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._held and not self._paused and self.partitions:
            self._on_ids(*self._held.pop(0))
