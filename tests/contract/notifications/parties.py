"""Publishers and listeners, in memory and on a real broker (`TEST_KAFKA=apache` for Apache Kafka)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from kafka import KafkaProducer

from shared.domain.ids import new_job_id
from shared.kafka.consumer import NotificationListener
from shared.kafka.publisher import DELIVERY_SECONDS, NotificationPublisher
from shared.kafka.topics import ensure_topics, topic_name
from shared.settings.table import Settings
from shared.telemetry.metrics import REGISTRY
from tests.support.fakes.notifications import FakeNotifications
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker

_numbers = itertools.count()
PATIENCE = 40.0
"""Seconds until something that must happen counts as missing."""
OUTAGE_SECONDS = DELIVERY_SECONDS + 1
"""Longer than a record lives."""
SPIN_SECONDS = 12.0
"""The client library's busy loops begin, and some end, within 10 s."""


class Recorder:
    """What one listener received: (modality, id) pairs in order."""

    def __init__(self) -> None:
        self.received: list[tuple[str, UUID]] = []
        self.calls = 0

    def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
        self.calls += 1
        self.received += [(modality, job_id) for job_id in ids]

    @property
    def ids(self) -> list[UUID]:
        return [job_id for _, job_id in self.received]


class Fake:
    """The notifications in memory. `pace` scales the times that only a real broker needs."""

    pace = 0.02

    def __init__(self) -> None:
        self._notifications = FakeNotifications()

    def publisher(self) -> Any:
        return self._notifications.publisher()

    def listener(self, modalities: Sequence[str], recorder: Recorder) -> Any:
        return self._notifications.listener(modalities, recorder, asyncio.get_running_loop())

    def kill(self) -> None:
        self._notifications.away = True

    def restart(self) -> None:
        self._notifications.away = False

    freeze, thaw = kill, restart

    def put(self, modality: str, value: bytes) -> None:
        """The notifications in memory carry no records: there is nothing to damage."""


class Real:
    """A broker of its own, started for this module; each test has topics and a group of its own."""

    pace = 1.0

    def __init__(self, broker: EmbeddedBroker | ApacheKafka) -> None:
        self._broker = broker
        number = f"{os.getpid()}-{next(_numbers)}"
        self.settings = Settings(
            kafka_bootstrap_servers=broker.bootstrap,
            kafka_topic_prefix=f"notifications-{number}",
            kafka_group_prefix=f"notifications-{number}",
            kafka_partitions=4,
            kafka_fetch_wait_seconds=0.1,
        )
        ensure_topics(self.settings)

    def publisher(self) -> NotificationPublisher:
        return NotificationPublisher(self.settings)

    def listener(self, modalities: Sequence[str], recorder: Recorder) -> NotificationListener:
        return NotificationListener(self.settings, modalities, recorder, asyncio.get_running_loop())

    def kill(self) -> None:
        self._broker.kill()

    def restart(self) -> None:
        """As an operator would: the broker, then `coatcheck init`, since the embedded one forgets its topics."""
        self._broker.start()
        ensure_topics(self.settings)

    def freeze(self) -> None:
        os.kill(self._broker.pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._broker.pid(), signal.SIGCONT)

    def put(self, modality: str, value: bytes) -> None:
        producer = KafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, acks=1)
        try:
            for partition in range(self.settings.kafka_partitions):
                producer.send(topic_name(self.settings, modality), value, partition=partition).get(10)
        finally:
            producer.close(5)


class Party:
    """Publishers and listeners of one test, all stopped at its end."""

    def __init__(self, notifications: Fake | Real) -> None:
        self.notifications = notifications
        self.listeners: list[Any] = []
        self.publishers: list[Any] = []

    def publisher(self) -> Any:
        self.publishers.append(self.notifications.publisher())
        self.publishers[-1].start()
        return self.publishers[-1]

    def join(self, recorder: Recorder, modalities: Sequence[str] = ("text",)) -> Any:
        """Add a listener that has yet to become a member."""
        self.listeners.append(self.notifications.listener(modalities, recorder))
        self.listeners[-1].start()
        return self.listeners[-1]

    async def listener(self, recorder: Recorder, modalities: Sequence[str] = ("text",)) -> Any:
        """Add a listener and wait until it has partitions."""
        listener = self.join(recorder, modalities)
        await until(lambda: listener.partitions > 0)
        return listener

    async def received_again(self, publisher: Any, recorder: Recorder) -> None:
        """Publish new ids until one is received."""
        notified: set[UUID] = set()

        def one_arrives() -> bool:
            notified.add(new_job_id())
            publisher.publish("text", list(notified)[-1:])
            return not notified.isdisjoint(recorder.ids)

        await until(one_arrives)


async def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


def ids(count: int) -> list[UUID]:
    return [new_job_id() for _ in range(count)]


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"coatcheck_{name}_total", {"modality": "text"}) or 0.0
