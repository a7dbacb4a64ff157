"""How long fetches wait, by what they bring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.consumer import POLL_MS, FetchWait

WAITS = st.floats(0.001, 5)


def test_a_notification_makes_the_next_fetch_short() -> None:
    pace = FetchWait(0.02, 0.2)
    assert pace.wait_ms == 200
    assert pace.after(heard=True) == 20
    assert pace.poll_ms < POLL_MS


def test_without_notifications_fetches_are_long_again_within_a_second() -> None:
    pace = FetchWait(0.02, 0.2)
    pace.after(heard=True)
    polls = 0
    while pace.after(heard=False) < 200:
        polls += 1
    assert polls * 0.1 < 1.0
    assert pace.poll_ms == POLL_MS


def test_without_a_busy_wait_nothing_ever_changes() -> None:
    pace = FetchWait(0.0, 0.5)
    assert [pace.after(heard=heard) for heard in (True, False, True)] == [500] * 3
    assert pace.poll_ms == POLL_MS


@given(WAITS, WAITS, st.lists(st.booleans()))
def test_a_wait_is_never_longer_than_the_idle_one(busy: float, idle: float, heard: list[bool]) -> None:
    pace = FetchWait(busy, idle)
    for each in heard:
        assert pace.after(heard=each) <= idle * 1000
