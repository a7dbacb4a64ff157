"""`coatcheck job` and `coatcheck dead`: what happened to a job, and failed jobs done once more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from coatcheck.cli.database import ask
from coatcheck.cli.filled import filled
from coatcheck.cli.options import When, WhenType, as_json, load
from coatcheck.cli.output import either, json_line, moment, progress, result, table
from coatcheck.status.timeline import Timeline, paused_of, timeline
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import CoatcheckError, Unreadable
from shared.domain.ids import parse_job_id
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import FailedJobs, NotRequeued, OperatorStore
from shared.settings.table import Settings

if TYPE_CHECKING:
    from shared.kafka.publisher import NotificationPublisher

_PROGRESS_SECONDS = 2.0
_PUBLISH_SECONDS = 4.0
"""The longest that notifications for the copies are tried; without a broker the sweep finds the copies."""


class JobId(click.ParamType[UUID]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        parsed = value if isinstance(value, UUID) else parse_job_id(value)
        if parsed is None:
            self.fail(f"'{value[:100]}' is no job id: one looks like 019ac0de-0000-7000-8000-000000000000", param, ctx)
        return parsed


@click.command()
@click.argument("job_id", type=JobId(), metavar="ID")
@as_json
def job(job_id: UUID, as_json: bool) -> None:
    """Show what the database knows of a job: accepted, claims with a call, attempts, ended. Never its bodies.

    Of claims that led to no call, for a provider was paused, only the number is kept.
    """

    async def look(database: Database) -> dict[str, Any] | None:
        history = await OperatorStore(database).history(job_id)
        if history is None:
            return None
        paused = {pause.channel: pause.seconds for pause in await MongoStore(database, settings).pauses()}
        return history | {"now": database.now(), "paused": paused_of(history, paused)}

    settings = load()
    history = ask(settings, look)
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
@click.argument("job_ids", type=JobId(), nargs=-1, metavar="[ID]...")
@click.option("--provider", callback=filled, metavar="NAME", help="Jobs that asked for this provider first.")
@click.option(
    "--model", callback=filled, metavar="NAME", help="Jobs that asked for this model first, its provider left out."
)
@click.option("--type", "request_type", type=click.Choice(sorted(BY_TYPE)), help="Jobs of this request type.")
@click.option("--status-code", "codes", multiple=True, type=int, help="Jobs that failed with it; may be repeated.")
@click.option("--since", type=WhenType(), metavar="WHEN", help="Jobs that failed since then, such as 2h or 2027-01-31.")
@click.option("--until", type=WhenType(), metavar="WHEN", help="Jobs that failed before then.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Jobs at most.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def requeue(
    *, job_ids: tuple[UUID, ...], provider: str | None, model: str | None, request_type: str | None,
    codes: tuple[int, ...], since: When | None, until: When | None, limit: int, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Submit copies of failed jobs under new ids, written to stdout: those named, or all that fit the options.

    The failed job stays as it is and says `requeued_as`, which clients follow. By options no job is requeued twice, so
    that the same command goes on where it was interrupted; named by its id, each call makes another copy.

    Workers are told at once; if no Kafka broker answers in time, they find the copies a second or two later.
    """

    async def matching(database: Database) -> tuple[int, list[UUID]]:
        now = database.now()
        start, end = since.before(now) if since else None, until.before(now) if until else None
        which = FailedJobs(provider or "", model or "", request_type or "", codes, start, end)
        return await OperatorStore(database).requeueable(which, limit)

    settings = load()
    if bool(job_ids) == any((provider, model, request_type, codes, since, until)):
        raise click.UsageError(
            "name jobs by their ids, or all that --provider, --status-code, --since and the like choose"
        )
    chosen: Sequence[UUID] = job_ids
    if not job_ids:
        count, chosen = ask(settings, matching)
        if not count:
            raise CoatcheckError("no failed job matches that was not requeued: `coatcheck dead list` shows all")
        _confirm(count, len(chosen), yes=yes)
    if _requeue(settings, chosen, as_json):
        click.get_current_context().exit(1)


def _confirm(count: int, chosen: int, *, yes: bool) -> None:
    """Say how many jobs are meant and ask, unless `yes`. Ends the command when the answer is no or nobody is there."""
    these = f"the {chosen:,} that failed first" if chosen < count else "all of them"
    if yes:
        progress(f"{count:,} failed jobs match; submitting {these} once more")
        return
    try:
        click.confirm(f"{count:,} failed jobs match; submit {these} once more?", abort=True, err=True)
    except click.Abort:
        raise click.ClickException("nothing was requeued; --yes does it without asking") from None


def _requeue(settings: Settings, job_ids: Sequence[UUID], as_json: bool) -> int:
    from shared.kafka.publisher import NotificationPublisher  # noqa: PLC0415 - loads the Kafka client, which no other command here needs

    publisher = NotificationPublisher(settings)

    async def copy(database: Database) -> int:
        publisher.start()
        try:
            return await _copy(OperatorStore(database), publisher, job_ids, as_json)
        finally:
            await publisher.close(_PUBLISH_SECONDS)

    return ask(settings, copy)


async def _copy(store: OperatorStore, publisher: NotificationPublisher, job_ids: Sequence[UUID], as_json: bool) -> int:
    """Copy each job, tell the workers and write the new id; how many could not be copied."""
    refused, next_line = 0, time.monotonic() + _PROGRESS_SECONDS
    for done, job_id in enumerate(job_ids):
        if time.monotonic() >= next_line:
            progress(f"{done:,}/{len(job_ids):,}" + (f"  refused {refused:,}" if refused else ""))
            next_line = time.monotonic() + _PROGRESS_SECONDS
        try:
            new = await store.requeue(job_id)
        except (NotRequeued, Unreadable) as error:
            refused += 1
            progress(f"coatcheck: {error}")
            continue
        publisher.publish(new.modality, [new.id])
        either(as_json, {"id": new.id, "copy_of": job_id}, str(new.id))
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
    yield from _steps(told, history)
    yield "went to", "  ".join(f"{name} {seconds:.3f} s" for name, seconds in told.spent.items())
    yield "spent", "  ".join(f"{name} {history[name]}" for name in ("failures", "crashes", "releases"))
    if "wake_at" in history:
        yield "next", f"{after('wake_at')}  {'lease ends' if history['status'] == 'processing' else 'due'}"
    for channel, seconds in history["paused"].items():
        yield "paused", f"{channel} asked for fewer calls: {seconds:.0f} s more"
    if "completed_at" in history:
        yield "ended", f"{after('completed_at')}  {history.get('status_code', '')}  {_size(history, 'result_bytes')}"
    if "error" in history:
        yield "error", history["error"]
    if "requeued_as" in history:
        yield "requeued", f"as {history['requeued_as']}"
    if "expires_at" in history:
        yield "kept until", moment(history["expires_at"])


def _steps(told: Timeline, history: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for step in told.steps:
        if step.kind in ("waited", "claimed", "call", "recorded"):
            took = f"  {step.seconds * 1000:.0f} ms" if step.kind != "claimed" else ""
            yield step.kind, f"{step.at:+.3f} s{took}  {step.text}"
    if told.untold:
        yield "claims", f"{history['claims']}, {told.untold}"


def _size(history: dict[str, Any], name: str) -> str:
    return f"{history[name]} bytes" if name in history else ""
