"""Services together in one process: a signal stops all, the first failure stops all, a second signal is final."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coatcheck.cli.run.runtime import Run, Service, ServiceFailed, run
from shared.domain.errors import SettingsError
from shared.telemetry.health import Health

ROOT = Path(__file__).parents[5]


@pytest.fixture(autouse=True)
def garbage_collector_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def service(name: str, body: Run) -> Service:
    return Service(name, body, Health(name))


def obedient(log: list[str], name: str) -> Service:
    """Works until it is told to stop, and notes that it did."""

    async def body(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        await stop.wait()
        log.append(f"{name} stopped")

    return service(name, body)


def signalled(number: signal.Signals) -> Service:
    """Sends this process a signal once it runs."""

    async def body(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        os.kill(os.getpid(), number)
        await stop.wait()

    return service("signalled", body)


def failing(error: Exception) -> Service:
    async def body(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        raise error

    return service("weak", body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_services(number: signal.Signals) -> None:
    log: list[str] = []
    before = signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored, and so it would be by `run`
    try:
        run([obedient(log, "a"), signalled(number), obedient(log, "b")], stop_within=5)
    finally:
        signal.signal(number, before)
    assert sorted(log) == ["a stopped", "b stopped"]


def test_the_first_failure_stops_the_others_and_says_who_and_why() -> None:
    log: list[str] = []
    with pytest.raises(ServiceFailed, match="weak failed: ZeroDivisionError: no"):
        run([obedient(log, "a"), failing(ZeroDivisionError("no"))], stop_within=5)
    assert log == ["a stopped"]


def test_an_error_that_explains_itself_is_passed_on_as_it_is() -> None:
    with pytest.raises(SettingsError, match="MongoDB runs standalone"):
        run([failing(SettingsError("MongoDB runs standalone"))], stop_within=5)


def test_the_first_of_two_failures_is_the_one_that_is_told() -> None:
    async def second(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        await stop.wait()
        raise ValueError("a consequence")

    with pytest.raises(ServiceFailed, match="weak failed"):
        run([service("second", second), failing(ZeroDivisionError("the cause"))], stop_within=5)


def test_a_service_that_ends_by_itself_is_a_failure() -> None:
    async def short(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()

    log: list[str] = []
    with pytest.raises(ServiceFailed, match="short ended by itself"):
        run([service("short", short), obedient(log, "a")], stop_within=5)
    assert log == ["a stopped"]


def test_a_service_that_does_not_stop_is_cut_off_and_named() -> None:
    async def stubborn(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        await asyncio.Event().wait()

    with pytest.raises(ServiceFailed, match=r"stubborn did not stop within 0\.1 s"):
        run([service("stubborn", stubborn), signalled(signal.SIGTERM)], stop_within=0.1)


def test_a_service_that_is_still_starting_is_stopped_at_once() -> None:
    async def starting(stop: asyncio.Event, health: Health) -> None:
        await asyncio.Event().wait()

    run([service("starting", starting), signalled(signal.SIGTERM)], stop_within=60)


def test_what_was_loaded_is_out_of_the_collectors_sight_after_the_start() -> None:
    async def body(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        async with asyncio.timeout(5):
            while not gc.get_freeze_count():
                await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    run([service("patient", body)], stop_within=5)
    assert gc.get_threshold()[0] > 700


DEAF = """
import asyncio
from coatcheck.cli.run.runtime import Service, run
from shared.telemetry.health import Health

async def deaf(stop, health):
    health.heartbeat()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()

run([Service("deaf", deaf, Health("deaf"))], stop_within=60)
"""


def test_a_second_signal_is_final() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM


def test_a_second_hang_up_is_not_final_for_a_closing_terminal_sends_two() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM


def test_a_service_that_something_below_cancels_is_a_failure() -> None:
    async def cancelled(stop: asyncio.Event, health: Health) -> None:
        health.heartbeat()
        raise asyncio.CancelledError

    with pytest.raises(ServiceFailed, match="weak was cancelled"):
        run([service("weak", cancelled)], stop_within=5)
