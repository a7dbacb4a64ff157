"""What waits in this worker, by queue: bounded, oldest first, every id once. Pure; it decides nothing."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from uuid import UUID

from shared.domain.queue_name import QueueName, parse_queue_name

QUEUE_ENTRIES = 256
CLOSED_ENTRIES = 16
"""Kept of a queue that cannot run."""
ALL_ENTRIES = 20_000


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A job that waits: due since `due` in seconds; a job to be taken over is due since ever."""

    due: float
    id: UUID
    queue: str = field(compare=False)


class Queue:
    """`entries` oldest first. `incomplete`: some were dropped here and wait in the database alone."""

    __slots__ = ("bound", "entries", "incomplete", "name", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.name: QueueName = parse_queue_name(text)
        self.entries: list[Entry] = []
        self.bound = QUEUE_ENTRIES
        self.incomplete = False

    @property
    def length(self) -> int:
        return len(self.entries)

    @property
    def wants_more(self) -> bool:
        """Whether it is to be filled again from the database."""
        return self.incomplete and self.length <= self.bound // 2


class Waiting:
    """All queues. A full one drops its youngest, whoever brings a new one; of too many, the longest queue does."""

    def __init__(self, most: int = ALL_ENTRIES) -> None:
        self._most = most
        self._queues: dict[str, Queue] = {}
        self._where: dict[UUID, Entry] = {}
        self._by_length: dict[int, dict[Queue, None]] = {}
        self._longest = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, job_id: UUID) -> bool:
        return job_id in self._where

    def queues(self) -> list[Queue]:
        return list(self._queues.values())

    def entry(self, job_id: UUID) -> Entry | None:
        return self._where.get(job_id)

    def get(self, text: str) -> Queue | None:
        return self._queues.get(text)

    def open(self, text: str) -> Queue:
        """The queue of this name, made if need be. Raises BadQueueName."""
        queue = self._queues.get(text)
        if queue is None:
            queue = self._queues[text] = Queue(text)
        return queue

    def put(self, entry: Entry) -> list[Queue]:
        """Keep an entry that is not there yet, in a queue that is. Returns the queues that lost one for it."""
        queue = self._queues[entry.queue]
        before = queue.length
        bisect.insort(queue.entries, entry)
        self._where[entry.id] = entry
        self._measured(queue, before)
        if queue.length > queue.bound:
            return self._drop_youngest(queue)
        if len(self._where) > self._most:
            return self._drop_youngest(next(iter(self._by_length[self._longest])))
        return []

    def shorten(self, queue: Queue, bound: int) -> int:
        """Give a queue another bound; how many it lost."""
        queue.bound, before = bound, queue.length
        while queue.length > bound:
            self._drop_youngest(queue)
        return before - queue.length

    def remove(self, job_id: UUID) -> Entry | None:
        """Take a job out, wherever it waits."""
        entry = self._where.pop(job_id, None)
        if entry is not None:
            queue = self._queues[entry.queue]
            before = queue.length
            del queue.entries[bisect.bisect_left(queue.entries, entry)]
            self._measured(queue, before)
        return entry

    def close(self, queue: Queue) -> None:
        """Forget a queue that holds nothing."""
        self._queues.pop(queue.text, None)

    def _drop_youngest(self, queue: Queue) -> list[Queue]:
        self.remove(queue.entries[-1].id)
        queue.incomplete = True
        self.dropped += 1
        return [queue]

    def _measured(self, queue: Queue, before: int) -> None:
        """Keep queues by their length, so that the longest is found at once."""
        if before:
            same = self._by_length[before]
            del same[queue]
            if not same:
                del self._by_length[before]
        if queue.entries:
            self._by_length.setdefault(queue.length, {})[queue] = None
            self._longest = max(self._longest, queue.length)
        while self._longest and self._longest not in self._by_length:
            self._longest -= 1

    def check(self) -> None:
        """Raises AssertionError when the sums do not agree."""
        assert sum(each.length for each in self._queues.values()) == len(self._where)
        assert sum(map(len, self._by_length.values())) == sum(1 for each in self._queues.values() if each.entries)
