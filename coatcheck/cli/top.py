"""`coatcheck top`: what waits and what runs, again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec

from coatcheck.cli.database import ask
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, result, table
from shared.mongo.client import Database
from shared.mongo.store import MongoStore
from shared.store import Backlog

_CLEAR = "\x1b[H\x1b[2J"


@click.command()
@click.option("--interval", type=click.FloatRange(0.2), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once.  [default: until Ctrl-C]")
@as_json
def top(interval: float, once: bool, as_json: bool) -> None:
    """Watch how many jobs wait and run per modality, and how long the oldest has waited. Read from the database."""
    settings = load()

    async def watch(database: Database) -> None:
        store = MongoStore(database, settings)
        while True:
            _show(await store.backlog(), as_json)
            if once:
                return
            await asyncio.sleep(interval)

    ask(settings, watch)


def _show(backlog: Sequence[Backlog], as_json: bool) -> None:
    if as_json:
        json_line({"at": datetime.now(UTC), "backlog": [msgspec.to_builtins(each) for each in backlog]})
        return
    found = {(each.modality, each.status): each for each in backlog}
    rows = []
    for modality in dict.fromkeys(each.modality for each in backlog):
        pending, processing = found[modality, "pending"], found[modality, "processing"]
        rows.append((modality, _count(pending), _count(processing), f"{pending.oldest_age:.1f} s"))
    text = table(("MODALITY", "PENDING", "PROCESSING", "OLDEST WAITS"), rows)
    result((_CLEAR if sys.stdout.isatty() else "") + text)


def _count(backlog: Backlog) -> str:
    return f"{backlog.count}{'+' if backlog.capped else ''}"
