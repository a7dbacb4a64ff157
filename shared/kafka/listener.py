"""Bells in: a consumer on a thread of its own hands job ids to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

from shared import metrics
from shared.catalogue import MODALITIES
from shared.kafka.bell import BadBell, decode_bell
from shared.kafka.calm import CalmClient, set_fetch_wait
from shared.kafka.connection import connection_arguments, silence_client_logs
from shared.kafka.fetching import EagerConsumer
from shared.kafka.pace import Pace
from shared.kafka.progress import Progress
from shared.kafka.topics import group_name, topic_name
from shared.settings import Settings

log = logging.getLogger(__name__)

FULL_WAIT_SECONDS = 0.2
MAX_HELD_IDS = 4096
"""Ids fetched and not yet taken by the event loop, above which no more are fetched."""
SESSION_SECONDS = 6.0
"""The least that Apache Kafka allows unless configured otherwise. Being thrown out wrongly costs a rebalance of a few
tenths of a second; a dead member's bells wait for the sweep meanwhile."""
HEARTBEAT_SECONDS = 0.5
"""Members learn of a rebalance by their next heartbeat, so this is about how long one takes."""
REBALANCE_SECONDS = 15
SILENCE_SECONDS = 10.0
REBUILD_SECONDS = 30.0
"""A consumer whose heartbeats got no answer for so long is replaced: whatever it is stuck in ends here."""
_ERROR_WAIT_SECONDS = 5.0
_CLOSE_MS = 500
_REQUEST_MS = 12_000
_MAX_RECORDS = 64
_PARTITION_FETCH_BYTES = 64 * 1024
_FETCH_BYTES = 1024 * 1024


