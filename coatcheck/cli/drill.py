"""`coatcheck drill`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click


@click.command()
@click.option(
    "--only", "scenario", default="mixed", show_default=True, metavar="NAME", help="The scenario; see --list."
)
@click.option("--list", "list_only", is_flag=True, help="List the scenarios.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same schedule of faults.")
@click.option("--jobs", default=1000, show_default=True, help="Jobs to submit.")
@click.option("--seconds", default=45.0, show_default=True, help="Time over which they are submitted.")
@click.option("--faults", default=12, show_default=True, help="How many faults.")
@click.option("--edges", default=1, show_default=True, help="Edge processes.")
@click.option("--workers", default=2, show_default=True, help="Worker processes.")
@click.option("--keepers", default=1, show_default=True, help="Keeper processes.")
@click.option(
    "--keep", "directory", default="", metavar="DIR", help="Keep all logs there.  [default: a temporary place]"
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
def drill(scenario: str, *, list_only: bool, as_json: bool, edges: int, workers: int, keepers: int, **how: Any) -> int:
    """Try to lose a job: kill everything in turn under load and count what was lost.

    Starts a database, a broker, a scripted provider and every component on loopback, breaks them by a seeded schedule,
    then checks every accepted job. Exit code 0: nothing lost, stuck or changed; 1: something was.
    """
    from coatcheck.drill.cluster import Size  # noqa: PLC0415 - loads every component's settings
    from coatcheck.drill.plan import SCENARIOS  # noqa: PLC0415
    from coatcheck.drill.run import DrillOptions  # noqa: PLC0415
    from coatcheck.drill.run import drill as run  # noqa: PLC0415

    if list_only:
        for known in SCENARIOS.values():
            click.echo(f"{known.name:16} {known.says}")
        return 0
    if scenario not in SCENARIOS:
        raise click.UsageError(f"unknown scenario '{scenario}': one of {', '.join(SCENARIOS)}")
    options = DrillOptions(scenario, size=Size(edges, workers, keepers), **how)
    report = asyncio.run(run(options, lambda line: click.echo(line, err=True)))
    click.echo(json.dumps(report.as_dict()) if as_json else "\n".join(report.lines()))
    sys.stdout.flush()
    return 0 if report.verdict.passed else 1
