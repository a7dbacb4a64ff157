"""When a new job is first asked for, learnt from those before it."""

from datetime import UTC, datetime, timedelta

from coatcheck_client import Job, endpoint_of
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.batch.runner import LONGEST, FirstPollDelay

START = datetime(2026, 1, 1, tzinfo=UTC)


def ended(seconds: float) -> Job:
    return Job("j", endpoint_of("ocr"), "completed", START, START + timedelta(seconds=seconds))


def test_the_first_jobs_are_asked_for_at_once() -> None:
    assert FirstPollDelay().first_look() == 0.0


@settings(deadline=None)
@given(st.lists(st.floats(-5, 1e6)))
def test_a_first_look_is_never_later_than_half_a_minute_or_what_was_ever_seen(seconds: list[float]) -> None:
    pace = FirstPollDelay()
    for each in seconds:
        pace.learn(ended(each))
        assert 0 <= pace.first_look() <= min(LONGEST, max(0.0, *seconds, 0.0))


def test_it_follows_when_jobs_become_slower_and_quicker_again() -> None:
    pace = FirstPollDelay()
    for _ in range(100):
        pace.learn(ended(10))
    assert 8 < pace.first_look() <= 9
    for _ in range(100):
        pace.learn(ended(1))
    assert pace.first_look() < 1


def test_a_job_without_times_teaches_nothing() -> None:
    pace = FirstPollDelay()
    pace.learn(Job("j", endpoint_of("ocr"), "completed"))
    assert pace.usual == 0.0
