"""Runs services together in one process: a signal stops all, the first failure stops all, a second signal is final."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop

from shared.errors import CoatcheckError
from shared.health import Health

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CANCEL_SECONDS = 5.0
"""What a cancelled service gets to clean up before it is left behind."""
_GC_THRESHOLDS = (10_000, 20, 20)
"""Far fewer collections: jobs make garbage that reference counts free, and a full collection stops the loop."""

Run = Callable[[asyncio.Event, Health], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Something that runs until `stop` is set, and then ends its work by itself."""

    name: str
    run: Run
    health: Health


class ServiceFailed(CoatcheckError):
    """A service ended on its own; the message names it and the reason."""


def run(services: Sequence[Service], *, stop_within: float) -> None:
    """Run the services until a signal, then give them `stop_within` seconds.

    Raises the first CoatcheckError of a service as it is, ServiceFailed for anything else that ended one.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_together(services, stop_within))


async def _run_together(services: Sequence[Service], stop_within: float) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    settling = asyncio.create_task(_settle(services))
    failures: list[CoatcheckError] = []
    running = {asyncio.create_task(_run(service, stop, failures), name=service.name): service for service in services}
    tasks = set(running)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    settling.cancel()
    for task, service in running.items():
        if not service.health.started.is_set():
            task.cancel()  # it has nothing to finish, and may be waiting for a database for a long time
    late = await _wait(tasks, stop_within)
    if failures:
        raise failures[0]
    if late:
        raise ServiceFailed(f"{_names(late)} did not stop within {stop_within:g} s and was cut off")


async def _run(service: Service, stop: asyncio.Event, failures: list[CoatcheckError]) -> None:
    """Run one service; note in order of time why services ended that should not have."""
    try:
        await service.run(stop, service.health)
    except CoatcheckError as error:
        failures.append(error)
    except Exception as error:
        log.exception("%s failed", service.name)
        failures.append(ServiceFailed(f"{service.name} failed: {type(error).__name__}: {error}"))
    else:
        if not stop.is_set():
            failures.append(ServiceFailed(f"{service.name} ended by itself"))


async def _wait(tasks: set[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """Wait for the services to stop; cancel those that do not, and return them."""
    _, late = await asyncio.wait(tasks, timeout=seconds)
    if late:
        log.error("%s did not stop within %g s: cutting off", _names(late), seconds)
        for task in late:
            task.cancel()
        _, deaf = await asyncio.wait(late, timeout=CANCEL_SECONDS)
        if deaf:
            # The runner would wait for them for ever.
            log.critical("%s cannot be cancelled: leaving", _names(deaf))
            os._exit(1)
    return late


def _stop_on_signals(stop: asyncio.Event) -> None:
    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("second signal (%s): leaving at once", number.name)
            os._exit(128 + number)
        log.info("%s: stopping", number.name)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)


async def _settle(services: Sequence[Service]) -> None:
    """After the start, take what has been loaded out of the garbage collector's sight: it stays for good."""
    for service in services:
        await service.health.started.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _names(tasks: set[asyncio.Task[None]]) -> str:
    return ", ".join(sorted(task.get_name() for task in tasks))
