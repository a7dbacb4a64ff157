"""Who sends the next fetch, and when, on a stand-in for the library's network thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from shared.kafka.fetching import EagerFetcher

Records = dict[Any, list[Any]]


class Fetching(EagerFetcher):
    """Its answers are `answers`; `sent` counts fetches, `later` holds what is to be called after a while."""

    def __init__(self) -> None:
        self.answers: deque[Records | Exception] = deque()
        self.sent = 0
        self.flying = False
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.started = 0
        net = SimpleNamespace(call_later=lambda seconds, call: self.later.append((seconds, call)))
        manager = SimpleNamespace(_net=net, broker_version=(3, 9), call_soon=self._start)
        super().__init__(SimpleNamespace(_manager=manager), None, metrics=None)

    def _start(self, call: Callable[[], None]) -> None:
        self.started += 1
        call()

    def in_flight_fetches(self) -> bool:
        return self.flying

    def fetched_records(self, max_records: Any = None, update_offsets: bool = True) -> tuple[Records, bool]:
        answer = self.answers.popleft() if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer, False

    async def _send_fetches_async(self) -> list[Any]:
        self.sent += 1
        self.flying = True
        return []

    def answer(self, *records: Records, after: float = 1.0, node: int = 1) -> None:
        """An answer comes in, `after` seconds after its fetch was sent."""
        self.flying = False
        self.answers += records
        parts = [SimpleNamespace(partition_index=0, records=b"x" if records else b"")]
        response = SimpleNamespace(API_VERSION=4, responses=[SimpleNamespace(topic="t", partitions=parts)])
        offsets = {("t", 0): 0}
        self._handle_fetch_response(node, offsets, time.monotonic() - after, response)
        self._completed_fetches.clear()
        self._clear_pending_fetch_request(node, response)


@pytest.fixture
def fetching() -> Fetching:
    return Fetching()


def test_the_first_poll_starts_fetching_and_the_next_ones_do_not(fetching: Fetching) -> None:
    for _ in range(3):
        assert fetching.fetch_records(timeout_ms=1) == ({}, False)
    assert (fetching.started, fetching.sent) == (1, 1)


def test_after_an_answer_the_next_fetch_leaves_without_the_polling_thread(fetching: Fetching) -> None:
    fetching.answer({"p": [1]})
    assert fetching.sent == 1
    assert fetching.fetch_records(timeout_ms=1) == ({"p": [1]}, False)
    fetching.answer()
    assert fetching.sent == 2
    assert fetching.started == 0


def test_an_answer_wakes_the_polling_thread(fetching: Fetching) -> None:
    fetching.flying = True
    threading.Timer(0.05, lambda: fetching.answer({"p": [1]})).start()
    began = time.monotonic()
    assert fetching.fetch_records(timeout_ms=10_000)[0] == {"p": [1]}
    assert time.monotonic() - began < 5


def test_what_comes_back_at_once_and_empty_is_not_asked_again_at_once(fetching: Fetching) -> None:
    fetching.answer(after=0.0)
    assert fetching.sent == 0
    ((seconds, go_on),) = fetching.later
    assert seconds >= 0.05
    go_on()
    assert fetching.sent == 1


def test_after_a_fetch_that_failed_the_polling_thread_goes_on(fetching: Fetching) -> None:
    fetching._clear_pending_fetch_request(1, ConnectionError("gone"))
    assert fetching.sent == 0
    fetching.fetch_records(timeout_ms=1)
    assert fetching.sent == 1


def test_only_two_batches_are_read_ahead(fetching: Fetching) -> None:
    fetching.answer({"p": [1]}, {"p": [2]}, {"p": [3]})
    assert list(fetching.answers) == [{"p": [3]}]


def test_what_cannot_be_read_is_raised_once_where_it_is_polled_for(fetching: Fetching) -> None:
    fetching.answers.append(ValueError("bad compression"))
    fetching.answer()
    assert fetching.sent == 0
    with pytest.raises(ValueError, match="bad compression"):
        fetching.fetch_records(timeout_ms=1)
    fetching.fetch_records(timeout_ms=1)
    assert fetching.sent == 1


def test_no_time_to_wait_still_waits_a_little(fetching: Fetching) -> None:
    began = time.monotonic()
    fetching.fetch_records(timeout_ms=0)
    assert time.monotonic() - began > 0.04
