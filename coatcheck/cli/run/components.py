"""`coatcheck edge`, `worker` and `reaper`. Each reads its settings before it loads the metrics client and much more."""

from __future__ import annotations

import difflib
import sys
from functools import partial
from typing import Any

import click

from coatcheck.cli.options import load, pass_on, setting, start_logs
from shared.domain.catalogue import MODALITIES
from shared.domain.errors import SettingsError
from shared.telemetry.logging import configure
from shared.telemetry.metrics_files import many_processes, one_process

STOP_MARGIN_SECONDS = 20.0
"""Beyond the time for draining: a worker records what it holds, even when the database is slow."""
_REAPER_STOP_SECONDS = 15.0
_SWITCH_SECONDS = 0.0002
"""How soon the event loop gets the interpreter back from the thread of the Kafka consumer; the default costs 5 ms."""
_TO_SERVE = f"What to serve, comma separated: {', '.join(MODALITIES)}; or all."


@click.command()
@setting("host")
@setting("port")
@setting("admin_host")
@setting("admin_port")
@setting("edge_processes", "--processes")
def edge(**flags: Any) -> None:
    """Run an edge: it takes requests in over HTTP, stores them as jobs and hands results out.

    It goes on accepting while Kafka is down. SIGTERM or Ctrl-C: finishes the requests under way and exits. SIGHUP: new
    server processes, which read the settings file anew, take over without a gap.
    """
    settings = load(uses=("port", "providers"), beside=False, **flags)
    start_logs(settings, "edge")
    pass_on(**flags)
    many_processes(settings.edge_processes)

    from coatcheck.cli.run.edge_master import run_edge  # noqa: PLC0415 - see above

    run_edge(settings)


@click.command()
@click.option("--modality", default="all", show_default=True, metavar="NAMES", help=_TO_SERVE)
@setting("slots")
@setting("admin_host")
@setting("admin_port")
def worker(modality: str, **flags: Any) -> None:
    """Run a worker: it claims jobs of its modalities, calls providers and records the outcomes.

    SIGTERM, SIGHUP or Ctrl-C: takes no more, lets short jobs finish, gives the rest back and exits. A second one ends
    it at once; its jobs are taken over when their leases run out.
    """
    modalities = chosen(modality)
    settings = load(uses=("providers",), beside=False, **flags)
    start_logs(settings, "worker")
    one_process()
    sys.setswitchinterval(_SWITCH_SECONDS)

    from coatcheck.cli.run.runtime import run_component  # noqa: PLC0415
    from workers.execution.service import run_worker  # noqa: PLC0415

    stop_within = settings.drain_seconds + STOP_MARGIN_SECONDS
    run_component(settings, "worker", partial(run_worker, settings, modalities), stop_within=stop_within)


def chosen(text: str) -> tuple[str, ...]:
    names = {name.strip() for name in text.split(",") if name.strip()}
    for name in sorted(names - {*MODALITIES, "all"}):
        close = difflib.get_close_matches(name, MODALITIES, n=1)
        guess = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(MODALITIES)} and all"
        raise SettingsError(f"unknown modality '{name}': {guess}")
    if not names:
        raise SettingsError(f"no modality given: name some of {', '.join(MODALITIES)}, or all")
    return MODALITIES if "all" in names else tuple(name for name in MODALITIES if name in names)


@click.command()
@setting("reaper_interval_seconds", "--interval")
@setting("admin_host")
@setting("admin_port")
def reaper(**flags: Any) -> None:
    """Run a reaper: it ends overdue jobs and counts what waits. Any number may run, they need no leader."""
    settings = load(beside=False, **flags)
    configure(settings, component="reaper")
    one_process()

    from coatcheck.cli.run.runtime import run_component  # noqa: PLC0415
    from workers.reaper.service import run_reaper  # noqa: PLC0415

    run_component(settings, "reaper", partial(run_reaper, settings), stop_within=_REAPER_STOP_SECONDS)
