"""Runs one long-lived component: logs, metrics, the operators' port, and its services until a signal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from coatcheck import __version__, runtime
from coatcheck.runtime import Run, Service
from coatcheck.status.page import StatusPage
from shared import exporter, health
from shared.admin import AdminServer
from shared.health import Health
from shared.metrics import BUILD_INFO
from shared.settings import Settings


def open_admin_port(
    settings: Settings, component: str, *, stalled: Callable[[], list[str]], problems: Callable[[], list[str]]
) -> AdminServer:
    """Answer operators from here to the end of the process."""
    BUILD_INFO.labels(__version__, component).set(1)
    return AdminServer(
        settings.admin_host,
        settings.admin_port,
        component=component,
        metrics=exporter.render,
        stalled=stalled,
        problems=problems,
        page=StatusPage(settings),
    )


def run_services(settings: Settings, component: str, services: Mapping[str, Run], *, stop_within: float) -> None:
    """Run services of this process together until a signal."""
    named = [Service(name, run, Health(name)) for name, run in services.items()]
    states = [service.health for service in named]
    open_admin_port(
        settings, component, stalled=partial(health.stalled, states), problems=partial(health.problems, states)
    )
    runtime.run(named, stop_within=stop_within)
