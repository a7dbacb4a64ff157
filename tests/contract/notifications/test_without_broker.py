"""While the broker is away: nothing blocks, nothing spins, everything stops in time, and it goes on afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.contract.notifications.parties import (
    OUTAGE_SECONDS,
    SPIN_SECONDS,
    Fake,
    Party,
    Real,
    Recorder,
    counted,
    ids,
    until,
)


async def test_after_kill_9_and_a_restart_of_the_broker_notifications_are_received_again(party: Party) -> None:
    recorder = Recorder()
    publisher = party.publisher()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    party.notifications.kill()
    end = time.monotonic() + OUTAGE_SECONDS * party.notifications.pace
    while time.monotonic() < end:
        publisher.publish("text", ids(1))
        await asyncio.sleep(0.05)
    party.notifications.restart()
    recorder.received.clear()
    await party.received_again(publisher, recorder)


async def test_a_start_while_the_broker_is_away_works_once_it_is_back(party: Party) -> None:
    recorder = Recorder()
    party.notifications.kill()
    publisher = party.publisher()
    listener = party.join(recorder)
    publisher.publish("text", ids(1))
    await asyncio.sleep(
        2.0 * party.notifications.pace
    )  # past the moment that a publisher gives the broker at its start
    party.notifications.restart()
    await until(lambda: listener.partitions > 0)
    await party.received_again(publisher, recorder)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_publishing_never_blocks_the_event_loop(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        took, dropped = [], counted("notifications_dropped")
        end = time.monotonic() + OUTAGE_SECONDS * party.notifications.pace
        while time.monotonic() < end:
            notified = ids(64)
            started = time.perf_counter()
            publisher.publish("text", notified)
            took.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)
    finally:
        back()
    took.sort()
    print(f"publish() {absence}: median {took[len(took) // 2] * 1e6:.0f} us, longest {took[-1] * 1e3:.2f} ms")
    assert took[int(len(took) * 0.9)] < 0.002
    assert took[-1] < 0.5, "some are late when this machine is busy; what blocks takes longer"
    if isinstance(party.notifications, Real):
        assert counted("notifications_dropped") > dropped
        await until(lambda: publisher.unacked == 0)
    await party.received_again(publisher, recorder)


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_a_broker_that_is_away_costs_no_cpu(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        busy, started = time.process_time(), time.monotonic()
        while time.monotonic() < started + SPIN_SECONDS * party.notifications.pace:
            publisher.publish("text", ids(1))
            await asyncio.sleep(0.5 * party.notifications.pace)
        share = (time.process_time() - busy) / (time.monotonic() - started)
    finally:
        back()
    print(f"CPU while the broker is {absence}: {share:.1%} of a core")
    assert share < 0.10


@pytest.mark.parametrize("absence", ["killed", "frozen"])
async def test_stopping_takes_two_seconds_at_most_while_the_broker_is_away(party: Party, absence: str) -> None:
    publisher = party.publisher()
    recorder = Recorder()
    listener = await party.listener(recorder)
    await party.received_again(publisher, recorder)
    back = leave(party.notifications, absence)
    try:
        publisher.publish("text", ids(1))
        started = time.monotonic()
        await listener.stop()
        await publisher.close()
        took = time.monotonic() - started
    finally:
        back()
    assert took < 5, "two seconds each"
    calls = recorder.calls
    await asyncio.sleep(0.2)
    assert recorder.calls == calls


def leave(notifications: Fake | Real, absence: str) -> Callable[[], None]:
    """Take the broker away; the result brings it back."""
    if absence == "killed":
        notifications.kill()
        return notifications.restart
    notifications.freeze()
    return notifications.thaw
