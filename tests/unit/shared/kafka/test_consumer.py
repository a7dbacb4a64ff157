"""How notifications reach the event loop and what bounds them, on a stand-in for the library's consumer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID, uuid4

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError

from shared.kafka import consumer as module
from shared.kafka.consumer import MAX_HELD_IDS, NotificationListener
from shared.kafka.notification import encode_notification
from shared.settings.table import Settings
from shared.telemetry.metrics import REGISTRY
from tests.unit.shared.kafka.stubs import StubConsumer


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[StubConsumer]:
    """Every consumer that was built, in order."""
    made: list[StubConsumer] = []

    def build(*topics: str, **arguments: object) -> StubConsumer:
        made.append(StubConsumer(*topics, **arguments))
        return made[-1]

    monkeypatch.setattr(module, "KafkaConsumer", build)
    monkeypatch.setattr(module, "FULL_WAIT_SECONDS", 0.01)
    return made


class Received(list[tuple[str, tuple[UUID, ...]]]):
    """The calls of `on_ids`."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] = lambda: None

    def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
        self.append((modality, tuple(ids)))
        self.then()

    @property
    def ids(self) -> list[UUID]:
        return [job_id for _, ids in self for job_id in ids]


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
async def listener(made: list[StubConsumer], received: Received) -> AsyncIterator[NotificationListener]:
    listener = NotificationListener(
        Settings(kafka_topic_prefix="c"), ("text", "ocr"), received, asyncio.get_running_loop()
    )
    listener.start()
    await until(lambda: listener.partitions > 0)
    yield listener
    await listener.stop()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.002)


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"coatcheck_{name}_total", {"modality": "text"}) or 0.0


async def turns(consumer: StubConsumer, count: int = 3) -> None:
    """Wait for some more polls."""
    polls = consumer.polls
    await until(lambda: consumer.polls >= polls + count)


