"""The retry policy, as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.execution.retry import RetryPolicy, asks_to_pause, backoff, defer_seconds, pause_seconds, retry_in
from workers.provider_interface import ProviderError

policies = st.builds(RetryPolicy, max_failures=st.integers(1, 10), base=st.floats(0.01, 10), cap=st.floats(0.01, 600))
drawn = st.floats(0, 1, exclude_max=True)


def error(status: int = 500, *, retryable: bool = True, retry_after: float | None = None) -> ProviderError:
    return ProviderError("x", status_code=status, error_type="t", retryable=retryable, retry_after=retry_after)


@given(policy=policies, failures=st.integers(1, 10_000), draw=drawn)
def test_a_backoff_is_never_negative_and_never_above_the_cap(policy: RetryPolicy, failures: int, draw: float) -> None:
    assert 0 <= backoff(failures, policy, draw) <= policy.cap


@given(policy=policies, failures=st.integers(1, 30), draw=drawn)
def test_a_backoff_never_shrinks_with_more_failures(policy: RetryPolicy, failures: int, draw: float) -> None:
    assert backoff(failures, policy, draw) <= backoff(failures + 1, policy, draw)


def test_the_jitter_spans_from_nothing_to_the_ceiling() -> None:
    policy = RetryPolicy(5, base=1.0, cap=60.0)
    assert backoff(3, policy, 0.0) == 0.0
    assert backoff(3, policy, 0.5) == 2.0
    assert 3.9 < backoff(3, policy, 0.99) < 4.0


@given(policy=policies, failures=st.integers(1, 20), draw=drawn, wanted=st.floats(0, 3600))
def test_retry_after_is_obeyed(policy: RetryPolicy, failures: int, draw: float, wanted: float) -> None:
    delay = retry_in(error(retry_after=wanted), failures, policy, draw)
    assert (delay is None) is (failures >= policy.max_failures)
    assert delay is None or delay >= wanted


@given(policy=policies, failures=st.integers(1, 20), draw=drawn)
def test_what_will_not_pass_is_not_retried(policy: RetryPolicy, failures: int, draw: float) -> None:
    assert retry_in(error(400, retryable=False), failures, policy, draw) is None


def test_429_and_503_with_a_time_pause_and_nothing_else_does() -> None:
    assert asks_to_pause(error(429))
    assert asks_to_pause(error(503, retry_after=3))
    assert not asks_to_pause(error(503))
    assert not asks_to_pause(error(500, retry_after=3))
    assert not asks_to_pause(error(429, retryable=False))


@given(streak=st.integers(0, 1000), draw=drawn, asked=st.none() | st.floats(0.1, 3600))
def test_a_pause_is_what_was_asked_or_a_bounded_guess(streak: int, draw: float, asked: float | None) -> None:
    seconds = pause_seconds(error(429, retry_after=asked), streak, draw, longest=3600)
    assert seconds == asked if asked else 1.0 <= seconds <= 15.0


@given(streak=st.integers(0, 1000), draw=drawn, asked=st.none() | st.floats(0.1, 604_800), longest=st.floats(0.1, 1000))
def test_no_pause_is_longer_than_the_longest(streak: int, draw: float, asked: float | None, longest: float) -> None:
    assert 0 < pause_seconds(error(429, retry_after=asked), streak, draw, longest) <= longest


@given(pause=st.floats(0.001, 3600), draw=drawn)
def test_a_snooze_ends_after_its_pause_and_soon_after(pause: float, draw: float) -> None:
    assert pause <= defer_seconds(pause, draw) <= pause + 5.0
