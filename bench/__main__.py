"""`python -m bench`: measures, keeps one JSON line per run of a scenario, and prints the table with its verdicts."""

from __future__ import annotations

import asyncio
import datetime
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from bench import loadgen, report
from bench.loadgen import GoMissing, Loads, Upstream
from bench.side_by_side import Plan, Rows, compare

RESULTS = Path(__file__).parent / "results"
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


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Two minutes.")
@click.option("--broker", type=click.Choice(["embedded", "apache"]), default="embedded", show_default=True)
@click.option("--only", multiple=True, help="A stack: coatcheck, celery, taskiq, bullmq. Repeatable; default all.")
@click.pass_context
def main(context: click.Context, quick: bool, broker: str, only: tuple[str, ...]) -> None:
    """Measure throughput, latency, CPU and memory, with the peers beside us in the same run."""
    if context.invoked_subcommand is None:
        plan = Plan(quick, broker, only)
        rows = run(lambda *parts: compare(plan, *parts))
        click.echo("\n".join(report.table(rows.rows)))
        click.echo(f"\nEvery row: {rows.file}", err=True)


@main.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1)
def table(results: tuple[Path, ...]) -> None:
    """Print the table of earlier runs again."""
    rows = [json.loads(line) for file in results for line in file.read_text().splitlines()]
    click.echo("\n".join(report.table(rows)))


if __name__ == "__main__":
    main()
