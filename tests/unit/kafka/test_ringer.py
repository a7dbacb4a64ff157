"""How bells gather and what bounds them, on a stand-in for the library's producer."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from kafka.errors import KafkaTimeoutError

from shared.kafka import ringer as module
from shared.kafka.ringer import MAX_UNACKED, MAX_WAITING_CALLS, Ringer
from shared.metrics import REGISTRY
from shared.settings import Settings
from tests.unit.kafka.stubs import StubProducer, wait_for


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
async def ringer(made: Made) -> AsyncIterator[Ringer]:
    ringer = Ringer(Settings(kafka_topic_prefix="c"))
    yield ringer
    await ringer.close()


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def counted(name: str, modality: str = "text") -> float:
    return REGISTRY.get_sample_value(f"coatcheck_{name}_total", {"modality": modality}) or 0.0


async def test_a_lonely_bell_leaves_at_once(ringer: Ringer, made: Made) -> None:
    ringer.start()
    wait_for(lambda: len(made) == 1)
    latencies = []
    for number in range(1, 21):
        started = time.perf_counter()
        ringer.ring("text", ids(1))
        while len(made[0].sent) < number:
            time.sleep(0.0001)
        latencies.append(time.perf_counter() - started)
    assert sorted(latencies)[10] < 0.002


async def test_bells_gather_while_earlier_ones_are_under_way(ringer: Ringer, made: Made) -> None:
    rung = ids(200)
    for job_id in rung:
        ringer.ring("text", [job_id])
    ringer.ring("ocr", rung[:3])
    ringer.start()
    wait_for(lambda: bool(made) and len(made[0].ids) == 203)
    text = [ids for topic, _, ids in made[0].sent if topic == "c.text"]
    assert [len(ids) for ids in text] == [64, 64, 64, 8]
    assert [job_id for ids in text for job_id in ids] == rung
    assert ("c.ocr", tuple(rung[:3])) in [(topic, ids) for topic, _, ids in made[0].sent]


async def test_a_burst_is_spread_over_all_partitions(ringer: Ringer, made: Made) -> None:
    ringer.ring("text", ids(64 * 8))
    ringer.start()
    wait_for(lambda: bool(made) and len(made[0].sent) == 8)
    assert sorted(partition for _, partition, _ in made[0].sent) == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_records_without_an_ack_are_capped_and_what_is_above_is_counted(ringer: Ringer, made: Made) -> None:
    made.shape = {"acks": False}
    dropped = counted("bells_dropped")
    ringer.ring("text", ids(64 * (MAX_UNACKED + 10)))
    ringer.start()
    wait_for(lambda: counted("bells_dropped") == dropped + 640)
    assert ringer.unacked == len(made[0].sent) == MAX_UNACKED
    assert REGISTRY.get_sample_value("coatcheck_bells_unacked") == MAX_UNACKED
    made[0].ack()
    wait_for(lambda: ringer.unacked == 0)
    ringer.ring("text", ids(1))
    wait_for(lambda: len(made[0].sent) == MAX_UNACKED + 1)
    made[0].ack()


async def test_ids_count_as_rung_when_the_broker_has_them(ringer: Ringer, made: Made) -> None:
    made.shape = {"acks": False}
    rung, dropped = counted("bells_rung"), counted("bells_dropped")
    ringer.start()
    ringer.ring("text", ids(7))
    wait_for(lambda: bool(made) and bool(made[0].sent))
    assert counted("bells_rung") == rung
    made[0].ack()
    wait_for(lambda: (counted("bells_rung"), counted("bells_dropped")) == (rung + 7, dropped))


@pytest.mark.parametrize("failure", [KafkaTimeoutError("no topic"), RuntimeError("anything"), ValueError("else")])
async def test_a_failing_send_is_counted_and_goes_no_further(ringer: Ringer, made: Made, failure: Exception) -> None:
    made.shape = {"fails": failure}
    dropped = counted("bells_dropped")
    ringer.start()
    ringer.ring("text", ids(5))
    wait_for(lambda: counted("bells_dropped") == dropped + 5)
    made[0].fails = None
    ringer.ring("text", ids(1))
    wait_for(lambda: len(made[0].sent) == 1)
    wait_for(lambda: ringer.unacked == 0)


async def test_a_record_that_expires_is_counted_as_dropped(ringer: Ringer, made: Made) -> None:
    made.shape = {"acks": False}
    dropped = counted("bells_dropped")
    ringer.start()
    ringer.ring("text", ids(5))
    wait_for(lambda: bool(made) and bool(made[0].futures))
    made[0].futures[0].failure(KafkaTimeoutError("expired"))
    wait_for(lambda: counted("bells_dropped") == dropped + 5)
    wait_for(lambda: ringer.unacked == 0)


async def test_a_stuck_thread_makes_neither_ring_nor_close_wait(made: Made) -> None:
    release = threading.Event()
    made.shape = {"blocks": release}
    ringer = Ringer(Settings())
    ringer.start()
    ringer.ring("text", ids(1))
    wait_for(lambda: bool(made) and made[0].stuck)
    dropped = counted("bells_dropped")
    took = []
    for _ in range(MAX_WAITING_CALLS + 100):
        job_ids = ids(1)
        started = time.perf_counter()
        ringer.ring("text", job_ids)
        took.append(time.perf_counter() - started)
    assert counted("bells_dropped") == dropped + 100
    assert sorted(took)[len(took) * 99 // 100] < 0.005
    started = time.monotonic()
    await ringer.close(0.2)
    assert time.monotonic() - started < 1
    release.set()


async def test_closing_sends_what_was_handed_in_and_later_bells_are_dropped(made: Made) -> None:
    ringer = Ringer(Settings())
    ringer.start()
    rung = ids(300)
    ringer.ring("text", rung)
    await ringer.close()
    assert made[0].ids == rung
    assert made[0].closed
    dropped = counted("bells_dropped")
    ringer.ring("text", ids(2))
    await ringer.close()
    assert counted("bells_dropped") == dropped + 2


async def test_a_ringer_that_never_started_closes(made: Made) -> None:
    await Ringer(Settings()).close()
    assert made == []


async def test_an_unknown_modality_is_a_mistake_of_the_caller(ringer: Ringer) -> None:
    with pytest.raises(KeyError):
        ringer.ring("smell", ids(1))


async def test_a_bell_at_the_start_waits_a_moment_for_the_topics_to_be_known(ringer: Ringer, made: Made) -> None:
    made.shape = {"known": False}
    ringer.start()
    ringer.ring("text", ids(1))
    wait_for(lambda: len(made) == 1)
    made[0].known = True
    wait_for(lambda: len(made[0].sent) == 1)


async def test_a_producer_that_has_failed_for_long_is_replaced(
    ringer: Ringer, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REBUILD_SECONDS", 0.1)
    made.shape = {"fails": RuntimeError("moved")}
    ringer.start()

    def second_comes() -> bool:
        ringer.ring("text", ids(1))
        return len(made) == 2

    wait_for(lambda: len(made) == 1)
    made.shape = {}
    wait_for(second_comes)
    assert made[0].closed
    wait_for(lambda: bool(made[1].sent))


async def test_a_producer_that_cannot_be_made_is_tried_again(
    ringer: Ringer, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REBUILD_SECONDS", 0.05)
    made.refusal = OSError("no such CA")
    dropped = counted("bells_dropped")
    ringer.start()
    ringer.ring("text", ids(1))
    wait_for(lambda: counted("bells_dropped") == dropped + 1)
    made.refusal = None

    def one_is_sent() -> bool:
        ringer.ring("text", ids(1))
        return bool(made) and bool(made[0].sent)

    wait_for(one_is_sent)


async def test_an_outage_is_told_once_and_its_end_once(
    ringer: Ringer, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", module.__name__)
    made.shape = {"fails": RuntimeError("secret inside")}
    dropped = counted("bells_dropped")
    ringer.start()
    for number in range(1, 51):
        ringer.ring("text", ids(1))
        wait_for(lambda number=number: counted("bells_dropped") == dropped + number)  # type: ignore[misc]
    made[0].fails = None
    ringer.ring("text", ids(1))
    wait_for(lambda: len(made[0].sent) == 1)
    wait_for(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "secret" not in caplog.text


async def test_the_producer_cannot_block_and_recovers_after_a_time_out(ringer: Ringer, made: Made) -> None:
    ringer.start()
    wait_for(lambda: len(made) == 1)
    arguments = made[0].arguments
    assert arguments["max_block_ms"] == 0
    assert arguments["api_version"]
    assert arguments["enable_idempotence"] is False
    assert arguments["delivery_timeout_ms"] >= arguments["request_timeout_ms"]
