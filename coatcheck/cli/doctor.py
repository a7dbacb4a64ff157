"""`coatcheck doctor`: looks at everything that a working installation needs, and says what to do about the rest."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click

from coatcheck.cli.logs import start_logs
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, result
from coatcheck.cli.providers import check_all, chosen
from coatcheck.dev.checks import python_problem, system_problem
from shared.errors import CoatcheckError, StoreUnavailable
from shared.kafka.topics import check_topics
from shared.mongo.client import Database, connect
from shared.mongo.keys import KeyStore
from shared.mongo.setup import check_indexes
from shared.mongo.store import MongoStore
from shared.settings import Settings
from shared.store import Backlog

MAX_CLOCK_OFFSET_SECONDS = 0.5
MAX_WAIT_SECONDS = 60.0
"""A job that has been due for longer has no worker, or too few."""


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
        if as_json:
            json_line(asdict(finding))
        else:
            result(f"{finding.subject:<12} {'ok     ' if finding.ok else 'PROBLEM'} {finding.text}")
    if not healthy:
        click.get_current_context().exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything that is worth a look, in the order in which one thing needs another."""
    yield _finding("python", python_problem(), f"{platform.python_version()} on {platform.platform()}")
    yield _finding("system", system_problem(), "there are packages for it")
    yield from asyncio.run(_database(settings))
    yield from _each("kafka", check_topics(settings), f"all topics of {settings.kafka_bootstrap_servers}")
    yield from _providers(settings)


def _finding(subject: str, problem: str | None, good: str) -> Finding:
    return Finding(subject, problem is None, problem or good)


def _each(subject: str, problems: Sequence[str], good: str) -> list[Finding]:
    return [Finding(subject, False, problem) for problem in problems] or [Finding(subject, True, good)]


async def _database(settings: Settings) -> list[Finding]:
    try:
        async with connect(settings, role="operator") as database:
            return [
                Finding("mongodb", True, f"replica set with a primary, database {settings.mongodb_database}"),
                _clock((database.now() - datetime.now(UTC)).total_seconds()),
                *_each("indexes", await _index_problems(database), "all there"),
                _keys(settings, await KeyStore(database).usable()),
                *_workers(await MongoStore(database, settings).backlog()),
            ]
    except CoatcheckError as error:
        return [Finding("mongodb", False, str(error))]


async def _index_problems(database: Database) -> list[str]:
    """What is wrong with the indexes, or why this user cannot see them: the rest can be looked at all the same."""
    try:
        return await check_indexes(database)
    except StoreUnavailable as error:
        return [str(error)]


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
