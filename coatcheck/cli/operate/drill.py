from __future__ import annotations

import importlib.util
import json
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coatcheck.cli.filled import filled

if TYPE_CHECKING:
    from coatcheck.drill.target import TargetReport
    from coatcheck.drill.verdict.report import Report

_say = partial(click.echo, err=True)


@click.command()
@click.option("--only", "scenario", default="mixed", show_default=True, metavar="ROW", help="The scenario; see --list.")
@click.option("--list", "list_only", is_flag=True, help="List the scenarios with the bounds that they must keep.")
@click.option(
    "--cluster", is_flag=True, help="3 databases, 3 brokers of Apache Kafka (Java, Maven), 2 edges, 3 workers."
)
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same schedule of faults.")
@click.option("--jobs", type=int, help="Jobs to submit.  [default: the scenario's]")
@click.option("--seconds", type=float, help="Time over which they are submitted.  [default: the scenario's]")
@click.option("--faults", type=int, help="How many faults.  [default: the scenario's]")
@click.option("--edges", default=1, show_default=True, help="Edge processes, without --cluster.")
@click.option("--workers", default=2, show_default=True, help="Worker processes, without --cluster.")
@click.option("--reapers", default=1, show_default=True, help="Reaper processes, without --cluster.")
@click.option(
    "--keep", "directory", default="", metavar="DIR", help="Keep all logs there.  [default: a temporary place]"
)
@click.option(
    "--target", callback=filled, metavar="URL", help="Only load and check this installation; you do the killing."
)
@click.option(
    "--key",
    callback=filled,
    envvar="COATCHECK_API_KEY",
    metavar="KEY",
    help="Virtual key for --target.  [default: COATCHECK_API_KEY]",
)
@click.option(
    "--model",
    callback=filled,
    metavar="MODEL",
    help="Embedding model for --target, called once a job.  [default: scripted]",
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
def drill(
    *, scenario: str, list_only: bool, as_json: bool, edges: int, workers: int, reapers: int,
    target: str | None, key: str | None, model: str | None, **how: Any,
) -> int:  # fmt: skip
    """Try to lose a job: break everything in turn under load and count what was lost.

    Starts databases, brokers, a scripted provider and every component on loopback, breaks them by a seeded schedule,
    then checks every accepted job. Exit code 0: nothing lost, stuck or changed, all bounds kept; 1: something was.

    With --target it starts and breaks nothing: it loads an installation, keeps asking while you break it, and judges by
    what its clients were told alone.
    """
    if target:
        return _drill_target(target, key, model, as_json=as_json, **how)
    if importlib.util.find_spec("psutil") is None:
        raise click.ClickException(
            "psutil is not installed: run it where `make run` was, or load another with --target"
        )

    from coatcheck.drill.run import DrillOptions  # noqa: PLC0415 - loads every component's settings
    from coatcheck.drill.run import drill as run  # noqa: PLC0415
    from coatcheck.drill.scenarios.catalogue import SCENARIOS  # noqa: PLC0415
    from coatcheck.drill.stack.cluster import Setup, Size  # noqa: PLC0415

    if list_only:
        for known in SCENARIOS.values():
            bounds = f"  [{', '.join(map(str, known.bounds))}]" if known.bounds else ""
            click.echo(f"{known.name:24} {known.says}{' (cluster)' if known.cluster else ''}{bounds}")
        return 0
    if scenario not in SCENARIOS:
        raise click.UsageError(f"unknown scenario '{scenario}': one of {', '.join(SCENARIOS)}")
    if how["directory"] and Path(how["directory"]).is_dir() and any(Path(how["directory"]).iterdir()):
        raise click.UsageError(f"{how['directory']} is not empty: a drill starts with fresh databases")
    options = DrillOptions(scenario, setup=Setup(Size(edges, workers, reapers)), **how)
    return _reported(run(options, _say), as_json)


def _drill_target(target: str, key: str | None, model: str | None, *, as_json: bool, **how: Any) -> int:
    """Load somebody's installation. Faults are theirs, so what would choose ours is refused."""
    from coatcheck.drill.target import TargetOptions, drill_target  # noqa: PLC0415 - loads the client and the verdict

    faults, cluster = how.pop("faults"), how.pop("cluster")
    if faults or cluster:
        raise click.UsageError("--target breaks nothing: leave --faults and --cluster out")
    given = {"key": key, "model": model, **how}
    options = TargetOptions(target, **{name: value for name, value in given.items() if value})
    return _reported(drill_target(options, _say), as_json)


def _reported(drill: Coroutine[Any, Any, Report | TargetReport], as_json: bool) -> int:
    """Run it and write its report; the exit code."""
    import uvloop  # noqa: PLC0415 - not on every system, and only this command needs it here

    report = uvloop.run(drill)
    click.echo(json.dumps(report.as_dict()) if as_json else "\n".join(report.lines()))
    return 0 if report.verdict.passed else 1
