"""How notifications gather and what bounds them, on a stand-in for the library's producer."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from kafka.errors import KafkaTimeoutError

from shared.kafka import publisher as module
from shared.kafka.publisher import MAX_UNACKED, MAX_WAITING_CALLS, NotificationPublisher
from shared.settings.table import Settings
from shared.telemetry.metrics import REGISTRY
from tests.unit.shared.kafka.stubs import StubProducer, wait_for


class Made(list[StubProducer]):
    """Every producer that was built, in order; `shape` is applied to the next, `refusal` prevents it."""

    def __init__(self) -> None:
        super().__init__()
        self.shape: dict[str, object] = {}
        self.refusal: Exception | None = None

    def __call__(self, **arguments: object) -> StubProducer:
        if self.refusal is not None:
            raise self.refusal
        producer = StubProducer(**arguments)
        for name, value in self.shape.items():
            setattr(producer, name, value)
        self.append(producer)
        return producer


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(module, "KafkaProducer", made)
    monkeypatch.setattr(module, "_METADATA_SECONDS", 0.05)
    return made


@pytest.fixture
async def publisher(made: Made) -> AsyncIterator[NotificationPublisher]:
    publisher = NotificationPublisher(Settings(kafka_topic_prefix="c"))
    yield publisher
    await publisher.close()


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def counted(name: str, modality: str = "text") -> float:
    return REGISTRY.get_sample_value(f"coatcheck_{name}_total", {"modality": modality}) or 0.0


async def test_a_single_notification_leaves_at_once(publisher: NotificationPublisher, made: Made) -> None:
    publisher.start()
    wait_for(lambda: len(made) == 1)
    latencies = []
    for number in range(1, 21):
        started = time.perf_counter()
        publisher.publish("text", ids(1))
        while len(made[0].sent) < number:
            time.sleep(0.0001)
        latencies.append(time.perf_counter() - started)
    assert sorted(latencies)[5] < 0.002, "a busy machine makes some late, a wait makes all of them late"


async def test_notifications_gather_while_earlier_ones_are_under_way(
    publisher: NotificationPublisher, made: Made
) -> None:
    notified = ids(200)
    for job_id in notified:
        publisher.publish("text", [job_id])
    publisher.publish("ocr", notified[:3])
    publisher.start()
    wait_for(lambda: bool(made) and len(made[0].ids) == 203)
    text = [ids for topic, _, ids in made[0].sent if topic == "c.text"]
    assert [len(ids) for ids in text] == [64, 64, 64, 8]
    assert [job_id for ids in text for job_id in ids] == notified
    assert ("c.ocr", tuple(notified[:3])) in [(topic, ids) for topic, _, ids in made[0].sent]


async def test_a_burst_is_spread_over_all_partitions(publisher: NotificationPublisher, made: Made) -> None:
    publisher.publish("text", ids(64 * 8))
    publisher.start()
    wait_for(lambda: bool(made) and len(made[0].sent) == 8)
    assert sorted(partition for _, partition, _ in made[0].sent) == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_records_without_an_ack_are_capped_and_what_is_above_is_counted(
    publisher: NotificationPublisher, made: Made
) -> None:
    made.shape = {"acks": False}
    dropped = counted("notifications_dropped")
    publisher.publish("text", ids(64 * (MAX_UNACKED + 10)))
    publisher.start()
    wait_for(lambda: counted("notifications_dropped") == dropped + 640)
    assert publisher.unacked == len(made[0].sent) == MAX_UNACKED
    assert REGISTRY.get_sample_value("coatcheck_notifications_unacknowledged") == MAX_UNACKED
    made[0].ack()
    wait_for(lambda: publisher.unacked == 0)
    publisher.publish("text", ids(1))
    wait_for(lambda: len(made[0].sent) == MAX_UNACKED + 1)
    made[0].ack()


async def test_ids_count_as_notified_when_the_broker_has_them(publisher: NotificationPublisher, made: Made) -> None:
    made.shape = {"acks": False}
    notified, dropped = counted("notifications_published"), counted("notifications_dropped")
    publisher.start()
    publisher.publish("text", ids(7))
    wait_for(lambda: bool(made) and bool(made[0].sent))
    assert counted("notifications_published") == notified
    made[0].ack()
    wait_for(lambda: (counted("notifications_published"), counted("notifications_dropped")) == (notified + 7, dropped))


@pytest.mark.parametrize("failure", [KafkaTimeoutError("no topic"), RuntimeError("anything"), ValueError("else")])
async def test_a_failing_send_is_counted_and_goes_no_further(
    publisher: NotificationPublisher, made: Made, failure: Exception
) -> None:
    made.shape = {"fails": failure}
    dropped = counted("notifications_dropped")
    publisher.start()
    publisher.publish("text", ids(5))
    wait_for(lambda: counted("notifications_dropped") == dropped + 5)
    made[0].fails = None
    publisher.publish("text", ids(1))
    wait_for(lambda: len(made[0].sent) == 1)
    wait_for(lambda: publisher.unacked == 0)


async def test_a_record_that_expires_is_counted_as_dropped(publisher: NotificationPublisher, made: Made) -> None:
    made.shape = {"acks": False}
    dropped = counted("notifications_dropped")
    publisher.start()
    publisher.publish("text", ids(5))
    wait_for(lambda: bool(made) and bool(made[0].futures))
    made[0].futures[0].failure(KafkaTimeoutError("expired"))
    wait_for(lambda: counted("notifications_dropped") == dropped + 5)
    wait_for(lambda: publisher.unacked == 0)


async def test_a_stuck_thread_makes_neither_notify_nor_close_wait(made: Made) -> None:
    release = threading.Event()
    made.shape = {"blocks": release}
    publisher = NotificationPublisher(Settings())
    publisher.start()
    publisher.publish("text", ids(1))
    wait_for(lambda: bool(made) and made[0].stuck)
    dropped = counted("notifications_dropped")
    took = []
    for _ in range(MAX_WAITING_CALLS + 100):
        job_ids = ids(1)
        started = time.perf_counter()
        publisher.publish("text", job_ids)
        took.append(time.perf_counter() - started)
    assert counted("notifications_dropped") == dropped + 100
    assert sorted(took)[len(took) * 99 // 100] < 0.005
    started = time.monotonic()
    await publisher.close(0.2)
    assert time.monotonic() - started < 1
    release.set()


async def test_closing_sends_what_was_handed_in_and_later_notifications_are_dropped(made: Made) -> None:
    publisher = NotificationPublisher(Settings())
    publisher.start()
    notified = ids(300)
    publisher.publish("text", notified)
    await publisher.close()
    assert made[0].ids == notified
    assert made[0].closed
    dropped = counted("notifications_dropped")
    publisher.publish("text", ids(2))
    await publisher.close()
    assert counted("notifications_dropped") == dropped + 2


async def test_a_publisher_that_never_started_closes(made: Made) -> None:
    await NotificationPublisher(Settings()).close()
    assert made == []


async def test_an_unknown_modality_is_a_mistake_of_the_caller(publisher: NotificationPublisher) -> None:
    with pytest.raises(KeyError):
        publisher.publish("smell", ids(1))


async def test_a_notification_at_the_start_waits_a_moment_for_the_topics_to_be_known(
    publisher: NotificationPublisher, made: Made
) -> None:
    made.shape = {"known": False}
    publisher.start()
    publisher.publish("text", ids(1))
    wait_for(lambda: len(made) == 1)
    made[0].known = True
    wait_for(lambda: len(made[0].sent) == 1)


async def test_a_producer_that_has_failed_for_long_is_replaced(
    publisher: NotificationPublisher, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REBUILD_SECONDS", 0.1)
    made.shape = {"fails": RuntimeError("moved")}
    publisher.start()

    def second_comes() -> bool:
        publisher.publish("text", ids(1))
        return len(made) == 2

    wait_for(lambda: len(made) == 1)
    made.shape = {}
    wait_for(second_comes)
    assert made[0].closed
    wait_for(lambda: bool(made[1].sent))


async def test_a_producer_that_cannot_be_made_is_tried_again(
    publisher: NotificationPublisher, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REBUILD_SECONDS", 0.05)
    made.refusal = OSError("no such CA")
    dropped = counted("notifications_dropped")
    publisher.start()
    publisher.publish("text", ids(1))
    wait_for(lambda: counted("notifications_dropped") == dropped + 1)
    made.refusal = None

    def one_is_sent() -> bool:
        publisher.publish("text", ids(1))
        return bool(made) and bool(made[0].sent)

    wait_for(one_is_sent)


async def test_an_outage_is_told_once_and_its_end_once(
    publisher: NotificationPublisher, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", module.__name__)
    made.shape = {"fails": RuntimeError("secret inside")}
    dropped = counted("notifications_dropped")
    publisher.start()
    for number in range(1, 51):
        publisher.publish("text", ids(1))
        wait_for(lambda number=number: counted("notifications_dropped") == dropped + number)  # type: ignore[misc]
    made[0].fails = None
    publisher.publish("text", ids(1))
    wait_for(lambda: len(made[0].sent) == 1)
    wait_for(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "secret" not in caplog.text


async def test_the_producer_cannot_block_and_recovers_after_a_time_out(
    publisher: NotificationPublisher, made: Made
) -> None:
    publisher.start()
    wait_for(lambda: len(made) == 1)
    arguments = made[0].arguments
    assert arguments["max_block_ms"] == 0
    assert arguments["api_version"]
    assert arguments["enable_idempotence"] is False
    assert arguments["delivery_timeout_ms"] >= arguments["request_timeout_ms"]


async def test_a_producer_that_says_nothing_of_its_records_any_more_is_replaced(
    publisher: NotificationPublisher, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.05)
    made.shape = {"acks": False}
    publisher.start()
    publisher.publish("text", ids(1))
    wait_for(lambda: bool(made) and len(made[0].sent) == 1)
    silent, made.shape = made[0], {}

    def notified_by_another() -> bool:
        publisher.publish("text", ids(1))
        return len(made) == 2 and bool(made[1].sent) and publisher.unacked == 0

    wait_for(notified_by_another)
    assert silent.closed
    silent.ack()
    assert publisher.unacked == 0


async def test_a_publisher_whose_thread_fails_goes_on(
    publisher: NotificationPublisher, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.start()
    publisher.publish("text", ids(1))
    wait_for(lambda: bool(made) and len(made[0].sent) == 1)
    replacement_due = publisher._replacement_due

    def fails() -> bool:
        monkeypatch.setattr(publisher, "_replacement_due", replacement_due)
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(publisher, "_replacement_due", fails)
    publisher.publish("text", ids(1))
    wait_for(lambda: made[0].closed)
    notified = ids(1)
    publisher.publish("text", notified)
    wait_for(lambda: len(made) == 2 and made[1].ids == notified)
