"""`python -m coatcheck.drill.table --into docs/reliability.md row.json ...`: the table of measured rows in a page.

Each report of `coatcheck drill --json` takes the place of its row. What the processes of a soak held is printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from coatcheck.documentation_tables import BEGIN, END, update
from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.verdict.growth import QUANTITIES

HEAD = (
    "| Row | jobs | lost, stuck, changed, doubled | called again | failed | p50 | p95 | longest | refused | in and out "
    "again | its bounds, measured | seed |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)
_NAME = re.compile(r"^\| `([\w-]+)` \|")
_USUAL = ("failed", "errors")
"""Figures with columns of their own, or nearly."""


def row(report: Mapping[str, Any]) -> str:
    figures = report["figures"]
    wrong = ", ".join(str(report[name]) for name in ("lost", "stuck", "changed", "doubled"))
    columns = [
        f"`{report['scenario']}`",
        f"{report['jobs']:,}",
        wrong if report["violations"] == [] or wrong != "0, 0, 0, 0" else f"{wrong}, but see the bounds",
        str(report["repeated_calls"]),
        str(report["failed"]),
        *(_seconds(figures, f"result_{cut}") for cut in ("p50", "p95", "max")),
        f"{figures.get('refusals', 0):.0f}",
        _seconds(figures, "recovery_max"),
        "; ".join(_bound(each, figures) for each in report["bounds"] if each.split()[0] not in _USUAL),
        str(report["seed"]),
    ]
    return f"| {' | '.join(columns)} |"


def vitals_table(process_stats: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["Process", "memory, MB", "descriptors", "threads", "connections", "of a core"]
    lines = [
        [
            f"`{name}`",
            *(", ".join(f"{value:g}" for value in process[quantity]) for quantity in QUANTITIES),
            f"{100 * process['cpu_share']:.1f} %",
        ]
        for name, process in process_stats.items()
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def merged(old: str, reports: Iterable[Mapping[str, Any]]) -> str:
    """The old table with the rows of these reports, in the order in which scenarios are listed."""
    rows = {found[1]: line for line in old.splitlines() if (found := _NAME.match(line))}
    rows |= {report["scenario"]: row(report) for report in reports}
    return "\n".join([HEAD, *(rows[name] for name in SCENARIOS if name in rows)])


def _seconds(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.1f}" if name in figures else ""


def _bound(bound: str, figures: Mapping[str, float]) -> str:
    name, sign, limit = bound.split()
    value = figures.get(name)
    held = value is not None and (value <= float(limit) if sign == "<=" else value >= float(limit))
    said = "not measured" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{name} {said}" if held else f"**{name} {said}, not {sign} {limit}**"


@click.command()
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The page.")
@click.argument("reports", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(into: Path, reports: tuple[Path, ...]) -> None:
    """Write what drills with --json reported into the table of a page."""
    old = into.read_text().partition(BEGIN)[2].partition(END)[0]
    read = [json.loads(path.read_text()) for path in reports]
    update(into, merged(old, read))
    for report in read:
        if report["scenario"] == "soak":
            click.echo(vitals_table(report["vitals"]))


if __name__ == "__main__":
    main()
