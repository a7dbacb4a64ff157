"""Stand-ins for the library's producer and consumer, driven by the test."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from shared.kafka.notification import decode_notification


def wait_for(condition: Callable[[], bool]) -> None:
    """Block until the other thread made it true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


class StubProducer:
    """Keeps what is sent; acks at once, or when `ack` is called."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.sent: list[tuple[str, int, tuple[Any, ...]]] = []
        self.futures: list[Future] = []
        self.acks = True
        self.known = True
        self.fails: Exception | None = None
        self.blocks: threading.Event | None = None
        self.stuck = False
        self.closed = False

    def partitions_for(self, topic: str) -> set[int]:
        if not self.known:
            raise KafkaTimeoutError
        return {0, 1, 2, 3}

    def send(self, topic: str, value: bytes, partition: int) -> Future:
        if self.blocks is not None:
            self.stuck = True
            self.blocks.wait(10)
        if self.fails is not None:
            raise self.fails
        self.sent.append((topic, partition, decode_notification(value)))
        self.futures.append(Future())
        if self.acks:
            self.futures[-1].success(None)
        return self.futures[-1]

    def ack(self) -> None:
        for future in self.futures:
            if not future.is_done:
                future.success(None)

    def close(self, timeout: float) -> None:
        self.closed = True

    @property
    def ids(self) -> list[Any]:
        return [job_id for _, _, ids in self.sent for job_id in ids]


class StubConsumer:
    """Polls hand out what the test put into `batches`: a list of records by partition, or an exception."""

    def __init__(self, *topics: str, **arguments: Any) -> None:
        self.topics = topics
        self.arguments = arguments
        self.client = arguments["kafka_client"](**arguments | {"bootstrap_servers": "127.0.0.1:1"})
        self.assigned = {TopicPartition(topic, number) for topic in topics for number in (0, 1)}
        self.batches: list[dict[TopicPartition, list[ConsumerRecord]] | Exception] = []
        self.committed: dict[TopicPartition, int] = {}
        self.polls = 0
        self.fetch_waits: list[Any] = []
        self.positions: dict[TopicPartition, int] = {}
        self.sought_end = 0
        self.closed = False
        self._paused: set[TopicPartition] = set()
        self._offsets: defaultdict[TopicPartition, int] = defaultdict(int)

    def put(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        """One more batch of records."""
        place = TopicPartition(topic, partition)
        self.batches.append({place: [self._record(place, value) for value in values]})

    def _record(self, place: TopicPartition, value: bytes | None) -> ConsumerRecord:
        self._offsets[place] += 1
        fields = dict.fromkeys(ConsumerRecord._fields)
        return ConsumerRecord(**fields | {"offset": self._offsets[place] - 1, "value": value})

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        self.polls += 1
        self.fetch_waits.append(self.client.manager.fetch_wait_ms)
        if self.batches and self._paused < self.assigned:
            batch = self.batches.pop(0)
            if isinstance(batch, Exception):
                raise batch
            return batch
        time.sleep(min(timeout_ms, 5) / 1000)
        return {}

    def assignment(self) -> set[TopicPartition]:
        return set(self.assigned)

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def rebalance(self, partitions: Iterable[TopicPartition]) -> None:
        """As an eager rebalance: new partitions, none of them paused."""
        self.assigned = set(partitions)
        self._paused = set()

    def seek_to_end(self) -> None:
        self.sought_end += 1

    def position(self, partition: TopicPartition, timeout_ms: int) -> int | None:
        return self.positions.get(partition)

    def commit_async(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.committed |= {partition: offset.offset for partition, offset in offsets.items()}

    def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        self.commit_async(offsets)

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        self.closed = True
        self.client.close()
