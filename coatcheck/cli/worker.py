"""`coatcheck worker`."""

from __future__ import annotations

import difflib
import sys
from functools import partial
from typing import Any

import click

from coatcheck.cli.logs import start_logs
from coatcheck.cli.options import load, setting
from shared.catalogue import MODALITIES
from shared.errors import SettingsError
from shared.metrics_files import one_process

_STOP_MARGIN_SECONDS = 20.0
"""Beyond the time for draining: a worker records what it holds, even when the database is slow."""
_SWITCH_SECONDS = 0.0002
"""How soon the event loop gets the interpreter back from the thread that reads bells; the default costs 5 ms."""


@click.command()
@click.option(
    "--modality",
    "modality",
    default="all",
    show_default=True,
    metavar="NAMES",
    help=f"What to serve, comma separated: {', '.join(MODALITIES)}; or all.",
)
@setting("slots")
@setting("admin_host")
@setting("admin_port")
def worker(modality: str, **flags: Any) -> None:
    """Run a worker: it claims jobs of its modalities, calls providers and records the outcomes.

    SIGTERM or Ctrl-C: takes no more, lets short jobs finish, gives the rest back and exits. A second one ends it at
    once; its jobs are taken over when their leases run out.
    """
    modalities = chosen(modality)
    settings = load(**flags)
    start_logs(settings, "worker")
    one_process()
    sys.setswitchinterval(_SWITCH_SECONDS)

    from coatcheck.cli.component import run_services  # noqa: PLC0415 - loads the metrics client
    from workers.fleet.service import run_worker  # noqa: PLC0415 - so does this, and much more

    run_services(
        settings,
        "worker",
        {"worker": partial(run_worker, settings, modalities)},
        stop_within=settings.drain_seconds + _STOP_MARGIN_SECONDS,
    )


def chosen(text: str) -> tuple[str, ...]:
    """The modalities that a comma separated list names, in the catalogue's order."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    for name in sorted(names - {*MODALITIES, "all"}):
        close = difflib.get_close_matches(name, MODALITIES, n=1)
        guess = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(MODALITIES)} and all"
        raise SettingsError(f"unknown modality '{name}': {guess}")
    if not names:
        raise SettingsError(f"no modality given: name some of {', '.join(MODALITIES)}, or all")
    return MODALITIES if "all" in names else tuple(name for name in MODALITIES if name in names)
