"""What runs for the life of a process is started again when it fails, and seen to be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shared.telemetry import supervised as module
from shared.telemetry.metrics import REGISTRY
from shared.telemetry.supervised import TaskFailed, restart_in, supervised, supervised_task, supervised_thread


def restarts(name: str) -> float:
    return REGISTRY.get_sample_value("coatcheck_task_restarts_total", {"task": name}) or 0.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.001)


def failing_twice(
    error: Callable[[], BaseException], running: asyncio.Event
) -> Callable[[], Coroutine[Any, Any, None]]:
    starts = 0

    async def loop() -> None:
        nonlocal starts
        starts += 1
        if starts <= 2:
            raise error()
        running.set()
        await asyncio.Event().wait()

    return loop


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, TimeoutError])
async def test_a_task_that_fails_is_logged_counted_and_started_again(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    name, running = f"task {error.__name__}", asyncio.Event()
    task = supervised_task(name, failing_twice(lambda: error("nobody foresaw this"), running))
    assert task.get_name() == name
    await asyncio.wait_for(running.wait(), 5)
    assert restarts(name) == 2
    assert f"{name} failed and is started again" in caplog.text
    assert "nobody foresaw this" in caplog.text
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_loop_that_returns_is_started_again_too() -> None:
    turns = asyncio.Semaphore(0)

    async def loop() -> None:
        turns.release()

    task = supervised_task("short", loop)
    for _ in range(3):
        await asyncio.wait_for(turns.acquire(), 5)
    task.cancel()


async def test_a_cancelled_task_ends_even_if_its_loop_makes_an_error_of_it() -> None:
    begun = asyncio.Event()

    async def loop() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("lost in a library") from None

    task = supervised_task("loser", loop)
    await begun.wait()
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), 5)
    assert task.cancelled()
    assert restarts("loser") == 0


async def test_a_task_that_only_fails_ends_after_the_time_it_was_given() -> None:
    async def loop() -> None:
        raise ValueError("again")

    with pytest.raises(TaskFailed, match=r"hopeless has failed for .* ValueError: again"):
        await asyncio.wait_for(supervised("hopeless", loop, give_up_after=0.05), 5)


async def test_failures_with_work_between_them_are_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    async def loop() -> None:
        nonlocal failures
        await asyncio.sleep(0.03)
        failures += 1
        raise ValueError("now and then")

    task = supervised_task("now and then", loop, give_up_after=0.1)
    while failures < 8:
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_thread_that_fails_is_started_again_and_ends_when_it_returns(error: type[BaseException]) -> None:
    starts = 0

    def run() -> None:
        nonlocal starts
        starts += 1
        if starts <= 2:
            raise error("nobody foresaw this")

    thread = supervised_thread(f"thread {error.__name__}", run)
    assert isinstance(thread, threading.Thread)
    assert thread.daemon
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert (starts, restarts(thread.name)) == (3, 2)


def test_restarts_come_at_once_at_first_and_ever_later_up_to_a_bound() -> None:
    waits = [restart_in(failures) for failures in range(1, 100)]
    assert waits == sorted(waits)
    assert waits[0] < 0.2
    assert waits[-1] == 10.0
