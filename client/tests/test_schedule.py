"""The waiting times, for all histories, hints and chances."""

from hypothesis import given
from hypothesis import strategies as st

from coatcheck_client.operations import (
    FIRST_POLL,
    LONGEST_HINT,
    LONGEST_POLL,
    LONGEST_RETRY,
    LONGEST_RETRY_HINT,
    SOON,
    poll_delay,
    retry_delay,
)

counts = st.integers(0, 10**9)
chances = st.floats(0, 1, exclude_max=True)
hints = st.floats(0.001, 10**9)


@given(counts, chances)
def test_without_a_hint_a_poll_comes_after_25_ms_to_5_s(polls: int, chance: float) -> None:
    assert FIRST_POLL / 2 <= poll_delay(polls, None, chance) <= LONGEST_POLL


@given(counts, counts, chances)
def test_a_job_that_was_polled_more_is_never_polled_sooner(polls: int, more: int, chance: float) -> None:
    assert poll_delay(polls + more, None, chance) >= poll_delay(polls, None, chance)


@given(counts, st.floats(0.001, SOON), chances)
def test_the_smallest_hint_means_soon_and_bounds_the_wait(polls: int, hint: float, chance: float) -> None:
    assert poll_delay(polls, hint, chance) <= hint
    assert poll_delay(0, SOON, chance) <= FIRST_POLL


@given(counts, st.floats(SOON, 10**9, exclude_min=True), chances)
def test_a_poll_never_comes_before_a_longer_hint_and_the_hint_is_capped(polls: int, hint: float, chance: float) -> None:
    delay = poll_delay(polls, hint, chance)
    assert min(hint, LONGEST_HINT) <= delay <= max(LONGEST_POLL, min(hint, LONGEST_HINT)) * 1.1


@given(counts, chances)
def test_a_hint_of_zero_does_not_make_a_client_hammer(polls: int, chance: float) -> None:
    assert poll_delay(polls, 0.0, chance) == poll_delay(polls, None, chance)


@given(counts, st.one_of(st.none(), hints))
def test_two_clients_with_the_same_history_do_not_poll_in_step(polls: int, hint: float | None) -> None:
    assert poll_delay(polls, hint, 0.1) < poll_delay(polls, hint, 0.9)


@given(counts, chances)
def test_a_retry_without_a_hint_waits_at_most_10_s(retries: int, chance: float) -> None:
    delay = retry_delay(retries, None, chance)
    assert delay is not None
    assert 0 <= delay <= LONGEST_RETRY


@given(counts, st.floats(0, LONGEST_RETRY_HINT), chances)
def test_a_retry_never_comes_before_the_servers_hint(retries: int, hint: float, chance: float) -> None:
    delay = retry_delay(retries, hint, chance)
    assert delay is not None
    assert hint <= delay <= hint + LONGEST_RETRY


@given(counts, st.floats(LONGEST_RETRY_HINT, 10**9, exclude_min=True), chances)
def test_a_refusal_that_asks_for_more_than_a_minute_is_not_slept_through(
    retries: int, hint: float, chance: float
) -> None:
    assert retry_delay(retries, hint, chance) is None