async def test_ids_are_handed_to_the_event_loop_by_modality(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    text, ocr = ids(3), ids(2)
    assert made[0].topics == ("c.text", "c.ocr")
    made[0].put("c.text", encode_notification(text[:2]), encode_notification(text[2:]))
    made[0].put("c.ocr", encode_notification(ocr))
    await until(lambda: len(received) == 2)
    assert received == [("text", tuple(text)), ("ocr", tuple(ocr))]


async def test_what_is_no_notification_is_counted_and_the_notifications_beside_it_are_received(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    bad = counted("notifications_invalid")
    good = ids(2)
    made[0].put("c.text", b"", encode_notification(good[:1]), None, b"\x09" * 17, encode_notification(good[1:]))
    await until(lambda: bool(received))
    assert received.ids == good
    assert counted("notifications_invalid") == bad + 3


async def test_a_paused_listener_holds_what_was_on_its_way(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    listener.set_paused(True)
    notified = ids(1)
    made[0].put("c.text", encode_notification(notified))
    await until(lambda: made[0].paused() == made[0].assigned)
    await turns(made[0])
    assert received == []
    listener.set_paused(False)
    await until(lambda: received.ids == notified)
    await until(lambda: made[0].paused() == set())


async def test_pausing_from_within_stops_before_the_next_call(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    received.then = lambda: listener.set_paused(True)
    first, second = ids(1), ids(1)
    place = [TopicPartition("c.text", 0), TopicPartition("c.ocr", 0)]
    made[0].put("c.text", encode_notification(first))
    made[0].put("c.ocr", encode_notification(second))
    merged = made[0].batches[-2:]
    made[0].batches[-2:] = [{place[0]: merged[0][place[0]], place[1]: merged[1][place[1]]}]  # type: ignore[index]
    await until(lambda: len(received) == 1)
    await turns(made[0])
    assert received.ids == first
    listener.set_paused(False)
    await until(lambda: received.ids == first + second)


async def test_a_rebalance_does_not_end_a_pause(listener: NotificationListener, made: list[StubConsumer]) -> None:
    listener.set_paused(True)
    await until(lambda: made[0].paused() == made[0].assigned)
    made[0].rebalance([TopicPartition("c.text", 0), TopicPartition("c.text", 7)])
    await until(lambda: listener.partitions == 2)
    await until(lambda: made[0].paused() == made[0].assigned)


async def test_no_more_is_fetched_than_a_busy_event_loop_can_take(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    for _ in range(200):
        made[0].put("c.text", encode_notification(ids(64)))
    time.sleep(0.5)  # the event loop is busy: nobody takes what is received
    assert len(made[0].batches) >= 200 - MAX_HELD_IDS // 64 - 2
    await until(lambda: len(received.ids) == 200 * 64)


async def test_after_a_call_that_fails_the_next_one_is_made(
    listener: NotificationListener, made: list[StubConsumer], received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("not today")

    received.then = fail
    made[0].put("c.text", encode_notification(ids(1)))
    made[0].put("c.text", encode_notification(ids(1)))
    await until(lambda: len(received) == 2)
    assert caplog.text.count("on_ids failed") == 2


async def test_progress_is_committed_at_the_end(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    place = TopicPartition("c.text", 0)
    made[0].put("c.text", encode_notification(ids(1)), b"poison")
    await until(lambda: bool(received))
    await listener.stop()
    assert made[0].committed[place] == 2


async def test_a_lost_connection_is_waited_out_with_the_same_consumer(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    made[0].batches += [KafkaConnectionError("gone"), KafkaConnectionError("gone")]
    made[0].put("c.text", encode_notification(ids(1)))
    await until(lambda: len(received) == 1)
    assert (len(made), made[0].sought_end) == (1, 0)


async def test_a_record_that_the_library_cannot_read_is_stepped_over(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    made[0].batches.append(ValueError("bad compression"))
    made[0].put("c.text", encode_notification(ids(1)))
    await until(lambda: len(received) == 1)
    assert (len(made), made[0].sought_end) == (1, 1)


async def test_a_consumer_that_fails_altogether_is_replaced(
    listener: NotificationListener, made: list[StubConsumer], received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made[0], "paused", lambda: 1 / 0)
    await until(lambda: len(made) == 2)
    assert made[0].closed
    made[1].put("c.text", encode_notification(ids(1)))
    await until(lambda: len(received) == 1)


async def test_a_consumer_without_an_answer_for_long_is_replaced(
    listener: NotificationListener, made: list[StubConsumer], received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REBUILD_SECONDS", 0.2)
    await until(lambda: len(made) == 2)
    monkeypatch.setattr(module, "REBUILD_SECONDS", 30.0)
    await until(lambda: made[0].closed)
    made[-1].put("c.text", encode_notification(ids(1)))
    await until(lambda: len(received) == 1)


async def test_receiving_nothing_is_logged_once_and_its_end_once(
    listener: NotificationListener,
    made: list[StubConsumer],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", module.__name__)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.05)
    await until(lambda: len(caplog.records) == 1)
    await turns(made[0], 10)
    assert len(caplog.records) == 1
    monkeypatch.setattr(module, "SILENCE_SECONDS", 10.0)
    await until(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_stopping_ends_calls_and_thread(
    listener: NotificationListener, made: list[StubConsumer], received: Received
) -> None:
    started = time.monotonic()
    await listener.stop()
    assert time.monotonic() - started < 1.5
    assert made[0].closed
    assert listener.partitions == 0
    made[0].put("c.text", encode_notification(ids(1)))
    await asyncio.sleep(0.05)
    assert received == []
    await listener.stop()


async def test_a_listener_that_never_started_stops(made: list[StubConsumer], received: Received) -> None:
    await NotificationListener(Settings(), ["text"], received, asyncio.get_running_loop()).stop()
    assert made == []


def test_a_closed_event_loop_ends_the_thread(made: list[StubConsumer], received: Received) -> None:
    loop = asyncio.new_event_loop()
    listener = NotificationListener(Settings(kafka_topic_prefix="c"), ["text"], received, loop)
    loop.close()
    listener.start()
    asyncio.run(until(lambda: bool(made)))
    made[0].put("c.text", encode_notification(ids(1)))
    asyncio.run(until(lambda: made[0].closed))


async def test_fetches_wait_shorter_while_notifications_come(
    made: list[StubConsumer], listener: NotificationListener, received: Received
) -> None:
    await until(lambda: bool(made) and made[0].polls > 0)
    assert made[0].arguments["fetch_max_wait_ms"] == 500
    quick = NotificationListener(
        Settings(kafka_busy_fetch_wait_seconds=0.02, kafka_topic_prefix="c"),
        ("text",),
        received,
        asyncio.get_running_loop(),
    )
    quick.start()
    try:
        await until(lambda: len(made) == 2)
        made[1].put("c.text", encode_notification([uuid4()]))
        await until(lambda: 20 in made[1].fetch_waits)
        await until(lambda: made[1].fetch_waits[-1] == 500)
    finally:
        await quick.stop()
