"""`coatcheck doctor`: looks at everything that a working installation needs, and says what to do about the rest."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import click

from coatcheck.cli.operate.providers import check_all, chosen
from coatcheck.cli.options import as_json, load, start_logs
from coatcheck.cli.output import either
from coatcheck.dev.checks import python_problem, system_problem
from shared.domain.errors import CoatcheckError, StoreUnavailable
from shared.domain.store_interface import Backlog
from shared.kafka.topics import check_topics
from shared.mongo.connection.client import connect
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore
from shared.mongo.setup import check_indexes
from shared.settings.table import Settings

MAX_CLOCK_OFFSET_SECONDS = 0.5
MAX_WAIT_SECONDS = 60.0
"""A job that has been due for longer has no worker, or too few."""
MAX_ORPHAN_SECONDS = 3600.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `text` says what was found, and what to do when that is not `ok`."""

    subject: str
    ok: bool
    text: str


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check Python, settings, MongoDB, Kafka, keys, providers and workers: one line each, with what to do.

    Changes nothing. Exits with 1 when there is a problem.
    """
    settings = load()
    start_logs(settings, "cli")
    healthy = True
    for finding in examine(settings):
        healthy = healthy and finding.ok
        said = f"{finding.subject:<12} {'ok     ' if finding.ok else 'PROBLEM'} {finding.text}"
        either(as_json, finding, said)
    if not healthy:
        click.get_current_context().exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything that is worth a look, in the order in which one thing needs another."""
    yield from _each("python", [python_problem()], f"{platform.python_version()} on {platform.platform()}")
    yield from _each("system", [system_problem()], "there are packages for it")
    yield from asyncio.run(_database(settings))
    yield from _each("kafka", check_topics(settings), f"all topics of {settings.kafka_bootstrap_servers}")
    yield from _providers(settings)


def _each(subject: str, problems: Sequence[str | None], good: str) -> list[Finding]:
    return [Finding(subject, False, problem) for problem in problems if problem] or [Finding(subject, True, good)]


async def _database(settings: Settings) -> list[Finding]:
    try:
        async with connect(settings, role="operator") as database:
            operator = OperatorStore(database)
            return [
                Finding("mongodb", True, f"replica set with a primary, database {settings.mongodb_database}"),
                _clock((database.now() - datetime.now(UTC)).total_seconds()),
                *await _asked("indexes", check_indexes(database), lambda found: _each("indexes", found, "all there")),
                _keys(settings, await KeyStore(database).usable()),
                *_workers(await MongoStore(database, settings).backlog()),
                *await _asked("jobs", operator.set_aside(), _documents),
                *await _asked("chunks", operator.orphaned_chunks(MAX_ORPHAN_SECONDS), _chunks),
            ]
    except CoatcheckError as error:
        return [Finding("mongodb", False, str(error))]


async def _asked(subject: str, question: Awaitable[Answer], judge: Callable[[Answer], list[Finding]]) -> list[Finding]:
    """What comes of a question, or why this user may not ask it: the others can be asked all the same."""
    try:
        return judge(await question)
    except StoreUnavailable as error:
        return [Finding(subject, False, str(error))]


def _documents(count: int) -> list[Finding]:
    problem = f"{count} could not be read and were set aside: `coatcheck dead list` names them"
    return _each("jobs", [problem] if count else [], "all that ended within a day could be read")


def _chunks(orphans: int) -> list[Finding]:
    problem = f"no job points to {orphans} of them, an hour old and more: start a reaper"
    return _each("chunks", [problem] if orphans else [], "no job is missing for one that is older than an hour")


def _clock(offset: float) -> Finding:
    if abs(offset) <= MAX_CLOCK_OFFSET_SECONDS:
        return Finding("clock", True, f"{offset * 1000:+.0f} ms from the database's")
    return Finding("clock", False, f"{offset:+.1f} s from the database's: synchronise both with NTP")


def _keys(settings: Settings, usable: bool) -> Finding:
    if usable:
        return Finding("keys", True, "there is a virtual key that works")
    if settings.allow_anonymous:
        return Finding("keys", True, "none, and none is needed: COATCHECK_ALLOW_ANONYMOUS lets everybody in")
    return Finding("keys", False, "no virtual key, so every request is refused: `coatcheck keys create NAME`")


def _workers(backlog: Sequence[Backlog]) -> list[Finding]:
    late = [each for each in backlog if each.status == "pending" and each.oldest_age > MAX_WAIT_SECONDS]
    problems = [
        f"{each.count} jobs of {each.modality} wait, one for {each.oldest_age:.0f} s: "
        f"start `coatcheck worker --modality {each.modality}`, or more of them"
        for each in late
    ]
    return _each("workers", problems, f"no job has waited for longer than {MAX_WAIT_SECONDS:.0f} s")


def _providers(settings: Settings) -> list[Finding]:
    try:
        outcomes = check_all(chosen(settings))
    except CoatcheckError as error:
        return [Finding("providers", False, str(error))]
    return [Finding("provider", each.ok, f"{each.name}: {each.message}") for each in outcomes]
