"""The tables of kills, drains, growth, scale, memory, notifications and noisy keys, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.targets import Row, stack_cpu


def studies(rows: Sequence[Row]) -> list[str]:
    """A table for each study that was run."""
    tables = (
        _kills(rows),
        _drains(rows),
        _verbs(rows),
        _growth(rows),
        _scale(rows),
        _memory(rows),
        _notifications(rows),
        _noisy(rows),
    )
    return [line for table in tables if len(table) > 2 for line in ["", *table]]


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _kills(rows: Sequence[Row]) -> list[str]:
    lines = _head("kill -9 of the worker", "Stack", "ended of 100", "called twice", "last result after")
    for row in rows:
        if "called_twice" in row:
            after = f"{row['last_result_s']} s" if row["ended"] else "not within the time looked at"
            scenario = row["scenario"].partition(", ")[2]
            lines.append(_line(scenario, row["stack"], row["ended"], row["called_twice"], after))
    return lines


def _drains(rows: Sequence[Row]) -> list[str]:
    tenths = ("first tenth", "last tenth", "last / first", "CPU ms a job in these")
    lines = _head("Drain", "Stack", "jobs/s", *tenths, "calls a job", "others")
    for row in rows:
        if "last_tenth_per_s" in row:
            first, last = row["first_tenth_per_s"], row["last_tenth_per_s"]
            rates = (f"{first:,.0f}", f"{last:,.0f}", f"{last / first:.2f}") if first and last else ("", "", "")
            costs = row["first_tenth_cpu_ms"], row["last_tenth_cpu_ms"]
            cost = f"{costs[0]:.2f} / {costs[1]:.2f}" if all(costs) else ""
            more = (cost, f"{row['calls_per_job']:.2f}", f"{row['others_percent']} %")
            lines.append(_line(f"{row['jobs']:,}", row["stack"], f"{row['per_s']:,.0f}", *rates, *more))
    return lines


def _verbs(rows: Sequence[Row]) -> list[str]:
    found = [row for row in rows if "median_ms" in row]
    if not found:
        return []
    names = list(found[0]["median_ms"])
    lines = _head("Jobs stored", *(f"{name}, ms" for name in names))
    return [*lines, *(_line(f"{row['stored']:,}", *(row["median_ms"][name] for name in names)) for row in found)]


def _growth(rows: Sequence[Row]) -> list[str]:
    lines = _head("Jobs stored and load", "a second", "p50 / p99 ms", "CPU ms each", "others")
    for row in rows:
        if " stored: " in row["scenario"] and "mode" in row and not row["scenario"].endswith("backlog gone"):
            lines.append(_line(row["scenario"], *_load(row)))
    return lines


def _scale(rows: Sequence[Row]) -> list[str]:
    lines = _head("Load", "Edge processes and workers", "a second", "p50 / p99 ms", "CPU ms each", "others")
    found = [row for row in rows if row["scenario"].startswith("scale: ")]
    for name in dict.fromkeys(row["scenario"] for row in found):
        lines += [
            _line(name.removeprefix("scale: "), row["stack"], *_load(row)) for row in found if row["scenario"] == name
        ]
    return lines


def _load(row: Row) -> tuple[str, ...]:
    """Rate, latency, CPU and neighbours of one load."""
    figure, series = {
        "storm": ("polls_per_s", "poll_ms_seen"),
        "result": ("jobs_per_s", "result_ms"),
        "submit": ("accepted_per_s", "accept_ms"),
    }[row["mode"]]
    latency = f"{row[series]['p50']:,.0f} / {row[series]['p99']:,.0f}"
    each = f"{stack_cpu(row):.2f}: mongod {row['cpu_ms']['mongod']:.2f}"
    return f"{row[figure]:,.0f}", latency, each, f"{row['others_percent']} %"


def _memory(rows: Sequence[Row]) -> list[str]:
    lines = _head("MB of the largest process", "Jobs", "of them 1 %", "10 %", "50 %", "all")
    for row in rows:
        if "largest_mb_at" in row:
            seen = row["largest_mb_at"].values()
            parts = row["series"][0]
            lines += [_line(part, f"{row['jobs']:,}", *(at[part] for at in seen)) for part in parts]
    return lines


def _notifications(rows: Sequence[Row]) -> list[str]:
    lines = _head(
        "Variant",
        "due to claimed, mean",
        "result p50 / p99, upstream 100 ms",
        "jobs/s, 500 in flight",
        "idle: % of a core (mongod, workers, broker)",
        "idle: database reads / writes a second",
    )
    for row in rows:
        if row["scenario"] == "notifications":
            idle, asked = row["idle_percent"], row["idle_operations_per_s"]
            workers = sum(value for part, value in idle.items() if part.startswith("worker"))
            parts = f"{sum(idle.values()):.1f} ({idle['mongod']}, {workers:.1f}, {idle.get('broker', 0)})"
            reads, writes = asked["query"] + asked["getmore"], asked["insert"] + asked["update"] + asked["delete"]
            result = f"{row['result_ms']['p50']:,.0f} / {row['result_ms']['p99']:,.0f} ms"
            figures = (f"{row['claim_delay_ms']:,.0f} ms", result, f"{row['jobs_per_s']:,.0f}", parts)
            lines.append(_line(row["stack"], *figures, f"{reads:.0f} / {writes:.0f}"))
    return lines


def _noisy(rows: Sequence[Row]) -> list[str]:
    lines = _head("Keys", "jobs/s", "202 p50 / p99 ms", "result p50 / p99 ms")
    for row in rows:
        if row["scenario"].startswith(("20 quiet keys", "the noisy key")):
            series = (row["accept_ms"], row["result_ms"])
            latencies = [f"{each['p50']:,.0f} / {each['p99']:,.0f}" for each in series]
            lines.append(_line(row["scenario"], f"{row['jobs_per_s']:,.0f}", *latencies))
    return lines
