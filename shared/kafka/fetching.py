"""The library's consumer, with fetches that its network thread sends and reads by itself.

The library sends each fetch from the thread that polls and wakes that thread for each answer, also for empty ones: half
a dozen hand-overs between two threads, several milliseconds of CPU for a lonely record.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher

from shared.kafka.calm import SHORTEST_WAIT_MS

_READY_BATCHES = 2
"""Batches read ahead of the polling thread; beyond it nothing more is fetched."""
_EARLY_SECONDS = 0.01
_EARLY_WAIT_SECONDS = 0.05
"""A fetch that comes back at once and empty has met an error: the next one is not sent at once."""


class EagerFetcher(Fetcher):  # type: ignore[misc]  # the library carries no types
    """Sends the next fetch as soon as an answer is read. The polling thread only takes what is there."""

    def __init__(self, client: Any, subscriptions: Any, **configs: Any) -> None:
        super().__init__(client, subscriptions, **configs)
        self._came = threading.Event()
        self._ready: deque[dict[Any, list[Any]]] = deque()
        self._broken: Exception | None = None
        self._early = False

    def fetch_records(
        self, max_records: int | None = None, update_offsets: bool = True, timeout_ms: float | None = None
    ) -> tuple[dict[Any, list[Any]], bool]:
        """The next batch, waited for if none is ready. Raises what reading a fetch raised.

        The second value says that there is nothing to wait for; here the waiting is done already.
        """
        if not self._ready and self._broken is None:
            self._came.clear()
            if not self._ready and self._broken is None:
                if self._stands_still():
                    self._manager.call_soon(self._go_on)
                self._came.wait(max(timeout_ms or 0.0, SHORTEST_WAIT_MS) / 1000)
        broken, self._broken = self._broken, None
        if broken is not None:
            raise broken
        return (self._ready.popleft() if self._ready else {}), False

    def _stands_still(self) -> bool:
        """Whether no answer is under way that would bring the next fetch with it, or something was laid aside."""
        aside = self._completed_fetches or self._paused_completed_fetches or self._paused_partition_records
        return bool(aside) or not self.in_flight_fetches()

    # The network thread

    def _go_on(self) -> None:
        """Read the answers that are there, and fetch what comes after them."""
        try:
            while len(self._ready) < _READY_BATCHES:
                records, _ = self.fetched_records()
                if not records:
                    break
                self._ready.append(records)
                self._came.set()
        except Exception as error:  # whatever the library tripped over: the polling thread decides
            self._broken = error
            self._came.set()
            return
        with contextlib.suppress(StopIteration):  # it awaits nothing, and a task of its own costs another turn
            self._send_fetches_async().send(None)

    def _handle_fetch_response(self, node_id: Any, fetch_offsets: Any, send_time: float, response: Any) -> None:
        super()._handle_fetch_response(node_id, fetch_offsets, send_time, response)
        empty = not any(part.records for topic in response.responses for part in topic.partitions)
        self._early = empty and time.monotonic() - send_time < _EARLY_SECONDS

    def _clear_pending_fetch_request(self, node_id: Any, answer: Any) -> None:
        """The last that is called about a fetch. After one that failed the polling thread goes on, in its own time."""
        super()._clear_pending_fetch_request(node_id, answer)
        if self._early:
            self._early = False
            self._net.call_later(_EARLY_WAIT_SECONDS, self._go_on)
        elif not isinstance(answer, BaseException):
            self._go_on()


class EagerConsumer(KafkaConsumer):  # type: ignore[misc]  # the library carries no types
    """A consumer of bells."""

    def __init__(self, *topics: str, **configs: Any) -> None:
        super().__init__(*topics, **configs)
        self._fetcher = EagerFetcher(self._client, self._subscription, metrics=self._metrics, **self.config)
