"""Publishing and receiving, in memory and on a real broker (`TEST_KAFKA=apache` for Apache Kafka)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaProducer

from shared.domain.ids import new_job_id
from shared.kafka.consumer import NotificationListener
from shared.kafka.publisher import DELIVERY_SECONDS, NotificationPublisher
from shared.kafka.topics import ensure_topics, topic_name
from shared.settings.table import Settings
from shared.telemetry.metrics import REGISTRY
from tests.support.fakes.notifications import FakeNotifications
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker, broker_under_test

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


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker | ApacheKafka]:
    with broker_under_test(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(params=["fake", "kafka"])
def notifications(request: pytest.FixtureRequest) -> Fake | Real:
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("broker"))


@pytest.fixture
async def party(notifications: Fake | Real) -> AsyncIterator[Party]:
    party = Party(notifications)
    yield party
    for listener in party.listeners:
        await listener.stop()
    for publisher in party.publishers:
        await publisher.close()


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


async def test_what_is_published_is_received_by_those_that_serve_it(party: Party) -> None:
    recorder, other = Recorder(), Recorder()
    publisher = party.publisher()
    await party.listener(recorder, ("text", "ocr"))
    await party.listener(other, ("audio",))
    one, many = ids(1), ids(1000)
    publisher.publish("text", one)
    publisher.publish("ocr", many)
    await until(lambda: len(recorder.received) >= 1001)
    assert set(recorder.received) == {("text", one[0])} | {("ocr", job_id) for job_id in many}
    assert other.received == []


async def test_two_listeners_share_what_is_published(party: Party) -> None:
    recorders = Recorder(), Recorder()
    publisher = party.publisher()
    for recorder in recorders:
        party.join(recorder)
    await until(lambda: [listener.partitions for listener in party.listeners] in ([1, 1], [2, 2]))
    notified = ids(640)
    for start in range(0, 640, 16):
        publisher.publish("text", notified[start : start + 16])
        await asyncio.sleep(0.01)
    await until(lambda: sum(len(recorder.received) for recorder in recorders) >= 640)
    assert sorted(recorders[0].ids + recorders[1].ids) == sorted(notified)
    assert all(recorder.received for recorder in recorders)


async def test_a_paused_listener_receives_nothing_and_goes_on_afterwards(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    listener = await party.listener(recorder)
    await party.received_again(publisher, recorder)
    listener.set_paused(True)
    before = list(recorder.received)
    notified = ids(200)
    for job_id in notified:
        publisher.publish("text", [job_id])
    await asyncio.sleep(1.5 * party.notifications.pace)  # longer than a fetch, a poll and a commit may take
    assert recorder.received == before
    listener.set_paused(False)
    await until(lambda: set(notified) <= set(recorder.ids))


async def test_a_listener_may_pause_itself_while_it_receives(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()

    class Shy(Recorder):
        def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
            super().__call__(modality, ids)
            listener.set_paused(True)

    recorder = Shy()
    listener = await party.listener(recorder)
    notified = ids(500)
    for start in range(0, 500, 50):
        publisher.publish("text", notified[start : start + 50])
    for call in itertools.count(1):
        await until(lambda wanted=call: recorder.calls >= wanted)  # type: ignore[misc]
        assert recorder.calls == call
        if len(recorder.received) == 500:
            break
        listener.set_paused(False)
    assert sorted(recorder.ids) == sorted(notified)


async def test_a_record_that_is_no_notification_is_skipped(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    await party.listener(recorder)
    bad = counted("notifications_invalid")
    for value in (b"", b"{}", b"\x01" + bytes(15), b"\x02" + bytes(16), b"\x01" + bytes(16 * 65)):
        party.notifications.put("text", value)
    notified = ids(10)
    publisher.publish("text", notified)
    await until(lambda: len(recorder.received) >= 10)
    assert recorder.ids == notified
    if isinstance(party.notifications, Real):
        all_of_them = bad + 5 * party.notifications.settings.kafka_partitions
        await until(lambda: counted("notifications_invalid") >= all_of_them)


async def test_after_kill_9_and_a_restart_of_the_broker_notifications_are_received_again(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    party.notifications.kill()
    end = time.monotonic() + OUTAGE_SECONDS * party.notifications.pace
    while time.monotonic() < end:
        publisher.publish("text", ids(1))
        await asyncio.sleep(0.05)
    party.notifications.restart()
    recorder.received.clear()
    await party.received_again(publisher, recorder)


async def test_a_start_while_the_broker_is_away_works_once_it_is_back(party: Party) -> None:
    recorder = Recorder()
    party.notifications.kill()
    publisher = party.publisher()
    listener = party.join(recorder)
    publisher.publish("text", ids(1))
    await asyncio.sleep(
        2.0 * party.notifications.pace
    )  # past the moment that a publisher gives the broker at its start
    party.notifications.restart()
    await until(lambda: listener.partitions > 0)
    await party.received_again(publisher, recorder)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_publishing_never_blocks_the_event_loop(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        took, dropped = [], counted("notifications_dropped")
        end = time.monotonic() + OUTAGE_SECONDS * party.notifications.pace
        while time.monotonic() < end:
            notified = ids(64)
            started = time.perf_counter()
            publisher.publish("text", notified)
            took.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)
    finally:
        back()
    took.sort()
    print(f"publish() {absence}: median {took[len(took) // 2] * 1e6:.0f} us, longest {took[-1] * 1e3:.2f} ms")
    assert took[int(len(took) * 0.9)] < 0.002
    assert took[-1] < 0.5, "some are late when this machine is busy; what blocks takes longer"
    if isinstance(party.notifications, Real):
        assert counted("notifications_dropped") > dropped
        await until(lambda: publisher.unacked == 0)
    await party.received_again(publisher, recorder)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_a_broker_that_is_away_costs_no_cpu(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        busy, started = time.process_time(), time.monotonic()
        while time.monotonic() < started + SPIN_SECONDS * party.notifications.pace:
            publisher.publish("text", ids(1))
            await asyncio.sleep(0.5 * party.notifications.pace)
        share = (time.process_time() - busy) / (time.monotonic() - started)
    finally:
        back()
    print(f"CPU while the broker is {absence}: {share:.1%} of a core")
    assert share < 0.10


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_stopping_takes_two_seconds_at_most_while_the_broker_is_away(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    listener = await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        publisher.publish("text", ids(1))
        started = time.monotonic()
        await listener.stop()
        await publisher.close()
        took = time.monotonic() - started
    finally:
        back()
    assert took < 5, "two seconds each"
    calls = recorder.calls
    await asyncio.sleep(0.2)
    assert recorder.calls == calls


def leave(notifications: Fake | Real, absence: str) -> Callable[[], None]:
    """Take the broker away; the result brings it back."""
    if absence == "killed":
        notifications.kill()
        return notifications.restart
    notifications.freeze()
    return notifications.thaw
