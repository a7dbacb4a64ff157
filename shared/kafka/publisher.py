"""Publishes notifications: takes job ids on the event loop, sends them to the broker on its own thread."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from uuid import UUID

from kafka import KafkaProducer
from kafka.errors import KafkaError

from shared.domain.catalogue import MODALITIES
from shared.kafka.connection import connection_arguments
from shared.kafka.notification import MAX_IDS, encode_notification
from shared.kafka.topics import topic_name
from shared.settings.table import Settings
from shared.telemetry import metrics
from shared.telemetry.supervised import supervised_thread

log = logging.getLogger(__name__)

MAX_WAITING_CALLS = 1024
"""Calls of `publish` that may wait for the thread. It never waits for the broker, so more means it gets no CPU."""
MAX_UNACKED = 512
"""Records without an ack. More are dropped: the broker is away and the sweep is faster."""
DELIVERY_SECONDS = 3.0
"""An older notification is useless: the sweep has found the job."""
REBUILD_SECONDS = 30.0
SILENT_SECONDS = 10.0
"""A record is acked or lost within DELIVERY_SECONDS; a producer that reports neither for so long has died."""
_REQUEST_SECONDS = 2.5
_GATHER_SECONDS = 0.005
"""Longest time that new calls gather while records have no ack: one slow partition delays no other."""
_METADATA_SECONDS = 1.0
_ALARM_SECONDS = 30.0
_NOISE_SECONDS = 5.0


class NotificationPublisher:
    """A lost id costs a second or two, so nothing here waits or raises.

    Call `start` in the running event loop (never before a fork), then `publish` from it.
    """

    def __init__(self, settings: Settings, modalities: Sequence[str] = MODALITIES) -> None:
        self._arguments = connection_arguments(settings)
        self._topics = {modality: topic_name(settings, modality) for modality in modalities}
        self._notified = {modality: metrics.NOTIFICATIONS_PUBLISHED.labels(modality) for modality in modalities}
        self._dropped = {modality: metrics.NOTIFICATIONS_DROPPED.labels(modality) for modality in modalities}
        self._line: SimpleQueue[tuple[str, Sequence[UUID]] | None] = SimpleQueue()
        self._thread = supervised_thread("publisher", self._run)
        self._closing = False
        self._turn = time.monotonic_ns()
        self._lock = threading.Lock()
        self._unacked = 0
        self._all_acked = threading.Event()
        self._trouble_since: float | None = None
        self._alarm_due = 0.0
        self._built_at = 0.0
        self._heard_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        """Returns within microseconds; `ids` must not change later. Raises KeyError for an unknown modality."""
        dropped = self._dropped[modality]
        if self._closing or self._line.qsize() >= MAX_WAITING_CALLS:
            dropped.inc(len(ids))
        else:
            self._line.put((modality, ids))

    async def close(self, seconds: float = 2.0) -> None:
        """Send what waits, for at most `seconds`."""
        if self._closing or not self._thread.is_alive():
            return
        self._closing = True
        self._line.put(None)
        await asyncio.to_thread(self._thread.join, seconds)

    @property
    def unacked(self) -> int:
        return self._unacked

    # From here on in the publisher's thread

    def _run(self) -> None:
        producer = self._build()
        last = False
        try:
            while not last:
                waiting, last = self._take()
                if waiting and self._replacement_due():
                    _close(producer)
                    producer = self._build()
                for modality, ids in waiting.items():
                    for start in range(0, len(ids), MAX_IDS):
                        self._send(producer, modality, ids[start : start + MAX_IDS])
                if not last:
                    self._all_acked.wait(_GATHER_SECONDS)
        finally:
            _close(producer)

    def _replacement_due(self) -> bool:
        """Whether nothing has worked for long. The library does not ask the bootstrap servers again when all brokers
        have moved, nor try a refused password again, and reports nothing when its thread has ended.
        """
        now = time.monotonic()
        if self._unacked and now - self._heard_at > SILENT_SECONDS:
            log.warning("notifications: the producer does not say what became of them and is replaced")
            return True
        return self._trouble_since is not None and now - max(self._trouble_since, self._built_at) > REBUILD_SECONDS

    def _build(self) -> KafkaProducer | None:
        self._built_at = time.monotonic()
        self._count(-self._unacked)
        try:
            producer = KafkaProducer(
                **self._arguments,
                acks=1,  # a slow replica must not delay a notification; a leader that dies may lose it
                # Repeats are harmless, and after one expired batch the idempotent producer never sends again.
                enable_idempotence=False,
                max_block_ms=0,
                linger_ms=0,  # `_take` gathers, without a timer
                delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
                request_timeout_ms=int(_REQUEST_SECONDS * 1000),
                metrics_enabled=False,
            )
        except Exception as error:
            self._trouble(error)
            return None
        deadline = self._built_at + _METADATA_SECONDS
        unknown = set(self._topics.values())
        while unknown and time.monotonic() < deadline and not (self._closing and self._line.qsize() <= 1):
            for topic in list(unknown):
                with contextlib.suppress(KafkaError):
                    if producer.partitions_for(topic):  # asks for them if it does not know
                        unknown.discard(topic)
            time.sleep(0.01)
        return producer

    def _take(self) -> tuple[dict[str, list[UUID]], bool]:
        """Waits for a call, then takes all: ids by modality, and whether `close` was called."""
        gathered: dict[str, list[UUID]] = {}
        call = self._line.get()
        while call is not None:
            modality, ids = call
            gathered.setdefault(modality, []).extend(ids)
            try:
                call = self._line.get_nowait()
            except Empty:
                return gathered, False
        return gathered, True

    def _send(self, producer: KafkaProducer | None, modality: str, ids: Sequence[UUID]) -> None:
        if producer is None or self._unacked >= MAX_UNACKED:
            self._dropped[modality].inc(len(ids))
            return
        topic = self._topics[modality]
        built_at = self._built_at
        if not self._unacked:
            self._heard_at = time.monotonic()
        self._count(1)
        try:
            # The library's own choice stays on one partition for a whole burst.
            self._turn += 1
            partition = self._turn % len(producer.partitions_for(topic))
            future = producer.send(topic, encode_notification(ids), partition=partition)
        except Exception as error:
            self._lost(built_at, modality, len(ids), error)
            return
        future.add_callback(self._acked, built_at, modality, len(ids))
        future.add_errback(self._lost, built_at, modality, len(ids))

    # From here on in the library's thread too

    def _count(self, change: int) -> None:
        with self._lock:
            self._unacked += change
            if self._unacked:
                self._all_acked.clear()
            else:
                self._all_acked.set()
            metrics.NOTIFICATIONS_UNACKNOWLEDGED.set(self._unacked)

    def _settled(self, built_at: float) -> None:
        if built_at == self._built_at:  # else the producer was replaced
            self._heard_at = time.monotonic()
            self._count(-1)

    def _acked(self, built_at: float, modality: str, count: int, _metadata: object) -> None:
        self._notified[modality].inc(count)
        if self._trouble_since is not None:
            log.info("notifications: notified again after %.0f s", time.monotonic() - self._trouble_since)
            self._trouble_since = None
        self._settled(built_at)

    def _lost(self, built_at: float, modality: str, count: int, error: Exception) -> None:
        self._dropped[modality].inc(count)
        self._trouble(error)
        self._settled(built_at)

    def _trouble(self, error: Exception) -> None:
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        if now >= self._alarm_due:
            self._alarm_due = now + _ALARM_SECONDS
            reason = type(error).__name__ + self._arguments.why()
            log.warning("notifications: not notified: %s; jobs still start, a second or two late", reason)


def _close(producer: KafkaProducer | None) -> None:
    """After every record is acked or expired; before, the library would leave its thread running."""
    if producer is None:
        return
    try:
        producer.close(timeout=DELIVERY_SECONDS + 1)
    except Exception as error:
        log.warning("notifications: the producer did not close (%s)", type(error).__name__)


def send_noise(settings: Settings, modality: str, values: Sequence[bytes | None]) -> int:
    """For drills: sends `values` unchanged; how many arrived. Blocks for seconds, raises nothing."""
    arguments = connection_arguments(settings)
    arrived = 0
    with contextlib.suppress(KafkaError, OSError):
        producer = KafkaProducer(**arguments, enable_idempotence=False, max_block_ms=int(_NOISE_SECONDS * 1000))
        try:
            sent = [producer.send(topic_name(settings, modality), value=value, key=b"noise") for value in values]
            for each in sent:
                with contextlib.suppress(KafkaError):
                    each.get(_NOISE_SECONDS)
                    arrived += 1
        finally:
            with contextlib.suppress(KafkaError):
                producer.close(1)
    return arrived
