"""`python -m bench`: measures, keeps one JSON line per run of a scenario, and prints the table with its verdicts."""

from __future__ import annotations

import asyncio
import datetime
import json
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import click

from bench import loadgen, report
from bench.loadgen import GoMissing, Loads, Upstream
from bench.measure import Row
from bench.plots import plots
from bench.scenarios import MANY
from bench.side_by_side import Plan, Rows, Thoroughness, compare
from bench.studies.drain import BACKLOGS, drain
from bench.studies.growth import SIZES, growth
from bench.studies.kill import kill_workers
from bench.studies.memory import memory
from bench.studies.noisy import noisy
from bench.studies.notifications import WORKERS, notifications
from bench.studies.scale import COUNTS, scale
from bench.studies.sizing import sizing
from bench.studies.tuning import tuning

RESULTS = Path(__file__).parent / "results"
PLOTS = Path(__file__).parents[1] / "docs" / "performance"
Measuring = Callable[[Path, Loads, Upstream, Rows], Awaitable[None]]


async def measured(measuring: Measuring) -> Rows:
    """Build the load generator, start the upstream, measure, and give what was written down. Raises GoMissing."""
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%S")
    rows = Rows(RESULTS / f"{stamp}.jsonl")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        directory = Path(temporary)
        binary = await asyncio.to_thread(loadgen.build, directory)
        async with loadgen.upstream(binary, directory) as upstream:
            await measuring(directory, Loads(binary, directory), upstream, rows)
    return rows


def run(measuring: Measuring) -> Rows:
    """`measured` for a command line."""
    try:
        return asyncio.run(measured(measuring))
    except GoMissing as missing:
        raise click.ClickException(str(missing)) from None


def study(measuring: Measuring) -> None:
    """Run one study and print its tables."""
    rows = run(measuring)
    click.echo("\n".join(report.table(rows.rows)))
    click.echo(f"\nEvery row: {rows.file}", err=True)


async def whole(plan: Plan, directory: Path, loads: Loads, upstream: Upstream, rows: Rows) -> None:
    """The comparison, then every study: an hour, and longer beside neighbours."""
    await compare(plan, directory, loads, upstream, rows)
    broker = plan.broker
    studies: dict[str, Callable[[Path], Awaitable[None]]] = {
        "kill": lambda home: kill_workers(broker, home, loads.binary, rows),
        "notifications": lambda home: notifications(WORKERS, broker, home, loads, upstream, rows),
        "noisy": lambda home: noisy(broker, home, loads, upstream, rows),
        "scale": lambda home: scale(COUNTS, broker, home, loads, upstream, rows),
        "growth": lambda home: growth(SIZES, broker, home, loads, upstream, rows),
        "memory": lambda home: memory(MANY, broker, home, loads, upstream, rows),
    }
    for jobs in BACKLOGS:
        studies[f"drain-{jobs}"] = partial(drain, jobs, 2, broker, loads=loads, upstream=upstream, rows=rows)
    for name, study in studies.items():
        home = directory / f"study-{name}"
        await asyncio.to_thread(home.mkdir)
        await study(home)


BROKER = click.option(
    "--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True, help="Kafka."
)


@click.group(invoke_without_command=True)
@click.option("--quick", "thoroughness", flag_value="quick", help="Two minutes.")
@click.option("--smoke", "thoroughness", flag_value="smoke", help="Tiny loads: does the harness work, is nothing lost?")
@BROKER
@click.option("--only", multiple=True, help="A stack: coatcheck, celery, taskiq, bullmq. Repeatable; default all.")
@click.pass_context
def main(context: click.Context, thoroughness: Thoroughness | None, broker: str, only: tuple[str, ...]) -> None:
    """Measure throughput, latency, CPU and memory, with the peers beside us in the same run."""
    if context.invoked_subcommand is None:
        plan = Plan(thoroughness or "whole", broker, only)
        rows = run(lambda *parts: whole(plan, *parts) if thoroughness is None else compare(plan, *parts))
        click.echo("\n".join(report.table(rows.rows)))
        click.echo(f"\nEvery row: {rows.file}", err=True)
        complaints = report.complaints(rows.rows)
        if complaints:
            raise click.ClickException("; ".join(complaints))


@main.command("kill")
@BROKER
def kill_command(broker: str) -> None:
    """kill -9 a worker of every stack with 100 jobs in flight: what is lost, made twice, late?"""
    study(lambda directory, loads, _, rows: kill_workers(broker, directory, loads.binary, rows))


@main.command("drain")
@BROKER
@click.option("--jobs", default=BACKLOGS[0], show_default=True)
@click.option("--workers", default=2, show_default=True, help="Of the product; the peers have one.")
def drain_command(broker: str, jobs: int, workers: int) -> None:
    """Let every stack work off a backlog."""
    study(lambda *parts: drain(jobs, workers, broker, *parts))


@main.command("growth")
@BROKER
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True, help="Stored jobs, comma separated.")
def growth_command(broker: str, sizes: str) -> None:
    """Measure the product with few and with many stored jobs."""
    study(lambda *parts: growth([int(size) for size in sizes.split(",")], broker, *parts))


@main.command("scale")
@BROKER
@click.option("--counts", default=",".join(map(str, COUNTS)), show_default=True, help="Numbers of processes.")
def scale_command(broker: str, counts: str) -> None:
    """Measure the product with one, two and four edge processes and workers."""
    study(lambda *parts: scale([int(count) for count in counts.split(",")], broker, *parts))


@main.command("memory")
@BROKER
@click.option("--jobs", default=MANY, show_default=True, help="1,000 to 1,600 a second.")
def memory_command(broker: str, jobs: int) -> None:
    """Watch the memory of every process over very many jobs."""
    study(lambda *parts: memory(jobs, broker, *parts))


@main.command("notifications")
@BROKER
@click.option(
    "--workers", default=",".join(map(str, WORKERS)), show_default=True, help="Numbers of workers, comma separated."
)
def notifications_command(broker: str, workers: str) -> None:
    """Measure the product with and without the broker."""
    study(lambda *parts: notifications([int(count) for count in workers.split(",")], broker, *parts))


@main.command("noisy")
@BROKER
def noisy_command(broker: str) -> None:
    """Measure what quiet keys wait beside a noisy one."""
    study(lambda *parts: noisy(broker, *parts))


@main.command("sizing")
@BROKER
def sizing_command(broker: str) -> None:
    """Measure what a job costs at several rates, with small and with large results."""
    study(lambda *parts: sizing(broker, *parts))


@main.command("tuning")
@click.option("--only", multiple=True, help="A setting. Repeatable; default all.")
def tuning_command(only: tuple[str, ...]) -> None:
    """Measure the product with two values of each setting of the tuning table."""
    study(lambda *parts: tuning(only, *parts))


@main.command("plots")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1)
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=PLOTS, show_default=True)
def plots_command(results: tuple[Path, ...], into: Path) -> None:
    """Draw what earlier runs measured."""
    into.mkdir(parents=True, exist_ok=True)
    for name, svg in plots(read(results)).items():
        (into / name).write_text(svg)


@main.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1)
def table(results: tuple[Path, ...]) -> None:
    """Print the table of earlier runs again."""
    click.echo("\n".join(report.table(read(results))))


def read(results: tuple[Path, ...]) -> list[Row]:
    """The rows of earlier runs."""
    return [json.loads(line) for file in results for line in file.read_text().splitlines()]


if __name__ == "__main__":
    main()
