"""Receives notifications: a consumer on its own thread passes job ids to the event loop."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from shared.domain.catalogue import MODALITIES
from shared.kafka.connection import connection_arguments
from shared.kafka.group import CheckedAssignor, OffsetCommitter
from shared.kafka.notification import BadNotification, decode_notification
from shared.kafka.patched_client import PatchedClient
from shared.kafka.topics import group_name, topic_name
from shared.settings.table import Settings
from shared.telemetry import metrics
from shared.telemetry.supervised import supervised_thread

log = logging.getLogger(__name__)

FULL_WAIT_SECONDS = 0.2
MAX_HELD_IDS = 4096
"""Ids fetched and not taken by the event loop. With more, fetching pauses."""
SESSION_SECONDS = 6.0
"""The least that Apache Kafka allows by default. Meanwhile, notifications of a dead member wait for the sweep."""
HEARTBEAT_SECONDS = 0.5
"""Members learn of a rebalance by their next heartbeat, so a rebalance takes about as long."""
REBALANCE_SECONDS = 15
SILENCE_SECONDS = 10.0
POLL_MS = 500
REBUILD_SECONDS = 30.0
"""A consumer whose heartbeats are not answered for so long is replaced."""
METADATA_SECONDS = 3.0
"""The group leader learns of new topics and partitions within this time, and has all members join again."""
REPLACE_SECONDS = 3.0
"""Least time before a consumer is replaced because the broker ignored its assignment."""
_ERROR_WAIT_SECONDS = 5.0
_CLOSE_MS = 500
_REQUEST_MS = 12_000
_MAX_RECORDS = 64
_PARTITION_FETCH_BYTES = 64 * 1024
_FETCH_BYTES = 1024 * 1024
_BUSY_POLL_MS = 100
_LONGER = 1.5
"""Growth of the wait for a fetch after a poll without notifications."""


class FetchWait:
    """How long fetches wait at the broker: `busy` seconds after a notification, growing to `idle` without any."""

    def __init__(self, busy: float, idle: float) -> None:
        self._busy_ms = min(busy or idle, idle) * 1000
        self._idle_ms = idle * 1000
        self._wait_ms = self._idle_ms

    @property
    def wait_ms(self) -> int:
        return int(self._wait_ms)

    @property
    def poll_ms(self) -> int:
        """How long a poll may take before the wait is set again."""
        return POLL_MS if self._wait_ms == self._idle_ms else _BUSY_POLL_MS

    def after(self, *, heard: bool) -> int:
        """Note whether a poll brought notifications. Returns the new wait in milliseconds."""
        self._wait_ms = self._busy_ms if heard else min(self._idle_ms, self._wait_ms * _LONGER)
        return self.wait_ms


class NotificationListener:
    """Calls `on_ids(modality, ids)`, which must be quick, on the event loop for notifications of these modalities.

    An id may come twice, late or not at all. Call all but `start` from the event loop.
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
        self._pace = FetchWait(settings.kafka_busy_fetch_wait_seconds, settings.kafka_fetch_wait_seconds)
        self._modalities = {topic_name(settings, modality): modality for modality in modalities}
        self._all_topics = [topic_name(settings, modality) for modality in MODALITIES]
        self._heard = {modality: metrics.NOTIFICATIONS_RECEIVED.labels(modality) for modality in modalities}
        self._bad = {modality: metrics.NOTIFICATIONS_INVALID.labels(modality) for modality in modalities}
        self._on_ids = on_ids
        self._loop = loop
        self._thread = supervised_thread("notification-listener", self._run)
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
        self._thread.start()

    def set_paused(self, paused: bool) -> None:
        """Stop calling `on_ids` at once, or go on. The group membership is kept."""
        if paused == self._paused:
            return
        with self._lock:
            self._paused = paused
        self._hand()
        self._stirred.set()

    async def stop(self, seconds: float = 2.0) -> None:
        """Returns after at most `seconds`, even without a broker."""
        self._stopping = True
        self._stirred.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, seconds)

    @property
    def partitions(self) -> int:
        """How many are assigned; 0 while not a member of the group."""
        return self._partitions

    def _hand_over(self) -> None:
        """On the event loop: calls `on_ids` for what is held, until it pauses us."""
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
                log.exception("notifications: on_ids failed, %d ids are left to the sweep", len(ids))
        if self._held_ids < MAX_HELD_IDS:
            self._stirred.set()

    # From here on in the listener's thread

    def _run(self) -> None:
        while not self._stopping:
            self._serve()

    def _serve(self) -> None:
        assignor = CheckedAssignor()
        consumer = KafkaConsumer(
            *self._modalities,
            **self._arguments,
            group_id=self._group,
            # Eager: a rebalance takes tenths of a second; the two rounds of the cooperative protocol take seconds.
            partition_assignment_strategy=[assignor],
            metadata_max_age_ms=int(METADATA_SECONDS * 1000),
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
            check_crcs=False,  # computed in Python; a damaged notification is at worst an unknown id
            metrics_enabled=False,
        )
        # The group leader assigns topics that it may not serve itself. Unless it knows their partitions beforehand, it
        # needs a second rebalance, which the embedded broker does not do.
        client = cast("PatchedClient", self._arguments.client)
        client.cluster.set_topics(self._all_topics)
        progress = OffsetCommitter(consumer)
        replace_from = time.monotonic() + REPLACE_SECONDS
        try:
            while not self._stopping and not client.net.crashed and client.seconds_since_heartbeat() < REBUILD_SECONDS:
                if assignor.overruled and time.monotonic() > replace_from:
                    log.info("notifications: the broker does not assign what the group agreed on, joining anew")
                    break
                self._turn(consumer, progress)
                client.manager.fetch_wait_ms = self._pace.wait_ms
                self._watch(client.seconds_since_heartbeat())
        finally:
            self._partitions = 0
            progress.commit_last()
            consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)

    def _turn(self, consumer: KafkaConsumer, progress: OffsetCommitter) -> None:
        """Polling goes on while paused or full: it keeps the group membership."""
        full = self._paused or self._held_ids >= MAX_HELD_IDS
        _align_pause(consumer, full)
        try:
            batches = consumer.poll(timeout_ms=0 if full else self._pace.poll_ms)
            self._failures = 0
        except Exception as error:  # the library raises any type for a record that it cannot read
            self._recover(consumer, error)
            batches = {}
        self._partitions = len(consumer.assignment())
        for partition, records in batches.items():
            self._keep(partition, records)
            progress.note(partition, records[-1].offset + 1)
        self._hand()
        self._pace.after(heard=bool(batches))
        progress.commit_when_due()
        if full or not self._partitions:
            self._stirred.wait(FULL_WAIT_SECONDS)
            self._stirred.clear()

    def _recover(self, consumer: KafkaConsumer, error: Exception) -> None:
        """Skips what cannot be read: the sweep finds those jobs."""
        if not (isinstance(error, KafkaError) and error.retriable):
            log.warning("notifications: cannot read (%s), going on behind the newest record", type(error).__name__)
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
                ids.extend(decode_notification(record.value))
            except BadNotification:
                self._bad[modality].inc()
        self._heard[modality].inc(len(ids))
        if ids:
            with self._lock:
                self._held.append((modality, ids))
                self._held_ids += len(ids)

    def _hand(self) -> None:
        with self._lock:
            if not self._held or self._handing or self._paused:
                return
            self._handing = True
        try:
            self._loop.call_soon_threadsafe(self._hand_over)
        except RuntimeError:  # the event loop is closed
            self._stopping = True

    def _watch(self, seconds_since_heartbeat: float) -> None:
        now = time.monotonic()
        if self._partitions and seconds_since_heartbeat < SILENCE_SECONDS:
            self._alone_since = None
            if self._alarmed:
                self._alarmed = False
                log.info("notifications: received again on %d partitions", self._partitions)
            return
        self._alone_since = self._alone_since or now
        if not self._alarmed and now - self._alone_since > SILENCE_SECONDS:
            self._alarmed = True
            silent = f"no answer from the brokers{self._arguments.why()}"
            reason = "more workers than partitions?" if seconds_since_heartbeat < SILENCE_SECONDS else silent
            log.warning("notifications: none can be received: %s; jobs still start, a second or two late", reason)


def _align_pause(consumer: KafkaConsumer, full: bool) -> None:
    """A rebalance resumes all partitions."""
    paused = consumer.paused()
    if full:
        if missing := consumer.assignment() - paused:
            consumer.pause(*missing)
    elif paused:
        consumer.resume(*paused)
