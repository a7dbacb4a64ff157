"""What Retry-After says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.poll.reader import LONGEST_HINT, PollHint


def taught(*seconds: float) -> PollHint:
    pace = PollHint()
    for each in seconds:
        pace.ended("embedding", each)
    return pace


def test_the_older_a_job_the_rarer_the_polls() -> None:
    waits = [PollHint().hint("embedding", age) for age in (0, 1, 29, 31, 299, 301, 86400)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 5)


def test_a_young_job_is_polled_when_quick_ones_of_its_kind_have_ended() -> None:
    pace = taught(*[4.0] * 50)
    assert pace.hint("embedding", 0.5) in (3, 4)
    assert pace.hint("embedding", 3.5) == 1
    assert pace.hint("rerank", 0.5) == 1


def test_quick_jobs_are_not_kept_waiting_by_slow_ones_of_their_kind() -> None:
    seconds = [0.2] * 300 + [60.0] * 300
    random.Random(7).shuffle(seconds)
    assert taught(*seconds).hint("embedding", 0.0) == 1


def test_what_is_told_follows_when_jobs_become_slower_or_quicker() -> None:
    pace = taught(*[0.1] * 100, *[30.0] * 200)
    assert pace.hint("embedding", 0.0) == LONGEST_HINT
    for _ in range(60):
        pace.ended("embedding", 0.1)
    assert pace.hint("embedding", 0.0) == 1


def test_a_slow_first_job_is_forgotten_with_the_second() -> None:
    assert taught(4.8).hint("embedding", 0.0) == 5
    assert taught(4.8, 0.05).hint("embedding", 0.0) == 1


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_about_a_quarter_of_the_jobs_have_ended_by_then(share: float) -> None:
    draw = random.Random(11)
    pace = taught(*[draw.uniform(0, 4) + share for _ in range(2000)])
    assert pace.hint("embedding", 0.0) in (1, 2, 3)


@given(st.lists(st.floats(-1, 1e6), max_size=50), st.floats(-1, 1e6))
def test_a_hint_is_always_a_few_whole_seconds(seconds: list[float], age: float) -> None:
    assert 1 <= taught(*seconds).hint("embedding", age) <= LONGEST_HINT
