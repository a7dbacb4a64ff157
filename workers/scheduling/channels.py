"""What a worker knows of its channels: whether they are open, how many slots each holds, how long its calls take. Pure.

A channel is a model behind one provider's key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

_GAP = 4.0
"""So many times longer must the calls of a slow channel take than those of the next faster one..."""
_STAYS_SLOW = 3.0
"""...and so many to stay a slow one: no flapping at the border."""
_SLOW_SECONDS = 1.0
"""Shorter calls are never slow: the next slot is free soon, whoever held it."""
_UNKNOWN_SECONDS = 2.0
"""A channel of which no call has ended is as slow as its oldest call, once that takes longer than this."""
_ACTIVE_SECONDS = 60.0
_NEWEST = 0.1
"""Weight of the newest call in the usual length of calls."""
_FIRST_ESTIMATE = 0.1
_KEPT = 4096
_HALVED_SLOTS = 8
"""Of fewer slots one is left to channels that are not slow; of so many, half."""


class Channel:
    """`held` counts slots, reserved ones too, `waiting` queues. `usual` is the usual length of a call in seconds."""

    __slots__ = ("active_at", "held", "is_open", "name", "slow", "started", "usual", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = True
        self.held = 0
        self.waiting = 0
        self.usual: float | None = None
        self.slow = False
        self.active_at = 0.0
        self.started: dict[object, float] = {}
        """When each running job of it began, oldest first."""

    @property
    def estimate(self) -> float:
        """Seconds that a call is charged for before it ends."""
        return _FIRST_ESTIMATE if self.usual is None else self.usual

    def length(self, now: float) -> float:
        """How long its calls take, as far as is known."""
        if self.usual is not None:
            return self.usual
        running = now - next(iter(self.started.values()), now)
        return running if running > _UNKNOWN_SECONDS else 0.0

    def took(self, seconds: float) -> None:
        self.usual = seconds if self.usual is None else (1 - _NEWEST) * self.usual + _NEWEST * seconds


class Channels:
    """All channels of a worker with `slots` slots. Slow ones together leave room for the others."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._channels: dict[str, Channel] = {}

    def __getitem__(self, name: str) -> Channel:
        channel = self._channels.get(name)
        if channel is None:
            self._forget()
            channel = self._channels[name] = Channel(name)
        return channel

    def all(self) -> Collection[Channel]:
        return self._channels.values()

    def _forget(self) -> None:
        if len(self._channels) >= _KEPT:
            unused = [each.name for each in self.all() if each.is_open and not (each.held or each.waiting)]
            for name in unused:
                del self._channels[name]

    def room(self, now: float) -> Callable[[Channel], bool]:
        """Whether a channel may have one more slot, to be asked while no time passes."""
        active = [each for each in self.all() if each.held or now - each.active_at < _ACTIVE_SECONDS]
        mark_slow(active, now)
        limit = self._slots
        if any(not each.slow for each in active):
            limit = self._slots // 2 if self._slots >= _HALVED_SLOTS else self._slots - 1

        def has_room(channel: Channel) -> bool:
            return not channel.slow or sum(each.held for each in self.all() if each.slow) < limit

        return has_room


def mark_slow(active: Sequence[Channel], now: float) -> None:
    """Above the widest gap in the lengths of their calls channels are slow, if it is wide enough."""
    by_length = sorted(active, key=lambda each: each.length(now))
    border = len(by_length)
    widest = 0.0
    for place in range(1, len(by_length)):
        faster, slower = by_length[place - 1], by_length[place]
        ratio = slower.length(now) / max(faster.length(now), 0.001)
        needed = _STAYS_SLOW if slower.slow else _GAP
        if slower.length(now) >= _SLOW_SECONDS and ratio >= needed and ratio > widest:
            border, widest = place, ratio
    for place, channel in enumerate(by_length):
        channel.slow = place >= border
