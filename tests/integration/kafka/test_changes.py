"""Topics that change while workers listen: new ones are received within seconds, without a restart."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.protocol.admin import DescribeGroupsRequest

from shared.domain.ids import new_job_id
from shared.kafka.consumer import NotificationListener
from shared.kafka.notification import encode_notification
from shared.kafka.topics import delete_topic, ensure_topics, group_name, topic_name
from shared.settings.table import Settings
from tests.integration.kafka.test_notifications import quick, until
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker

SECONDS = 20.0
"""A change takes effect within this: metadata takes 3 s, a rebalance 1 s (Apache Kafka) or 6 s (embedded broker)."""
_numbers = itertools.count()


@pytest.fixture
def settings(broker: EmbeddedBroker | ApacheKafka) -> Settings:
    return quick(broker.bootstrap, f"change-{os.getpid()}-{next(_numbers)}")


class Workers:
    """Listeners for `text` on one event loop, and what all of them received."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self.received: set[UUID] = set()
        loop = asyncio.get_running_loop()
        self.listeners = [NotificationListener(settings, ["text"], self._on_ids, loop) for _ in range(count)]

    def _on_ids(self, _modality: str, ids: Sequence[UUID]) -> None:
        self.received |= set(ids)

    @property
    def partitions(self) -> int:
        return sum(listener.partitions for listener in self.listeners)

    async def receive_all_of(self, partitions: int) -> float:
        """Wait until a notification on each partition is received; seconds."""
        began = time.monotonic()
        await until(lambda: self.partitions == partitions, patience=SECONDS)
        for partition in range(partitions):
            await self._receive_on(partition)
        return time.monotonic() - began

    async def _receive_on(self, partition: int) -> None:
        """Publish on it until one is received: a new owner of a partition begins at its end."""
        notified: set[UUID] = set()

        def one_arrives() -> bool:
            notified.add(job_id := new_job_id())
            producer.send(topic_name(self._settings, "text"), encode_notification([job_id]), partition=partition)
            return not notified.isdisjoint(self.received)

        producer = KafkaProducer(bootstrap_servers=self._settings.kafka_bootstrap_servers, acks=1)
        try:
            await until(one_arrives, patience=SECONDS)
        finally:
            producer.close(5)


@asynccontextmanager
async def workers(settings: Settings, count: int) -> AsyncIterator[Workers]:
    """So many listeners, all of them members of the group."""
    some = Workers(settings, count)
    for listener in some.listeners:
        listener.start()
    try:
        await asyncio.to_thread(wait_for_members, settings, count)
        yield some
    finally:
        await asyncio.gather(*(listener.stop() for listener in some.listeners))


def wait_for_members(settings: Settings, count: int) -> None:
    """Block until the group has settled with so many members."""
    admin, group = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers), group_name(settings)
    deadline = time.monotonic() + 60
    try:
        while True:
            # Not `describe_groups`: it trips over rights that the embedded broker makes up.
            request = DescribeGroupsRequest(groups=[group], include_authorized_operations=False)
            (found,) = admin._manager.run(admin._manager.send, request).groups
            if found.group_state == "Stable" and len(found.members) == count:
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
    finally:
        admin.close()


def widen(broker: EmbeddedBroker | ApacheKafka, settings: Settings, partitions: int) -> None:
    """Give the topic of `text` more partitions; the embedded broker has to make it anew for that."""
    if isinstance(broker, EmbeddedBroker):
        delete_topic(settings, "text")
        ensure_topics(msgspec.structs.replace(settings, kafka_partitions=partitions), ["text"])
        return
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    try:
        admin.create_partitions({topic_name(settings, "text"): partitions})
    finally:
        admin.close()


@pytest.mark.parametrize("count", [1, 3])
async def test_topics_that_are_made_after_the_workers_joined_are_received(settings: Settings, count: int) -> None:
    async with workers(settings, count) as some:
        assert some.partitions == 0
        await asyncio.to_thread(ensure_topics, settings)
        print(f"{count} workers received new topics after {await some.receive_all_of(2):.1f} s")


@pytest.mark.parametrize("count", [1, 3])
async def test_partitions_that_are_added_to_a_topic_are_received(
    broker: EmbeddedBroker | ApacheKafka, settings: Settings, count: int
) -> None:
    ensure_topics(settings)
    async with workers(settings, count) as some:
        await some.receive_all_of(2)
        await asyncio.to_thread(widen, broker, settings, 5)
        print(f"{count} workers received new partitions after {await some.receive_all_of(5):.1f} s")
