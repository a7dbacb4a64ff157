"""`coatcheck keeper`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from coatcheck.cli.options import load, setting
from shared.logging import configure
from shared.metrics_files import one_process

_STOP_SECONDS = 15.0


@click.command()
@setting("keeper_interval_seconds", "--interval")
@setting("admin_host")
@setting("admin_port")
def keeper(**flags: Any) -> None:
    """Run a keeper: it ends overdue jobs and counts what waits. Any number may run, they need no leader."""
    settings = load(**flags)
    configure(settings, component="keeper")
    one_process()

    from coatcheck.cli.component import run_services  # noqa: PLC0415 - loads the metrics client
    from workers.keeper.service import run_keeper  # noqa: PLC0415 - so does this, and much more

    run_services(settings, "keeper", {"keeper": partial(run_keeper, settings)}, stop_within=_STOP_SECONDS)
