"""What notifications cost and survive on a real broker, beyond the contract."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from kafka import KafkaAdminClient
from kafka.protocol.producer import ProduceRequest
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from shared.domain.ids import new_job_id
from shared.kafka import consumer as listener_module
from shared.kafka import publisher as publisher_module
from shared.kafka.consumer import SESSION_SECONDS, NotificationListener
from shared.kafka.publisher import NotificationPublisher
from shared.kafka.topics import ensure_topics, group_name, topic_name
from shared.settings.table import Settings
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker, apache_wanted

MEMBER = """
import asyncio, sys
from shared.kafka.consumer import NotificationListener
from shared.settings.table import Settings

async def main():
    servers, prefix = sys.argv[1:]
    settings = Settings(kafka_bootstrap_servers=servers, kafka_topic_prefix=prefix, kafka_group_prefix=prefix)
    listener = NotificationListener(settings, ["text"], lambda *_: None, asyncio.get_running_loop())
    listener.start()
    while True:
        await asyncio.sleep(0.05)
        print(listener.partitions, flush=True)

asyncio.run(main())
"""


def quick(bootstrap: str, prefix: str) -> Settings:
    """Settings with names of their own; the fetch wait is what `coatcheck dev` takes for the embedded broker."""
    embedded = not apache_wanted()
    return Settings(
        kafka_bootstrap_servers=bootstrap,
        kafka_topic_prefix=prefix,
        kafka_group_prefix=prefix,
        kafka_partitions=2,
        kafka_fetch_wait_seconds=0.1 if embedded else 0.5,
    )


@pytest.fixture
def settings(broker: EmbeddedBroker | ApacheKafka, request: pytest.FixtureRequest) -> Settings:
    settings = quick(broker.bootstrap, f"cost-{os.getpid()}-{abs(hash(request.node.name))}")
    ensure_topics(settings)
    return settings


class Both:
    """A publisher and a listener for `text`, and when each id was received."""

    def __init__(self, settings: Settings) -> None:
        self.received: dict[UUID, float] = {}
        self.publisher = NotificationPublisher(settings)
        self.listener = NotificationListener(settings, ["text"], self._on_ids, asyncio.get_running_loop())

    def _on_ids(self, _modality: str, ids: Sequence[UUID]) -> None:
        self.received |= dict.fromkeys(ids, time.perf_counter())

    async def __aenter__(self) -> Both:
        self.publisher.start()
        self.listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listener.stop()
        await self.publisher.close()

    async def publish(self) -> float:
        """Publish once; seconds until it was received."""
        job_id, started = new_job_id(), time.perf_counter()
        self.publisher.publish("text", [job_id])
        await until(lambda: job_id in self.received, step=0.001)
        return self.received[job_id] - started

    async def publish_until_received(self) -> None:
        """Publish new ids until one is received."""
        notified: set[UUID] = set()

        def one_arrives() -> bool:
            job_id = new_job_id()
            notified.add(job_id)
            self.publisher.publish("text", [job_id])
            return not notified.isdisjoint(self.received)

        await until(one_arrives)


async def until(condition: Callable[[], bool], step: float = 0.05, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(step)


async def test_a_single_notification_is_received_quickly_and_waiting_for_it_costs_little(
    broker: EmbeddedBroker | ApacheKafka, settings: Settings
) -> None:
    async with Both(settings) as both:
        await both.publish_until_received()
        await asyncio.sleep(1)
        busy, started = time.process_time(), time.monotonic()
        await asyncio.sleep(4)
        idle = (time.process_time() - busy) / (time.monotonic() - started)
        took = []
        for _ in range(31):
            took.append(await both.publish())
            await asyncio.sleep(0.05)
    took.sort()
    print(
        f"idle {idle:.2%} of a core; one notification: median {took[15] * 1e3:.1f} ms, longest {took[-1] * 1e3:.1f} ms"
    )
    assert idle < (0.02 if isinstance(broker, ApacheKafka) else 0.04)
    assert took[15] < (0.05 if isinstance(broker, ApacheKafka) else 0.1)


async def test_notifications_for_a_member_killed_with_9_are_received_by_another(settings: Settings) -> None:
    async with Both(settings) as both:
        arguments = ["-c", MEMBER, settings.kafka_bootstrap_servers, settings.kafka_topic_prefix]
        root = Path(__file__).parents[3]
        member = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=root
        )
        try:
            assert member.stdout is not None
            while await member.stdout.readline() != b"1\n":
                pass
            await until(lambda: both.listener.partitions == 1)
            await asyncio.to_thread(wait_for_commits, settings)
        finally:
            member.kill()
            await member.communicate()
        started = time.monotonic()
        notified = [new_job_id() for _ in range(20)]
        for job_id in notified:  # half of them on the partition of the dead
            both.publisher.publish("text", [job_id])
            await until(lambda: both.publisher.unacked == 0, step=0.001)
        await until(lambda: both.listener.partitions == 2)
        print(f"taken over after {time.monotonic() - started:.1f} s, the session lasts {SESSION_SECONDS} s")
        await until(lambda: set(notified) <= set(both.received))


def wait_for_commits(settings: Settings) -> None:
    """Block until the group has an offset for every partition of `text`."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    topic, group = topic_name(settings, "text"), group_name(settings)
    deadline = time.monotonic() + 30
    try:
        while len([place for place in admin.list_group_offsets(group)[group] if place.topic == topic]) < 2:
            assert time.monotonic() < deadline, "no offsets were committed"
            time.sleep(0.2)
    finally:
        admin.close()