class BellListener:
    """Calls `on_ids(modality, ids)` on the event loop for bells of the given modalities, shared with all other workers.

    An id may come twice, late or not at all. `on_ids` must be quick. Everything but `start` belongs to the loop's
    thread.
    """

    def __init__(
        self,
        settings: Settings,
        modalities: Sequence[str],
        on_ids: Callable[[str, Sequence[UUID]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._arguments = connection_arguments(settings)
        self._group = group_name(settings)
        self._pace = Pace(settings.kafka_busy_fetch_wait_seconds, settings.kafka_fetch_wait_seconds)
        self._modalities = {topic_name(settings, modality): modality for modality in modalities}
        self._all_topics = [topic_name(settings, modality) for modality in MODALITIES]
        self._heard = {modality: metrics.BELLS_HEARD.labels(modality) for modality in modalities}
        self._bad = {modality: metrics.BELLS_BAD.labels(modality) for modality in modalities}
        self._on_ids = on_ids
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="bell-listener", daemon=True)
        self._stopping = False
        self._paused = False
        self._stirred = threading.Event()
        self._lock = threading.Lock()
        self._held: deque[tuple[str, Sequence[UUID]]] = deque()
        self._held_ids = 0
        self._handing = False
        self._partitions = 0
        self._failures = 0
        self._alone_since: float | None = None
        self._alarmed = False

    def start(self) -> None:
        """Begin to connect and join, in the background."""
        silence_client_logs()
        self._thread.start()

    def set_paused(self, paused: bool) -> None:
        """Stop calling `on_ids` at once, or go on with what is held and what comes. Membership is kept."""
        if paused == self._paused:
            return
        with self._lock:
            self._paused = paused
            hand = bool(self._held) and not paused and not self._handing
            self._handing = self._handing or hand
        if hand:
            self._loop.call_soon(self._hand_over)
        self._stirred.set()

    async def stop(self, seconds: float = 2.0) -> None:
        """Leave the group and end the thread; returns after at most `seconds`, whatever the broker does."""
        self._stopping = True
        self._stirred.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, seconds)

    @property
    def partitions(self) -> int:
        """How many partitions this listener hears; 0 while it is not a member of the group."""
        return self._partitions

    # The event loop's side

    def _hand_over(self) -> None:
        """Pass on what is held, until `on_ids` pauses us."""
        while True:
            with self._lock:
                if self._paused or self._stopping or not self._held:
                    self._handing = False
                    break
                modality, ids = self._held.popleft()
                self._held_ids -= len(ids)
            try:
                self._on_ids(modality, ids)
            except Exception:
                log.exception("bells: on_ids failed, %d ids are left to the sweep", len(ids))
        if self._held_ids < MAX_HELD_IDS:
            self._stirred.set()

    # The listener's thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._serve()
            except Exception:
                log.exception("bells: the consumer failed and is replaced")
                self._partitions = 0
                self._stirred.wait(1.0)
                self._stirred.clear()

    def _serve(self) -> None:
        """Live with one consumer until we stop or it has to be replaced."""
        consumer = EagerConsumer(
            *self._modalities,
            **self._arguments,
            group_id=self._group,
            # Eager: a rebalance takes a few tenths of a second, the cooperative protocol's two rounds take seconds.
            # Range: the library's round robin fails when members serve different topics.
            partition_assignment_strategy=[RangePartitionAssignor],
            auto_offset_reset="latest",
            enable_auto_commit=False,
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_SECONDS * 1000),
            max_poll_interval_ms=REBALANCE_SECONDS * 1000,
            max_poll_records=_MAX_RECORDS,
            fetch_max_wait_ms=self._pace.wait_ms,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            request_timeout_ms=_REQUEST_MS,
            check_crcs=False,  # computed in Python; a damaged bell is at worst an id that nobody knows
            metrics_enabled=False,
        )
        # The member that leads the group assigns topics that it may not serve itself. Unless it knows their partitions
        # beforehand it needs a second rebalance, which the embedded broker does not grant.
        client = cast("CalmClient", self._arguments.client)
        client.cluster.set_topics(self._all_topics)
        progress = Progress(consumer)
        try:
            while not self._stopping and client.silence() < REBUILD_SECONDS:
                self._turn(consumer, progress)
                self._watch(client.silence())
        finally:
            self._partitions = 0
            progress.commit_last()
            consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)

    def _turn(self, consumer: KafkaConsumer, progress: Progress) -> None:
        """Poll once and keep what came. Polling goes on while we are full, or the group would throw us out."""
        full = self._paused or self._held_ids >= MAX_HELD_IDS
        _align_pause(consumer, full)
        try:
            batches = consumer.poll(timeout_ms=0 if full else self._pace.poll_ms)
            self._failures = 0
        except Exception as error:  # for a record that it cannot read the library raises whatever it tripped over
            self._recover(consumer, error)
            batches = {}
        self._partitions = len(consumer.assignment())
        for partition, records in batches.items():
            self._keep(partition, records)
            progress.note(partition, records[-1].offset + 1)
        self._hand()
        set_fetch_wait(consumer, self._pace.after(heard=bool(batches)))
        progress.commit_when_due()
        if full or not self._partitions:
            self._stirred.wait(FULL_WAIT_SECONDS)
            self._stirred.clear()

    def _recover(self, consumer: KafkaConsumer, error: Exception) -> None:
        """Wait after an error, and step over what cannot be read: the sweep finds what was rung there."""
        if not (isinstance(error, KafkaError) and error.retriable):
            log.warning("bells: cannot read (%s), going on behind the newest record", type(error).__name__)
            if consumer.assignment():
                consumer.seek_to_end()
        self._failures += 1
        self._stirred.wait(min(FULL_WAIT_SECONDS * 2**self._failures, _ERROR_WAIT_SECONDS))
        self._stirred.clear()

    def _keep(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        modality = self._modalities[partition.topic]
        ids: list[UUID] = []
        for record in records:
            try:
                ids.extend(decode_bell(record.value))
            except BadBell:
                self._bad[modality].inc()
        self._heard[modality].inc(len(ids))
        if ids:
            with self._lock:
                self._held.append((modality, ids))
                self._held_ids += len(ids)

    def _hand(self) -> None:
        """Have the loop take what is held, unless it is about to or must not."""
        with self._lock:
            if not self._held or self._handing or self._paused:
                return
            self._handing = True
        try:
            self._loop.call_soon_threadsafe(self._hand_over)
        except RuntimeError:  # the loop is closed: nobody is left to hear
            self._stopping = True

    def _watch(self, silence: float) -> None:
        """Say once when bells cannot be heard, and once when they can again."""
        now = time.monotonic()
        if self._partitions and silence < SILENCE_SECONDS:
            self._alone_since = None
            if self._alarmed:
                self._alarmed = False
                log.info("bells: heard again on %d partitions", self._partitions)
            return
        self._alone_since = self._alone_since or now
        if not self._alarmed and now - self._alone_since > SILENCE_SECONDS:
            self._alarmed = True
            answered = silence < SILENCE_SECONDS
            reason = (
                "more workers than partitions?" if answered else f"no answer from the brokers{self._arguments.why()}"
            )
            log.warning("bells: none can be heard: %s; jobs still start, a second or two late", reason)


def _align_pause(consumer: KafkaConsumer, full: bool) -> None:
    """Pause or resume every partition we have; a rebalance forgets what was paused."""
    paused = consumer.paused()
    if full:
        missing = consumer.assignment() - paused
        if missing:
            consumer.pause(*missing)
    elif paused:
        consumer.resume(*paused)
