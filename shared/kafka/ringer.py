"""Bells out: job ids handed in on the event loop leave for the broker on a thread of their own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from uuid import UUID

from kafka import KafkaProducer
from kafka.errors import KafkaError

from shared import metrics
from shared.catalogue import MODALITIES
from shared.kafka.bell import MAX_IDS, encode_bell
from shared.kafka.connection import connection_arguments, silence_client_logs
from shared.kafka.topics import topic_name
from shared.settings import Settings

log = logging.getLogger(__name__)

MAX_WAITING_CALLS = 1024
"""Calls of `ring` that may wait for the thread. It never waits for the broker, so more means it is starved."""
MAX_UNACKED = 512
"""Records under way. Beyond it bells are dropped: the broker is away and the sweep is faster than the backlog."""
DELIVERY_SECONDS = 3.0
"""A bell older than this is worth nothing: the sweep has found the job."""
REBUILD_SECONDS = 30.0
_REQUEST_SECONDS = 2.5
_GATHER_SECONDS = 0.005
"""Longest time that new calls gather behind a record without an ack, so that one slow partition delays no other."""
_METADATA_SECONDS = 1.0
_ALARM_SECONDS = 30.0


class Ringer:
    """Rings for jobs that wait. Losing a bell costs a second or two, so nothing here is waited for or raised.

    `start` once the process has its event loop (never before a fork), then `ring` from that loop.
    """

    def __init__(self, settings: Settings, modalities: Sequence[str] = MODALITIES) -> None:
        self._arguments = connection_arguments(settings)
        self._topics = {modality: topic_name(settings, modality) for modality in modalities}
        self._rung = {modality: metrics.BELLS_RUNG.labels(modality) for modality in modalities}
        self._dropped = {modality: metrics.BELLS_DROPPED.labels(modality) for modality in modalities}
        self._line: SimpleQueue[tuple[str, Sequence[UUID]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)
        self._closing = False
        self._turn = time.monotonic_ns()
        self._lock = threading.Lock()
        self._unacked = 0
        self._all_acked = threading.Event()
        self._trouble_since: float | None = None
        self._alarm_due = 0.0
        self._built_at = 0.0

    def start(self) -> None:
        """Begin to connect, in the background."""
        silence_client_logs()
        self._thread.start()

    def ring(self, modality: str, ids: Sequence[UUID]) -> None:
        """Announce that `ids` wait. Returns within microseconds whatever the broker does; `ids` must not change later.

        KeyError for a modality this ringer was not made for, nothing else.
        """
        dropped = self._dropped[modality]
        if self._closing or self._line.qsize() >= MAX_WAITING_CALLS:
            dropped.inc(len(ids))
        else:
            self._line.put((modality, ids))

    async def close(self, seconds: float = 2.0) -> None:
        """Send what was handed in and wait for it, for at most `seconds`."""
        if self._closing or not self._thread.is_alive():
            return
        self._closing = True
        self._line.put(None)
        await asyncio.to_thread(self._thread.join, seconds)

    @property
    def unacked(self) -> int:
        """Records handed to the library that the broker has not confirmed."""
        return self._unacked

    # The ringer's thread

    def _run(self) -> None:
        producer = self._build()
        last = False
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
        _close(producer)

    def _replacement_due(self) -> bool:
        """Whether nothing has worked for long: the library neither asks the bootstrap servers again when all brokers
        have moved, nor tries a password again that was refused once."""
        if self._trouble_since is None:
            return False
        return time.monotonic() - max(self._trouble_since, self._built_at) > REBUILD_SECONDS

    def _build(self) -> KafkaProducer | None:
        """Make the producer and give it a moment to learn the topics; a broker that is away is waited for later."""
        self._built_at = time.monotonic()
        try:
            producer = KafkaProducer(
                **self._arguments,
                acks=1,  # a replica that lags must not delay a bell, and a leader that dies may lose it
                # Doubled bells are harmless, and after one expired batch the idempotent producer never sends again.
                enable_idempotence=False,
                max_block_ms=0,
                linger_ms=0,  # gathering happens here, without a timer
                delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
                request_timeout_ms=int(_REQUEST_SECONDS * 1000),
                metrics_enabled=False,
            )
        except Exception as error:
            self._trouble(error)
            return None
        deadline = self._built_at + _METADATA_SECONDS
        unknown = set(self._topics.values())
        while unknown and time.monotonic() < deadline and not self._idle_and_closing():
            unknown = {topic for topic in unknown if not _knows(producer, topic)}
            time.sleep(0.01)
        return producer

    def _idle_and_closing(self) -> bool:
        """Whether the end is all that is left in the line: nobody needs the topics any more."""
        return self._closing and self._line.qsize() <= 1

    def _take(self) -> tuple[dict[str, list[UUID]], bool]:
        """Wait for a call, then take all there are: ids by modality, and whether that was the last."""
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
        self._count(1)
        try:
            # Spread over partitions by hand: the library's own choice stays on one for a whole burst.
            self._turn += 1
            partition = self._turn % len(producer.partitions_for(topic))
            future = producer.send(topic, encode_bell(ids), partition=partition)
        except Exception as error:
            self._lost(modality, len(ids), error)
            return
        future.add_callback(self._acked, modality, len(ids))
        future.add_errback(self._lost, modality, len(ids))

    # The ringer's thread and the library's

    def _count(self, change: int) -> None:
        with self._lock:
            self._unacked += change
            if self._unacked:
                self._all_acked.clear()
            else:
                self._all_acked.set()
            metrics.BELLS_UNACKED.set(self._unacked)

    def _acked(self, modality: str, count: int, _metadata: object) -> None:
        self._rung[modality].inc(count)
        if self._trouble_since is not None:
            log.info("bells: rung again after %.0f s", time.monotonic() - self._trouble_since)
            self._trouble_since = None
        self._count(-1)

    def _lost(self, modality: str, count: int, error: Exception) -> None:
        self._dropped[modality].inc(count)
        self._trouble(error)
        self._count(-1)

    def _trouble(self, error: Exception) -> None:
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        if now >= self._alarm_due:
            self._alarm_due = now + _ALARM_SECONDS
            reason = type(error).__name__ + self._arguments.why()
            log.warning("bells: not rung: %s; jobs still start, a second or two late", reason)


def _knows(producer: KafkaProducer, topic: str) -> bool:
    """Whether the topic's partitions are known; asks for them if not."""
    try:
        return bool(producer.partitions_for(topic))
    except KafkaError:
        return False


def _close(producer: KafkaProducer | None) -> None:
    """Close once every record is acked or has expired; earlier the library would leave its thread running."""
    if producer is None:
        return
    try:
        producer.close(timeout=DELIVERY_SECONDS + 1)
    except KafkaError as error:
        log.warning("bells: the producer did not close (%s)", type(error).__name__)