async def test_brokers_that_moved_are_found_through_the_bootstrap_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "REBUILD_SECONDS", 3.0)
    monkeypatch.setattr(listener_module, "REBUILD_SECONDS", 6.0)
    old, new = EmbeddedBroker(tmp_path / "old"), EmbeddedBroker(tmp_path / "new")
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    settings = quick(f"{old.bootstrap},{new.bootstrap}", "moved")
    with old:
        ensure_topics(settings)
        async with Both(settings) as both:
            await both.publish_until_received()
            old.kill()
            with new:
                ensure_topics(settings)
                await both.publish_until_received()


async def test_a_broker_that_refuses_connections_costs_no_file_descriptors() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        gc.disable()  # what only the garbage collector closes stays open
        try:
            async with Both(quick(f"127.0.0.1:{taken.getsockname()[1]}", "nobody")) as both:
                await asyncio.sleep(1)
                before = len(list(Path("/dev/fd").iterdir()))
                for _ in range(20):
                    both.publisher.publish("text", [new_job_id()])
                    await asyncio.sleep(0.25)
                assert len(list(Path("/dev/fd").iterdir())) <= before + 2
        finally:
            gc.enable()


async def test_a_batch_that_cannot_be_unpacked_is_skipped(
    broker: EmbeddedBroker | ApacheKafka, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with Both(settings) as both:
        await both.publish_until_received()
        accepted = put_bad_batch(settings)
        assert accepted == isinstance(broker, EmbeddedBroker)  # Apache Kafka looks into the batches that it takes
        await both.publish_until_received()
        await until(lambda: accepted == ("cannot read" in caplog.text))
        await both.publish_until_received()


def put_bad_batch(settings: Settings) -> bool:
    """Send a batch that says gzip and is not, to every partition; False when the broker refuses it."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    try:
        topic = topic_name(settings, "text")
        errors = set()
        for partition in range(settings.kafka_partitions):
            data = ProduceRequest.TopicProduceData
            part = data.PartitionProduceData(index=partition, records=bad_batch())
            request = ProduceRequest(
                transactional_id=None,
                acks=1,
                timeout_ms=5000,
                topic_data=[data(name=topic, partition_data=[part])],
                max_version=9,
            )
            response = admin._manager.run(admin._manager.send, request)
            errors.add(response.responses[0].partition_responses[0].error_code)
        return errors == {0}
    finally:
        admin.close()


def bad_batch() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, int(time.time() * 1000), None, b"no gzip at all", [])
    batch = bytearray(builder.build())
    batch[22] |= 1  # the compression bits of the attributes
    batch[17:21] = struct.pack(">I", calc_crc32c(bytes(batch[21:])))
    return bytes(batch)
