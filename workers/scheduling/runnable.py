"""The queues of one priority that may run, by the channel that they would run on now. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workers.scheduling.channels import Channel
from workers.scheduling.fair_shares import Account
from workers.scheduling.waiting import Queue


class _Line:
    """The keys that wait for one channel. A heap of their counters; an entry counts while it is the key's newest."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.queues: dict[str, dict[Queue, Account]] = {}
        self._heap: list[tuple[float, str]] = []
        self._newest: dict[str, float] = {}

    def add(self, queue: Queue, account: Account) -> None:
        self.queues.setdefault(account.key, {})[queue] = account
        self.moved(account)

    def moved(self, account: Account) -> None:
        """A counter that went down must be found where it is now."""
        if account.key in self.queues and self._newest.get(account.key) != account.used:
            self._newest[account.key] = account.used
            heapq.heappush(self._heap, (account.used, account.key))

    def remove(self, queue: Queue, account: Account) -> None:
        of_key = self.queues[account.key]
        del of_key[queue]
        if not of_key:
            del self.queues[account.key], self._newest[account.key]

    def first(self) -> tuple[Account, Queue] | None:
        """The key that got least, and its oldest queue."""
        while self._heap:
            used, key = self._heap[0]
            of_key = self.queues.get(key)
            if of_key is None or self._newest[key] != used:
                heapq.heappop(self._heap)
                continue
            account = next(iter(of_key.values()))
            if account.used > used:
                self._newest[key] = account.used
                heapq.heapreplace(self._heap, (account.used, key))
                continue
            return account, min(of_key, key=lambda queue: queue.entries[0])
        return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The next job of one channel: whose it is, and where it waits."""

    account: Account
    queue: Queue
    channel: Channel

    @property
    def order(self) -> tuple[float, int, float]:
        """The key that got least; of one key the channel that holds fewest slots; then the oldest."""
        return self.account.used, self.channel.held, self.queue.entries[0].due


class Runnable:
    """Candidates are compared across channels; a channel without room offers none."""

    def __init__(self) -> None:
        self._lines: dict[Channel, _Line] = {}

    def add(self, queue: Queue, account: Account, channel: Channel) -> None:
        """A queue that holds something waits for `channel`."""
        line = self._lines.get(channel)
        if line is None:
            line = self._lines[channel] = _Line(channel)
        line.add(queue, account)

    def remove(self, queue: Queue, account: Account, channel: Channel) -> None:
        line = self._lines[channel]
        line.remove(queue, account)
        if not line.queues:
            del self._lines[channel]

    def moved(self, account: Account) -> None:
        for line in self._lines.values():
            line.moved(account)

    def next(self, has_room: Callable[[Channel], bool]) -> Candidate | None:
        return min(self._candidates(has_room), key=lambda each: each.order, default=None)

    def _candidates(self, has_room: Callable[[Channel], bool]) -> Iterator[Candidate]:
        for channel, line in self._lines.items():
            if has_room(channel) and (first := line.first()):
                yield Candidate(*first, channel)
