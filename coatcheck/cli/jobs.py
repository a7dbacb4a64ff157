"""`coatcheck job` and `coatcheck dead`: what happened to a job, and failed jobs done once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from coatcheck.cli.database import ask
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, moment, progress, result, table
from coatcheck.status.timeline import timeline
from shared.errors import CoatcheckError
from shared.ids import parse_job_id
from shared.mongo.client import Database
from shared.mongo.operator import NotRequeued, OperatorStore

if TYPE_CHECKING:
    from shared.kafka.ringer import Ringer


_RING_SECONDS = 4.0
"""For learning the topics and sending; without a broker nobody waits longer for his copies."""


class JobId(click.ParamType[UUID]):
    """A job id as the API gives it out."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        """Read it, or say what one looks like."""
        parsed = value if isinstance(value, UUID) else parse_job_id(value)
        if parsed is None:
            self.fail(f"'{value[:100]}' is no job id: one looks like 019ac0de-0000-7000-8000-000000000000", param, ctx)
        return parsed


@click.command()
@click.argument("job_id", type=JobId(), metavar="ID")
@as_json
def job(job_id: UUID, as_json: bool) -> None:
    """Show the whole history of a job from the database: accepted, claimed, attempts, ended. Never its bodies."""

    async def look(database: Database) -> dict[str, Any] | None:
        history = await OperatorStore(database).history(job_id)
        return None if history is None else history | {"now": database.now()}

    history = ask(load(), look)
    if history is None:
        raise CoatcheckError(f"job {job_id} is unknown or expired")
    if as_json:
        json_line(history)
    else:
        result("\n".join(f"{label:<10} {text}" for label, text in _story(history)))


@click.group()
def dead() -> None:
    """List failed jobs until they expire, or submit them once more."""


@dead.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Jobs at most.")
@as_json
def list_dead(limit: int, as_json: bool) -> None:
    """List failed jobs, those that are kept longest first. With --json, one job per line."""
    failed = ask(load(), lambda database: OperatorStore(database).failed_jobs(limit))
    if as_json:
        for each in failed:
            json_line(each)
        return
    header = ("ID", "TYPE", "TARGET", "STATUS", "FAILED", "KEPT UNTIL", "ERROR")
    columns = ("id", "type", "target", "status_code", "completed_at", "expires_at", "error")
    result(table(header, [[each[column] for column in columns] for each in failed]))
    if len(failed) == limit:
        progress(f"the first {limit}: --limit shows more")


@dead.command()
@click.argument("job_ids", type=JobId(), nargs=-1, required=True, metavar="ID...")
@as_json
def requeue(job_ids: tuple[UUID, ...], as_json: bool) -> None:
    """Submit copies of failed jobs under new ids, written to stdout. Each call makes another copy.

    Workers are told at once; if no Kafka broker answers in time, they find the copies a second or two later.
    """
    from shared.kafka.ringer import Ringer  # noqa: PLC0415 - loads the Kafka client, which no other command here needs

    settings = load()
    ringer = Ringer(settings)

    async def copy(database: Database) -> int:
        ringer.start()
        try:
            return await _copy_all(OperatorStore(database), ringer, job_ids, as_json)
        finally:
            await ringer.close(_RING_SECONDS)

    if ask(settings, copy):
        click.get_current_context().exit(1)


async def _copy_all(store: OperatorStore, ringer: Ringer, job_ids: Sequence[UUID], as_json: bool) -> int:
    """Copy each job, tell the workers and write the new id; how many could not be copied."""
    refused = 0
    for job_id in job_ids:
        try:
            new = await store.requeue(job_id)
        except NotRequeued as error:
            refused += 1
            progress(f"coatcheck: {error}")
            continue
        ringer.ring(new.modality, [new.id])
        if as_json:
            json_line({"id": new.id, "copy_of": job_id})
        else:
            result(str(new.id))
    return refused


def _story(history: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The history as lines; times after the first are seconds from it."""
    accepted = history["created_at"]

    def after(name: str, start: datetime = accepted, source: dict[str, Any] = history) -> str:
        return f"{(source[name] - start).total_seconds():+.3f} s"

    yield "job", f"{history['id']}  {history['status']}  {history['type']}  {' then '.join(history['targets'])}"
    if "key_id" in history:
        yield "key", history["key_id"]
    yield "request", f"{history.get('request_id', '')}  {_size(history, 'request_bytes')}"
    yield "accepted", f"{moment(accepted)}  deadline {after('deadline_at')}"
    told = timeline(history, history["now"])
    for step in told.steps:
        if step.kind in ("waited", "claimed", "call", "recorded"):
            took = f"  {step.seconds * 1000:.0f} ms" if step.kind != "claimed" else ""
            yield step.kind, f"{step.at:+.3f} s{took}  {step.text}"
    yield "went to", "  ".join(f"{name} {seconds:.3f} s" for name, seconds in told.spent.items())
    yield "spent", "  ".join(f"{name} {history[name]}" for name in ("failures", "crashes", "releases"))
    if "wake_at" in history:
        yield "next", f"{after('wake_at')}  {'lease ends' if history['status'] == 'processing' else 'due'}"
    if "completed_at" in history:
        yield "ended", f"{after('completed_at')}  {history.get('status_code', '')}  {_size(history, 'result_bytes')}"
    if "error" in history:
        yield "error", history["error"]
    if "expires_at" in history:
        yield "kept until", moment(history["expires_at"])


def _size(history: dict[str, Any], name: str) -> str:
    return f"{history[name]} bytes" if name in history else ""
