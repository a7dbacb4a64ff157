"""`coatcheck top`: the facts of the status page in a terminal, again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime

import click

from coatcheck.cli.database import ask
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, result, table
from coatcheck.status.causes import Cause
from coatcheck.status.facts import MAX_FAILURES, Facts, gather
from coatcheck.status.model import Modality, Process
from shared.mongo.connection.client import Database

_CLEAR = "\x1b[H\x1b[2J"
_BARS = "▁▂▃▄▅▆▇█"
_RECENT_SLOTS = 6
_SPARK_SLOTS = 30


@click.command()
@click.option("--interval", type=click.FloatRange(0.2), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once.  [default: until Ctrl-C]")
@as_json
def top(interval: float, once: bool, as_json: bool) -> None:
    """Watch what waits and runs, how fast jobs end, who runs them and why some fail. Read from the database."""
    settings = load()

    async def watch(database: Database) -> None:
        while True:
            facts = await gather(database, settings)
            if as_json:
                json_line(facts)
            else:
                result((_CLEAR if sys.stdout.isatty() else "") + "\n".join(lines(facts)))
            if once:
                return
            await asyncio.sleep(interval)

    ask(settings, watch)


def lines(facts: Facts) -> Iterator[str]:
    yield from [f"{concern.says}  Runbook: {concern.runbook}" for concern in facts.concerns] or ["All is well."]
    yield ""
    numbers = ("PENDING", "PROCESSING", "OLDEST WAITS", "ENDED/S", "P50", "P95", "FAILED", "ENDED, 5 MINUTES")
    yield table(("MODALITY", *numbers), map(_modality, facts.modalities))
    if facts.processes:
        yield ""
        yield table(("PROCESS", "NAME", "VERSION", "HOLDS", "OF", "LONGEST", "SEEN"), map(_process, facts.processes))
    if facts.causes or facts.causes_problem:
        yield ""
        causes = ("FAILED", "PROVIDER", "MODALITY", "STATUS", "LAST", "NEWEST JOB", "CAUSE")
        yield facts.causes_problem or table(causes, [_cause(each, facts.at) for each in facts.causes])
        yield from _left_out(facts)
    if facts.paused:
        yield ""
        yield table(("PAUSED", "SECONDS MORE"), [(each.channel, f"{each.seconds:.0f}") for each in facts.paused])


def _left_out(facts: Facts) -> Iterator[str]:
    if facts.failures >= MAX_FAILURES:
        yield f"Of the last {facts.failure_seconds // 60} minutes the newest {facts.failures}; there may be more."
    others = facts.failures - sum(each.count for each in facts.causes)
    if others > 0:
        yield f"{others} failed for other causes, each rarer than these: `coatcheck dead list` has all."


def _modality(each: Modality) -> tuple[object, ...]:
    series = each.series
    recent = series.ended_per_second[-_RECENT_SLOTS:]
    pending = f"{each.pending}{'+' if each.pending_capped else ''}"
    processing = f"{each.processing}{'+' if each.processing_capped else ''}"
    waits, rate = f"{each.oldest_seconds:.1f} s", f"{sum(recent) / len(recent):.2f}"
    ended = spark(series.ended_per_second[-_SPARK_SLOTS:])
    return each.name, pending, processing, waits, rate, _seconds(series.p50), _seconds(series.p95), series.failed, ended


def _process(each: Process) -> tuple[object, ...]:
    holds = ", ".join(f"{jobs} {name}" for name, jobs in each.holds.items())
    longest = _seconds(each.longest_seconds or None)
    seen = "silent" if each.seconds_ago is None else f"{each.seconds_ago:.0f} s ago"
    return each.component or "gone", each.name, each.version, holds, each.slots or "", longest, seen


def _cause(each: Cause, now: datetime) -> tuple[object, ...]:
    ago = f"{(now - each.last_at).total_seconds():.0f} s ago"
    return each.count, each.provider, each.modality, each.status_code, ago, each.last_job, each.words


def spark(values: Sequence[float]) -> str:
    """One character for each value, as high as its share of the greatest; empty when nothing happened."""
    most = max(values, default=0.0)
    if not most:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value / most * len(_BARS)))] for value in values)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
