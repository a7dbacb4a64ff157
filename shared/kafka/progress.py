"""How far a consumer has read, committed now and then. Nothing but bells lost or repeated hangs on it."""

from __future__ import annotations

import logging
import time

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

log = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0
"""Bells since the last commit ring again after a rebalance; the claim finds nothing to do for them."""
_LAST_COMMIT_MS = 500


class Progress:
    """The offsets of one consumer. Belongs to the thread that polls it."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self._started: set[TopicPartition] = set()
        self._due = 0.0

    def note(self, partition: TopicPartition, next_offset: int) -> None:
        """Everything before `next_offset` was handed on."""
        self._offsets[partition] = OffsetAndMetadata(next_offset, "", -1)

    def commit_when_due(self) -> None:
        """Send what is new since the last commit, if that is a while ago; wait for no answer."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + COMMIT_SECONDS
        try:
            self._note_starts()
            offsets = self._take()
            if offsets:
                self._consumer.commit_async(offsets)
        except KafkaError as error:
            log.debug("bells: offsets not committed (%s)", type(error).__name__)

    def commit_last(self) -> None:
        """Send what is new and wait for the answer, for half a second at most."""
        try:
            offsets = self._take()
            if offsets:
                self._consumer.commit(offsets, timeout_ms=_LAST_COMMIT_MS)
        except KafkaError as error:
            log.debug("bells: offsets not committed (%s)", type(error).__name__)

    def _note_starts(self) -> None:
        """Have the positions on new partitions committed too. Without a commit, whoever gets a partition next begins at
        its end and skips what rang while it changed hands."""
        mine = self._consumer.assignment()
        self._started &= mine
        for partition in mine - self._started:
            position = self._consumer.position(partition, timeout_ms=0)
            if position is None:  # still being asked for: next time
                break
            self._offsets.setdefault(partition, OffsetAndMetadata(position, "", -1))
            self._started.add(partition)

    def _take(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """What is new on partitions that are still ours: the broker would take it for a colleague's, too."""
        mine = self._consumer.assignment()
        offsets, self._offsets = self._offsets, {}
        return {partition: offset for partition, offset in offsets.items() if partition in mine}
