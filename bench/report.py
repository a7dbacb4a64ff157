"""The table of a run: Markdown, so that it can be read in a terminal and pasted into a page."""

from __future__ import annotations

from collections.abc import Sequence

from bench import scenarios
from bench.studies.report import studies
from bench.studies.targets import study_verdicts
from bench.targets import BATCHING, PRODUCT, Row, Verdict, stack_cpu, verdicts


def table(rows: Sequence[Row]) -> list[str]:
    """All tables of a run, as lines of Markdown."""
    rows = [row for row in rows if "disturbed" not in row]  # those were measured again and came out calmer
    judged, studied = study_verdicts(rows), studies(rows)
    if not any(row["scenario"] == "idle" for row in rows):
        return [*studied, "", *_verdicts(judged)] if judged else studied
    compared = [*_references(rows), "", *_loads(rows), "", *_idle(rows), "", *_verdicts([*verdicts(rows), *judged])]
    return [*compared, *studied]


def _references(rows: Sequence[Row]) -> list[str]:
    lines = ["| Limit of this machine, same run | a second | CPU ms each |", "|---|---|---|"]
    for row in rows:
        if row["stack"] == "reference":
            build = f" ({row['build']})" if "build" in row else ""
            lines.append(f"| {row['scenario']}{build} | {row['per_s']:,.0f} | {row['cpu_ms']:.3f} |")
        elif row["stack"] == "constant":
            what = f"constant answer, {row['callers']} callers"
            lines.append(f"| {what} | {row['accepted_per_s']:,.0f} | {stack_cpu(row):.3f} |")
    return lines


def _loads(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| Scenario | Stack | accepted/s | jobs/s | polls/s | 202 p50 / p99 / p99.9 ms | result p50 / p99 / p99.9 ms "
        "| calls a job | twice | failed | CPU ms a job | MB | others |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    loads = [row for row in rows if "upstream" in row and row["stack"] != "constant" and not _of_a_study(row)]
    for name in dict.fromkeys(row["scenario"] for row in loads):
        lines += [_load(row) for row in loads if row["scenario"] == name]
    return lines


def _of_a_study(row: Row) -> bool:
    return any(part in row["scenario"] for part in ("stored: ", "quiet keys", "scale: "))


def _load(row: Row) -> str:
    storm = row["scenario"] == scenarios.STORM
    answer = row["poll_ms_seen"] if storm else row["accept_ms"]
    cells = [
        row["scenario"],
        row["stack"],
        "" if storm else f"{row['accepted_per_s']:,.0f}",
        f"{row['jobs_per_s']:,.0f}" if row["ended"] and not storm else "",
        f"{row['polls_per_s']:,.0f}" if row["polls"] else "",
        _latencies(answer),
        _latencies(row["result_ms"]) if row["ended"] and not storm else "",
        f"{row['calls_per_job']:.2f}" if row["calls_per_job"] else "",
        f"{row['upstream']['repeated']}",
        f"{row['failed'] + row['unended']}",
        f"{stack_cpu(row):.2f}: "
        + ", ".join(f"{part} {ms:.2f}" for part, ms in row["cpu_ms"].items() if part != "upstream"),
        f"{sum(row['rss_mb'].values())}",
        f"{row.get('others_percent', 0)} %",
    ]
    return f"| {' | '.join(cells)} |"


def _latencies(series: Row) -> str:
    return f"{series['p50']:,.1f} / {series['p99']:,.1f} / {series['p999']:,.1f}"


def _idle(rows: Sequence[Row]) -> list[str]:
    lines = ["| Stack | idle, % of a core | idle MB | ready after s | first result ms |", "|---|---|---|---|---|"]
    starts = {row["stack"]: row for row in rows if row["scenario"] == "cold start"}
    for row in rows:
        if row["scenario"] == "idle":
            percent = ", ".join(f"{part} {value:.1f}" for part, value in row["cpu_percent"].items())
            start = starts[row["stack"]]
            lines.append(
                f"| {row['stack']} | {sum(row['cpu_percent'].values()):.1f}: {percent} | {sum(row['rss_mb'].values())} "
                f"| {start['ready_s']:.1f} | {start['first_result_ms']:.0f} |"
            )
    return lines


def _verdicts(judged: Sequence[Verdict]) -> list[str]:
    lines = ["| Target | wanted | measured | by CPU a job | |", "|---|---|---|---|---|"]
    for verdict in judged:
        target = verdict.target
        wanted = f"{'at most' if target.most else 'at least'} {target.bound:g} {target.unit}"
        figure = "" if verdict.figure is None else f"{verdict.figure:.2f} {target.unit}"
        cost = "" if verdict.by_cost is None else f"{verdict.by_cost:.2f} x"
        lines.append(f"| {target.name} | {wanted} | {figure} | {cost} | {verdict.outcome} |")
    return lines


def complaints(rows: Sequence[Row]) -> list[str]:
    """What must never be, however slow the machine: a job of ours that failed, was lost or was called for twice."""
    found = []
    for row in rows:
        compared = row["stack"] in (PRODUCT, BATCHING) and "upstream" in row
        if not compared or row["scenario"] == scenarios.FAILING:
            continue
        if row["failed"] or row["unended"]:
            found.append(f"{row['scenario']}: {row['failed'] + row['unended']} jobs failed or did not end")
        if row["upstream"]["repeated"]:
            found.append(f"{row['scenario']}: {row['upstream']['repeated']} jobs were called for twice")
    return found
