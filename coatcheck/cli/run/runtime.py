"""Runs a component: the operators' port, and services that a signal or the first failure stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import uvloop

from coatcheck import __version__
from coatcheck.status.page import StatusPage
from shared.domain.errors import CoatcheckError
from shared.settings.table import Settings
from shared.telemetry import health
from shared.telemetry.admin_server import AdminServer
from shared.telemetry.health import Health
from shared.telemetry.metrics import BUILD_INFO, render

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""All of them mean: finish and stop. A supervisor starts a fresh process where one is wanted."""
CANCEL_SECONDS = 5.0
"""What a cancelled service gets to clean up before it is left behind."""
_GC_THRESHOLDS = (10_000, 20, 20)
"""Far fewer collections: jobs make garbage that reference counts free, and a full collection stops the loop."""

Run = Callable[[asyncio.Event, Health], Awaitable[None]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Runs until `stop` is set, and then ends its work by itself."""

    name: str
    run: Run
    health: Health


class ServiceFailed(CoatcheckError):
    """A service ended on its own; the message names it and the reason."""


def open_admin_port(
    settings: Settings, component: str, *, stalled: Callable[[], list[str]], problems: Callable[[], list[str]]
) -> None:
    """Answer operators from here to the end of the process."""
    BUILD_INFO.labels(__version__, component).set(1)
    AdminServer(
        settings.admin_host, settings.admin_port, component=component, metrics=render,
        stalled=stalled, problems=problems, page=StatusPage(settings),
    )  # fmt: skip


def run_component(settings: Settings, component: str, body: Run, *, stop_within: float) -> None:
    state = Health(component)
    stalled, problems = partial(health.stalled, [state]), partial(health.problems, [state])
    open_admin_port(settings, component, stalled=stalled, problems=problems)
    run([Service(component, body, state)], stop_within=stop_within)


def run(services: Sequence[Service], *, stop_within: float) -> None:
    """Run until a signal, then `stop_within` seconds more. Raises what ended a service: CoatcheckError as it is, else
    ServiceFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_together(services, stop_within))


async def _run_together(services: Sequence[Service], stop_within: float) -> None:
    if task := asyncio.current_task():
        task.set_name("main")
    stop = asyncio.Event()
    _stop_on_signals(stop)
    settling = asyncio.create_task(_settle(services), name="settle")
    failures: list[CoatcheckError] = []
    running = {asyncio.create_task(_run(service, stop, failures), name=service.name): service for service in services}
    await stop.wait()
    settling.cancel()
    for task, service in running.items():
        if not service.health.started.is_set():
            task.cancel()  # it has nothing to finish, and may be waiting for a database for a long time
    late = await _wait(set(running), stop_within)
    if failures:
        raise failures[0]
    if late:
        raise ServiceFailed(f"{_names(late)} did not stop within {stop_within:g} s and was cut off")


async def _run(service: Service, stop: asyncio.Event, failures: list[CoatcheckError]) -> None:
    """Run one service, and stop all with it; note why it ended if it should not have."""
    try:
        await service.run(stop, service.health)
    except CoatcheckError as error:
        failures.append(error)
    except asyncio.CancelledError:
        if not stop.is_set():
            failures.append(ServiceFailed(f"{service.name} was cancelled"))
        raise
    except Exception as error:
        log.exception("%s failed", service.name)
        failures.append(ServiceFailed(f"{service.name} failed: {type(error).__name__}: {error}"))
    else:
        if not stop.is_set():
            failures.append(ServiceFailed(f"{service.name} ended by itself"))
    finally:
        stop.set()


async def _wait(tasks: set[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """Wait for the services to stop; cancel those that do not, and return them."""
    _, late = await asyncio.wait(tasks, timeout=seconds)
    if late:
        log.error("%s did not stop within %g s: cutting off", _names(late), seconds)
        for task in late:
            task.cancel()
        _, deaf = await asyncio.wait(late, timeout=CANCEL_SECONDS)
        if deaf:
            # asyncio.Runner waits without a limit for tasks that ignore their cancellation.
            log.critical("%s cannot be cancelled: leaving", _names(deaf))
            os._exit(1)
    return late


def _stop_on_signals(stop: asyncio.Event) -> None:
    def on_signal(number: signal.Signals) -> None:
        if not stop.is_set():
            log.info("%s: stopping", number.name)
            stop.set()
        elif number is not signal.SIGHUP:  # a closed terminal sends it twice: from the shell and from the kernel
            log.warning("second signal (%s): leaving at once", number.name)
            os._exit(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is under nohup
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


async def _settle(services: Sequence[Service]) -> None:
    """After the start, take what has been loaded out of the garbage collector's sight: it stays for good."""
    for service in services:
        await service.health.started.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _names(tasks: set[asyncio.Task[None]]) -> str:
    return ", ".join(sorted(task.get_name() for task in tasks))
