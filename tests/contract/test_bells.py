"""Ringing and hearing, on the bells in memory and on a real broker (`TEST_KAFKA=apache` for Apache Kafka)."""

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

from shared.ids import new_job_id
from shared.kafka.listener import BellListener
from shared.kafka.ringer import DELIVERY_SECONDS, Ringer
from shared.kafka.topics import ensure_topics, topic_name
from shared.metrics import REGISTRY
from shared.settings import Settings
from tests.support.apache_kafka import ApacheKafka
from tests.support.brokers import EmbeddedBroker, broker_under_test
from tests.support.fake_bells import FakeBells

_numbers = itertools.count()
PATIENCE = 40.0
"""Seconds until something that must happen counts as missing."""
OUTAGE_SECONDS = DELIVERY_SECONDS + 1
"""Longer than a record lives."""
SPIN_SECONDS = 12.0
"""The client library's busy loops begin, and some end, within 10 s."""


class Ear:
    """What one listener heard: (modality, id) pairs in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, UUID]] = []
        self.calls = 0

    def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
        self.calls += 1
        self.heard += [(modality, job_id) for job_id in ids]

    @property
    def ids(self) -> list[UUID]:
        return [job_id for _, job_id in self.heard]


class Fake:
    """The bells in memory. `pace` scales the times that only a real broker needs."""

    pace = 0.02

    def __init__(self) -> None:
        self._bells = FakeBells()

    def ringer(self) -> Any:
        return self._bells.ringer()

    def listener(self, modalities: Sequence[str], ear: Ear) -> Any:
        return self._bells.listener(modalities, ear, asyncio.get_running_loop())

    def kill(self) -> None:
        self._bells.away = True

    def restart(self) -> None:
        self._bells.away = False

    freeze, thaw = kill, restart

    def put(self, modality: str, value: bytes) -> None:
        """The bells in memory carry no records: there is nothing to damage."""


class Real:
    """A broker of its own, started for this module; each test has topics and a group of its own."""

    pace = 1.0

    def __init__(self, broker: EmbeddedBroker | ApacheKafka) -> None:
        self._broker = broker
        number = f"{os.getpid()}-{next(_numbers)}"
        self.settings = Settings(
            kafka_bootstrap_servers=broker.bootstrap,
            kafka_topic_prefix=f"bells-{number}",
            kafka_group_prefix=f"bells-{number}",
            kafka_partitions=4,
            kafka_fetch_wait_seconds=0.1,
        )
        ensure_topics(self.settings)

    def ringer(self) -> Ringer:
        return Ringer(self.settings)

    def listener(self, modalities: Sequence[str], ear: Ear) -> BellListener:
        return BellListener(self.settings, modalities, ear, asyncio.get_running_loop())

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
def bells(request: pytest.FixtureRequest) -> Fake | Real:
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("broker"))


@pytest.fixture
async def party(bells: Fake | Real) -> AsyncIterator[Party]:
    party = Party(bells)
    yield party
    for listener in party.listeners:
        await listener.stop()
    for ringer in party.ringers:
        await ringer.close()


class Party:
    """Ringers and listeners of one test, all stopped at its end."""

    def __init__(self, bells: Fake | Real) -> None:
        self.bells = bells
        self.listeners: list[Any] = []
        self.ringers: list[Any] = []

    def ringer(self) -> Any:
        self.ringers.append(self.bells.ringer())
        self.ringers[-1].start()
        return self.ringers[-1]

    def join(self, ear: Ear, modalities: Sequence[str] = ("text",)) -> Any:
        """Add a listener that has yet to become a member."""
        self.listeners.append(self.bells.listener(modalities, ear))
        self.listeners[-1].start()
        return self.listeners[-1]

    async def listener(self, ear: Ear, modalities: Sequence[str] = ("text",)) -> Any:
        """Add a listener and wait until it hears."""
        listener = self.join(ear, modalities)
        await until(lambda: listener.partitions > 0)
        return listener

    async def heard_again(self, ringer: Any, ear: Ear) -> None:
        """Ring with new ids until one is heard."""
        rung: set[UUID] = set()

        def one_arrives() -> bool:
            rung.add(new_job_id())
            ringer.ring("text", list(rung)[-1:])
            return not rung.isdisjoint(ear.ids)

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


async def test_what_is_rung_is_heard_by_those_who_serve_it(party: Party) -> None:
    ear, other = Ear(), Ear()
    ringer = party.ringer()
    await party.listener(ear, ("text", "ocr"))
    await party.listener(other, ("audio",))
    one, many = ids(1), ids(1000)
    ringer.ring("text", one)
    ringer.ring("ocr", many)
    await until(lambda: len(ear.heard) >= 1001)
    assert set(ear.heard) == {("text", one[0])} | {("ocr", job_id) for job_id in many}
    assert other.heard == []


async def test_two_listeners_share_what_is_rung(party: Party) -> None:
    ears = Ear(), Ear()
    ringer = party.ringer()
    for ear in ears:
        party.join(ear)
    await until(lambda: sum(listener.partitions for listener in party.listeners) in (2, 4))
    await until(lambda: all(listener.partitions in (1, 2) for listener in party.listeners))
    rung = ids(640)
    for start in range(0, 640, 16):
        ringer.ring("text", rung[start : start + 16])
        await asyncio.sleep(0.01)
    await until(lambda: sum(len(ear.heard) for ear in ears) >= 640)
    assert sorted(ears[0].ids + ears[1].ids) == sorted(rung)
    assert all(ear.heard for ear in ears)


async def test_a_paused_listener_hears_nothing_and_hears_on_afterwards(party: Party) -> None:
    ear = Ear()
    ringer = party.ringer()
    listener = await party.listener(ear)
    await party.heard_again(ringer, ear)
    listener.set_paused(True)
    before = list(ear.heard)
    rung = ids(200)
    for job_id in rung:
        ringer.ring("text", [job_id])
    await asyncio.sleep(1.5 * party.bells.pace)  # longer than a fetch, a poll and a commit may take
    assert ear.heard == before
    listener.set_paused(False)
    await until(lambda: set(rung) <= set(ear.ids))


async def test_a_listener_may_pause_itself_while_it_hears(party: Party) -> None:
    ear = Ear()
    ringer = party.ringer()

    class Shy(Ear):
        def __call__(self, modality: str, ids: Sequence[UUID]) -> None:
            super().__call__(modality, ids)
            listener.set_paused(True)

    ear = Shy()
    listener = await party.listener(ear)
    rung = ids(500)
    for start in range(0, 500, 50):
        ringer.ring("text", rung[start : start + 50])
    for call in itertools.count(1):
        await until(lambda wanted=call: ear.calls >= wanted)  # type: ignore[misc]
        assert ear.calls == call
        if len(ear.heard) == 500:
            break
        listener.set_paused(False)
    assert sorted(ear.ids) == sorted(rung)


async def test_a_record_that_is_no_bell_is_skipped(party: Party) -> None:
    ear = Ear()
    ringer = party.ringer()
    await party.listener(ear)
    bad = counted("bells_bad")
    for value in (b"", b"{}", b"\x01" + bytes(15), b"\x02" + bytes(16), b"\x01" + bytes(16 * 65)):
        party.bells.put("text", value)
    rung = ids(10)
    ringer.ring("text", rung)
    await until(lambda: len(ear.heard) >= 10)
    assert ear.ids == rung
    if isinstance(party.bells, Real):
        all_of_them = bad + 5 * party.bells.settings.kafka_partitions
        await until(lambda: counted("bells_bad") >= all_of_them)


async def test_after_kill_9_and_a_restart_of_the_broker_bells_are_heard_again(party: Party) -> None:
    ear = Ear()
    ringer = party.ringer()
    await party.listener(ear)
    await party.heard_again(ringer, ear)
    party.bells.kill()
    end = time.monotonic() + OUTAGE_SECONDS * party.bells.pace
    while time.monotonic() < end:
        ringer.ring("text", ids(1))
        await asyncio.sleep(0.05)
    party.bells.restart()
    ear.heard.clear()
    await party.heard_again(ringer, ear)


async def test_who_started_while_the_broker_was_away_is_heard_once_it_is_there(party: Party) -> None:
    ear = Ear()
    party.bells.kill()
    ringer = party.ringer()
    listener = party.join(ear)
    ringer.ring("text", ids(1))
    await asyncio.sleep(2.0 * party.bells.pace)  # past the moment that a ringer gives the broker at its start
    party.bells.restart()
    await until(lambda: listener.partitions > 0)
    await party.heard_again(ringer, ear)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_ringing_never_holds_up_the_event_loop(party: Party, absence: str) -> None:
    ringer = party.ringer()
    ear = Ear()
    await party.listener(ear)
    await party.heard_again(ringer, ear)
    back = leave(party.bells, absence)
    try:
        took, dropped = [], counted("bells_dropped")
        end = time.monotonic() + OUTAGE_SECONDS * party.bells.pace
        while time.monotonic() < end:
            rung = ids(64)
            started = time.perf_counter()
            ringer.ring("text", rung)
            took.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)
    finally:
        back()
    took.sort()
    print(f"ring() {absence}: median {took[len(took) // 2] * 1e6:.0f} us, longest {took[-1] * 1e3:.2f} ms")
    assert took[int(len(took) * 0.9)] < 0.002
    assert took[-1] < 0.5, "some are late when this machine is busy; what blocks takes longer"
    if isinstance(party.bells, Real):
        assert counted("bells_dropped") > dropped
        await until(lambda: ringer.unacked == 0)
    await party.heard_again(ringer, ear)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_a_broker_that_is_away_costs_no_cpu(party: Party, absence: str) -> None:
    ringer = party.ringer()
    ear = Ear()
    await party.listener(ear)
    await party.heard_again(ringer, ear)
    back = leave(party.bells, absence)
    try:
        busy, started = time.process_time(), time.monotonic()
        while time.monotonic() < started + SPIN_SECONDS * party.bells.pace:
            ringer.ring("text", ids(1))
            await asyncio.sleep(0.5 * party.bells.pace)
        share = (time.process_time() - busy) / (time.monotonic() - started)
    finally:
        back()
    print(f"CPU while the broker is {absence}: {share:.1%} of a core")
    assert share < 0.10


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_stopping_takes_two_seconds_at_most_while_the_broker_is_away(party: Party, absence: str) -> None:
    ringer = party.ringer()
    ear = Ear()
    listener = await party.listener(ear)
    await party.heard_again(ringer, ear)
    back = leave(party.bells, absence)
    try:
        ringer.ring("text", ids(1))
        started = time.monotonic()
        await listener.stop()
        await ringer.close()
        took = time.monotonic() - started
    finally:
        back()
    assert took < 5, "two seconds each"
    calls = ear.calls
    await asyncio.sleep(0.2)
    assert ear.calls == calls


def leave(bells: Fake | Real, absence: str) -> Callable[[], None]:
    """Take the broker away; the result brings it back."""
    if absence == "killed":
        bells.kill()
        return bells.restart
    bells.freeze()
    return bells.thaw
