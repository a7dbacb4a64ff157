"""`coatcheck dead`: failed jobs, and failed jobs done once more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from coatcheck.cli.database import ask
from coatcheck.cli.filled import filled
from coatcheck.cli.options import JobId, When, WhenType, as_json, load
from coatcheck.cli.output import either, json_line, progress, result, table
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import CoatcheckError, Unreadable
from shared.mongo.connection.client import Database
from shared.mongo.operator_store import FailedJobs, NotRequeued, OperatorStore
from shared.settings.table import Settings

if TYPE_CHECKING:
    from shared.kafka.publisher import NotificationPublisher

_PROGRESS_SECONDS = 2.0
_PUBLISH_SECONDS = 4.0
"""The longest that notifications for the copies are tried; without a broker the sweep finds the copies."""


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
