"""Which jobs a worker claims next. Pure: no I/O and no clock of its own, so that a simulation can drive this very file.

Only what can run at once is taken. Free + reserved + held = slots, always: whoever takes reserves in the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from shared.domain.queue_name import Priority, QueueName
from workers.scheduling.channels import Channel, Channels
from workers.scheduling.fair_shares import Account, FairShares
from workers.scheduling.runnable import Candidate, Runnable
from workers.scheduling.waiting import ALL_ENTRIES, CLOSED_ENTRIES, QUEUE_ENTRIES, Entry, Queue, Waiting

AGED_SHARE = 0.1
"""Of what is taken, for jobs of lower priorities that have waited long."""
_MOST_AGED_CREDIT = 8.0


@dataclass(slots=True, eq=False)
class Taken:
    """A job that has a slot. `since`: when it was claimed; None while the claim is under way."""

    entry: Entry
    account: Account
    channel: Channel
    cost: float
    """What its key was charged for it."""
    since: float | None = None


class Scheduler:
    """`now` is any clock in seconds, the same in every call; the times of entries are of the database's clock."""

    def __init__(
        self,
        slots: int,
        *,
        weight_of: Callable[[str], float] = lambda _key: 1.0,
        ageing_seconds: float = 300.0,
        most: int = ALL_ENTRIES,
    ) -> None:
        self.slots = slots
        self.channels = Channels(slots)
        self._waiting = Waiting(most)
        self._shares = FairShares(weight_of)
        self._runnable = {priority: Runnable() for priority in Priority}
        self._placed: dict[Queue, tuple[Account, Channel]] = {}
        self._routes: dict[str, dict[Queue, None]] = {}
        self._taken: dict[UUID, Taken] = {}
        self._reserved = 0
        self._ageing_seconds = ageing_seconds
        self._aged_credit = 0.0

    # What came in

    def put(self, entries: Iterable[Entry]) -> None:
        """Jobs that wait, from wherever they are known. Raises BadQueueName."""
        for entry in entries:
            former = self._waiting.entry(entry.id)
            if entry.id in self._taken or (former and former.queue == entry.queue):
                continue
            self.remove(entry.id)
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        former = self._waiting.get(entry.queue)
        queue = former or self._waiting.open(entry.queue)
        if former is None:
            for channel in queue.name.route:
                self._routes.setdefault(channel, {})[queue] = None
            queue.bound = QUEUE_ENTRIES if self._way(queue) else CLOSED_ENTRIES
        lost = self._waiting.put(entry)
        for each in {queue, *lost}:
            self._settle(each)

    def remove(self, job_id: UUID) -> None:
        """A job does not wait any more: it was ended by somebody, say."""
        entry = self._waiting.remove(job_id)
        if entry is not None and (queue := self._waiting.get(entry.queue)):
            self._settle(queue)

    # Where a queue may run

    def _way(self, queue: Queue) -> Channel | None:
        """The first open channel of its route."""
        return next((each for name in queue.name.route if (each := self.channels[name]).is_open), None)

    def _settle(self, queue: Queue) -> None:
        """Put a queue where it belongs now: to a channel if it holds something that may run, or nowhere."""
        way = self._way(queue) if queue.entries else None
        placed = self._placed.get(queue)
        if placed and placed[1] is not way:
            account, channel = self._placed.pop(queue)
            self._runnable[queue.name.priority].remove(queue, account, channel)
            account.waiting -= 1
            channel.waiting -= 1
            self._shares.left(account)
        if way and queue not in self._placed:
            account = self._shares.account(queue.name.key)
            account.waiting += 1
            way.waiting += 1
            self._placed[queue] = account, way
            self._runnable[queue.name.priority].add(queue, account, way)
        if not queue.entries and not (queue.incomplete and self._way(queue)):
            self._forget(queue)  # of a closed one the sweep knows

    def _forget(self, queue: Queue) -> None:
        self._waiting.close(queue)
        for channel in queue.name.route:
            of_channel = self._routes.get(channel)
            if of_channel is not None:
                of_channel.pop(queue, None)
                if not of_channel:
                    del self._routes[channel]

    def set_open(self, channel: str, *, is_open: bool) -> None:
        """Open or close a channel. Nothing that waits for a closed one is taken, unless its route goes on elsewhere."""
        self.channels[channel].is_open = is_open
        for queue in list(self._routes.get(channel, ())):
            self._waiting.shorten(queue, QUEUE_ENTRIES if self._way(queue) else CLOSED_ENTRIES)
            self._settle(queue)

    # What is taken

    @property
    def free(self) -> int:
        return self.slots - len(self._taken)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def held(self) -> int:
        return len(self._taken) - self._reserved

    def take(self, most: int, now: float, database_now: float) -> list[Taken]:
        """Reserve slots for up to `most` jobs that can run at once. Each must be `claimed` or `missed`."""
        has_room = self.channels.room(now)
        taken: list[Taken] = []
        while len(taken) < most and self.free > 0:
            candidate = self._next(has_room, database_now)
            if candidate is None:
                break
            taken.append(self._reserve(candidate, now))
        return taken

    def _next(self, has_room: Callable[[Channel], bool], database_now: float) -> Candidate | None:
        """By priority, but a share for those of lower ones that have waited for long."""
        found = [(priority, each) for priority, queues in self._runnable.items() if (each := queues.next(has_room))]
        if len(found) < 2:
            return found[0][1] if found else None
        self._aged_credit = min(_MOST_AGED_CREDIT, self._aged_credit + AGED_SHARE)
        if self._aged_credit >= 1.0:
            long_ago = database_now - self._ageing_seconds
            aged = [each for _, each in found[1:] if each.queue.entries[0].due <= long_ago]
            if aged:
                self._aged_credit -= 1.0
                return min(aged, key=lambda each: each.queue.entries[0].due)
        return found[0][1]

    def _reserve(self, candidate: Candidate, now: float) -> Taken:
        queue, account, channel = candidate.queue, candidate.account, candidate.channel
        entry = queue.entries[0]
        self._waiting.remove(entry.id)
        account.held += 1
        channel.held += 1
        channel.active_at = now
        taken = Taken(entry, account, channel, channel.estimate)
        self._shares.serve(account, taken.cost)
        self._taken[entry.id] = taken
        self._reserved += 1
        self._settle(queue)
        return taken

    def claimed(self, taken: Taken, now: float) -> None:
        """The claim took it: it is held from now on, until `ended`."""
        taken.since = now
        taken.channel.started[taken] = now
        self._reserved -= 1

    def missed(self, taken: Taken) -> None:
        """The claim did not take it: somebody else has it, or the database did not answer. It cost nothing."""
        self._reserved -= 1
        self._gave_back(taken, -taken.cost)

    def ended(self, taken: Taken, now: float, *, called: bool = True) -> None:
        """A held job is recorded, given back or lost. `called`: its time says how long calls of its channel take."""
        assert taken.since is not None
        seconds = now - taken.since
        del taken.channel.started[taken]
        if called:
            taken.channel.took(seconds)
        self._gave_back(taken, seconds - taken.cost)

    def _gave_back(self, taken: Taken, correction: float) -> None:
        account, channel = taken.account, taken.channel
        if self._taken.get(taken.entry.id) is taken:
            del self._taken[taken.entry.id]
        self._shares.correct(account, correction)
        for queues in self._runnable.values():
            queues.moved(account)
        account.held -= 1
        channel.held -= 1
        self._shares.left(account)

    # What is known of it

    def knows(self, job_id: UUID) -> bool:
        return job_id in self._taken or job_id in self._waiting

    def to_refill(self) -> list[QueueName]:
        """Queues that dropped entries, may run and are half empty."""
        return [queue.name for queue in self._waiting.queues() if queue.wants_more and self._way(queue)]

    def refilled(self, names: Collection[str]) -> None:
        """The database has no more of these queues than what was put."""
        for name in names:
            if queue := self._waiting.get(name):
                queue.incomplete = False
                self._settle(queue)

    def check(self) -> None:
        """The sums that hold after each call. Raises AssertionError."""
        self._waiting.check()
        assert 0 <= self._reserved <= len(self._taken) <= self.slots
        assert sum(channel.held for channel in self.channels.all()) == len(self._taken)
        for queue in self._waiting.queues():
            assert (queue in self._placed) == bool(queue.entries and self._way(queue))
