"""Each guard of the scheduler taken away turns a named test red."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.workers.scheduling import test_scheduler as rules
from tests.unit.workers.scheduling import test_simulation as scenes
from workers.scheduling.channels import Channel, Channels
from workers.scheduling.fair_shares import Account, FairShares
from workers.scheduling.scheduler import Scheduler, Taken
from workers.scheduling.waiting import Queue, Waiting


def _uncharged(_shares: FairShares, _account: Account, _cost: float) -> None:
    """Serve without a charge."""


def _oldest_dropped(waiting: Waiting, queue: Queue) -> list[Queue]:
    waiting.remove(queue.entries[0].id)
    queue.incomplete = True
    return [queue]


def _slot_lost(scheduler: Scheduler, _taken: Taken) -> None:
    """A claim that took nothing gives nothing back."""
    del scheduler


def _forgets_who_runs(scheduler: Scheduler, taken: Taken, now: float) -> None:
    """What is claimed may come in, and be taken, once more."""
    taken.since = now
    taken.channel.started[taken] = now
    scheduler._reserved -= 1
    del scheduler._taken[taken.entry.id]


def _never_slow(_channels: object, _now: float) -> Callable[[Channel], bool]:
    return lambda _channel: True


def _claimed_job_comes_in_again() -> None:
    scheduler, [job] = Scheduler(4), rules.jobs(1, rules.queue())
    scheduler.put([job])
    for each in scheduler.take(4, 0.0, 1.0):
        scheduler.claimed(each, 0.0)
    scheduler.put([job])
    assert scheduler.take(4, 0.0, 1.0) == []


@pytest.mark.parametrize(
    ("owner", "name", "sabotage", "test"),
    [
        (FairShares, "correct", _uncharged, lambda: scenes.test_a_quiet_key_hardly_notices_a_noisy_one(1)),
        (FairShares, "serve", _uncharged, rules.test_weights_are_shares_of_slot_time),
        (FairShares, "correct", _uncharged, rules.test_what_a_key_is_charged_is_corrected_by_what_its_jobs_took),
        (FairShares, "raise_to_floor", lambda *_: None, rules.test_a_key_that_was_away_has_saved_nothing),
        (
            Waiting, "_drop_youngest", _oldest_dropped,
            rules.test_a_full_queue_drops_its_youngest_whoever_brings_a_new_one,
        ),
        (Scheduler, "missed", _slot_lost, rules.test_a_claim_that_took_nothing_is_paid_back),
        (Scheduler, "claimed", _forgets_who_runs, _claimed_job_comes_in_again),
        (
            Channels, "room", _never_slow,
            lambda: scenes.test_slow_calls_leave_fast_ones_as_fast_as_they_are(one_key=True),
        ),
    ],
)  # fmt: skip
def test_without_a_guard_a_named_test_fails(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, sabotage: object, test: Callable[[], None]
) -> None:
    test()
    monkeypatch.setattr(owner, name, sabotage)
    with pytest.raises((AssertionError, KeyError)):
        test()
