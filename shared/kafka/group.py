"""A consumer as a member of its group: it assigns partitions where it leads, and commits offsets now and then."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

log = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0
"""Notifications since the last commit come again after a rebalance; the claim finds nothing to do for them."""
_LAST_COMMIT_MS = 500

Deal = dict[str, list[Any]]


class CheckedAssignor(RangePartitionAssignor):  # type: ignore[misc]  # the library carries no types
    """By range: the round robin of the library fails when members serve different topics.

    When topics change, the group leader joins again and assigns anew, in a new generation of the group. The embedded
    broker keeps the old assignment until a member joins that it does not know: that is noticed.
    """

    def __init__(self) -> None:
        self.overruled = False
        """Whether this member leads the group and the broker ignored its assignment."""
        self._deal: Deal = {}
        self._before: tuple[int, Deal] = (-1, {})

    def metadata(self, topics: Sequence[str]) -> Any:
        self._deal = {}
        return super().metadata(topics)

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, Any]:
        assigned: dict[str, Any] = super().assign(cluster, members)
        self._deal = {member: sorted(share.partitions()) for member, share in assigned.items()}
        return assigned

    def on_assignment(self, assignment: Any, generation: int) -> None:
        known, before = self._before
        # A restarted embedded broker counts from 0 again, with new member names.
        again = generation == known and not before.keys().isdisjoint(self._deal)
        self.overruled = again and self._deal != before
        if not self.overruled:
            self._before = (generation, self._deal)


class OffsetCommitter:
    """Offsets decide only which notifications are lost or repeated. Used by the polling thread only."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self._started: set[TopicPartition] = set()
        self._due = 0.0

    def note(self, partition: TopicPartition, next_offset: int) -> None:
        self._offsets[partition] = OffsetAndMetadata(next_offset, "", -1)

    def commit_when_due(self) -> None:
        """Commit what is new, at most every COMMIT_SECONDS. Does not wait for the answer."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + COMMIT_SECONDS
        try:
            self._note_starts()
            if offsets := self._take():
                self._consumer.commit_async(offsets)
        except KafkaError as error:
            log.debug("notifications: offsets not committed (%s)", type(error).__name__)

    def commit_last(self) -> None:
        """Commit what is new and wait for the answer, for half a second at most."""
        try:
            if offsets := self._take():
                self._consumer.commit(offsets, timeout_ms=_LAST_COMMIT_MS)
        except KafkaError as error:
            log.debug("notifications: offsets not committed (%s)", type(error).__name__)

    def _note_starts(self) -> None:
        """Positions on new partitions too: without a commit, the next owner of a partition begins at its end."""
        mine = self._consumer.assignment()
        self._started &= mine
        for partition in mine - self._started:
            position = self._consumer.position(partition, timeout_ms=0)
            if position is None:  # not known yet: next time
                break
            self._offsets.setdefault(partition, OffsetAndMetadata(position, "", -1))
            self._started.add(partition)

    def _take(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """What is new on partitions that are still ours: the broker would accept others too."""
        mine = self._consumer.assignment()
        offsets, self._offsets = self._offsets, {}
        return {partition: offset for partition, offset in offsets.items() if partition in mine}
