from __future__ import annotations

import time
from collections.abc import Callable

import click

from coatcheck.cli.database import ask
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import either, json_line, progress, result
from shared.domain.errors import CoatcheckError
from shared.kafka import topics as kafka_topics
from shared.mongo import setup as mongo_setup
from shared.settings.table import Settings

_RETRY_SECONDS = 0.5
_WAIT = "How long to wait for the database and the broker."
Outcome = dict[str, list[str]]
"""What was `made`, and the `problems`."""


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Check without writing anything.  [default: create]")
@click.option("--print", "only_print", is_flag=True, help="Print what there must be, and the rights needed, and stop.")
@click.option("--wait", type=click.FloatRange(0), default=0.0, show_default=True, metavar="SECONDS", help=_WAIT)
@as_json
def init(only_check: bool, only_print: bool, wait: float, as_json: bool) -> None:
    """Create indexes in MongoDB and topics in Kafka. What is there already stays as it is.

    Exits with 1 when something could not be reached, created or, with --check, found.
    """
    settings = load()
    if only_print:
        _print(settings, as_json)
        return
    give_up = time.monotonic() + wait
    done = {
        "indexes": _step(lambda: _indexes(settings, only_check, wait)),
        "topics": _step(lambda: _topics(settings, only_check, give_up)),
    }
    if as_json:
        json_line(done)
    else:
        for what, outcome in done.items():
            _tell(what, outcome)
    if any(outcome["problems"] for outcome in done.values()):
        click.get_current_context().exit(1)


def _step(step: Callable[[], Outcome]) -> Outcome:
    """One half of the work; the other one is done even if this fails."""
    try:
        return step()
    except CoatcheckError as error:
        return {"made": [], "problems": [str(error)]}


def _indexes(settings: Settings, only_check: bool, wait: float) -> Outcome:
    if only_check:
        return {"made": [], "problems": ask(settings, mongo_setup.check_indexes, wait)}
    return {"made": ask(settings, mongo_setup.ensure_indexes, wait), "problems": []}


def _topics(settings: Settings, only_check: bool, give_up: float) -> Outcome:
    if only_check:
        return {"made": [], "problems": kafka_topics.check_topics(settings)}
    while True:
        try:
            return {"made": list(kafka_topics.ensure_topics(settings).created), "problems": []}
        except (kafka_topics.BrokersUnavailable, kafka_topics.TopicRefused):
            if time.monotonic() >= give_up:
                raise
        time.sleep(_RETRY_SECONDS)


def _tell(what: str, outcome: Outcome) -> None:
    for problem in outcome["problems"]:
        progress(f"coatcheck: {what}: {problem}")
    if not outcome["problems"]:
        result(f"{what:<8} ok" + (f", made {', '.join(outcome['made'])}" if outcome["made"] else ""))


def _print(settings: Settings, as_json: bool) -> None:
    database = settings.mongodb_database
    needed = {
        "indexes": [f"{database}.{each.collection}.{each.name}: {each.serves}" for each in mongo_setup.INDEXES],
        "topics": kafka_topics.planned_topics(settings),
        "mongodb_rights": mongo_setup.needed_rights(settings),
        "kafka_rights": kafka_topics.needed_rights(settings),
    }
    parts = ["\n  ".join([f"{title.replace('_', ' ')}:", *lines]) for title, lines in needed.items()]
    either(as_json, needed, "\n".join(parts))
