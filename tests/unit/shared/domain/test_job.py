"""What a state means is said once, and every reader asks there."""

from __future__ import annotations

import pytest

from shared.domain.job import ENDED, LIVE, Status

MEANING = {Status.PENDING: None, Status.PROCESSING: None, Status.COMPLETED: True, Status.FAILED: False}


@pytest.mark.parametrize("status", Status)
def test_every_state_says_whether_it_is_an_end_and_which(status: Status) -> None:
    assert status.succeeded is MEANING[status]
    assert status.terminal is (MEANING[status] is not None)


def test_a_state_is_either_live_or_ended() -> None:
    assert sorted([*LIVE, *ENDED]) == sorted(status.value for status in Status)
    assert [status.value for status in Status if status.terminal] == ENDED
